"""The parts of `benchmarks/contrasts.py`, and nothing else: what `tune` could choose by."""
