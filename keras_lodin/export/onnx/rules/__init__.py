"""ONNX for the TensorFlow operations of a gradient, which tf2onnx does not know.

One small function per operation; its docstring states the mathematics of the adjoint it builds.
With y = f(x) and dy the gradient that arrives at y, each returns dx.
"""

from keras_lodin.export.onnx.rules import activations as activations
from keras_lodin.export.onnx.rules import arithmetic as arithmetic
from keras_lodin.export.onnx.rules import blocks as blocks
from keras_lodin.export.onnx.rules import convolution as convolution
from keras_lodin.export.onnx.rules import indexing as indexing
from keras_lodin.export.onnx.rules import pooling as pooling
from keras_lodin.export.onnx.rules import products as products
from keras_lodin.export.onnx.rules import resizing as resizing
from keras_lodin.export.onnx.rules import selection as selection
from keras_lodin.export.onnx.rules import shapes as shapes
from keras_lodin.export.onnx.rules.registry import RULES as RULES
from keras_lodin.export.onnx.rules.registry import handlers as handlers
