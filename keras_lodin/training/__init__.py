"""Models whose training step penalises gradients with respect to the input."""
