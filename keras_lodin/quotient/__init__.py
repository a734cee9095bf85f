"""The Gradient Quotient: its forms, the ways to compute it, and what it is of single samples."""
