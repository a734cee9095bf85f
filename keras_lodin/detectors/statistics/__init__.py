"""What is counted of training data, batch by batch, merged, and kept within bounds."""
