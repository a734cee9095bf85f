"""ONNX for the TensorFlow operations of a gradient, which tf2onnx does not know.

One small function per operation; its docstring states the mathematics of the adjoint it builds.
With y = f(x) and dy the gradient that arrives at y, each returns dx.
"""

from keras_lodin.export.onnx.rules.registry import RULES as RULES
from keras_lodin.export.onnx.rules.registry import handlers as handlers
from keras_lodin.utils.plugins import import_folder

import_folder(__name__, __path__)
