"""What a tensor is to a type checker."""

from typing import Any

# Any backend's, symbolic or with values, or an array that can become one: neither Keras nor
# TensorFlow has types. The name says what is meant.
Tensor = Any
