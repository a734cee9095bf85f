"""Where data come from: one kind of source per file."""
