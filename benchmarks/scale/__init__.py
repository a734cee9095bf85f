"""The parts of `benchmarks/full_scale.py`: PyTorch, Keras and no TensorFlow."""
