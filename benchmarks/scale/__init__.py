"""The parts of `benchmarks/full_scale.py`: JAX, NumPy and Pillow alone, no TensorFlow."""
