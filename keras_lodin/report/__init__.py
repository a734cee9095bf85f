"""What an `Evaluation` looks like: on the terminal, in files, as plots."""
