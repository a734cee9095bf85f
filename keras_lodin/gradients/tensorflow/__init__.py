"""What differs on Keras's backend tensorflow: see `keras_lodin.gradients`."""

from keras_lodin.gradients.tensorflow import backend as backend
from keras_lodin.gradients.tensorflow.chunks import norms_in_chunks as norms_in_chunks
from keras_lodin.gradients.tensorflow.compiled_function import CompiledFunction as CompiledFunction
from keras_lodin.gradients.tensorflow.forward_pass import ForwardPass as ForwardPass
from keras_lodin.gradients.tensorflow.has_gradient import has_gradient as has_gradient
from keras_lodin.gradients.tensorflow.is_unbounded import is_unbounded as is_unbounded
from keras_lodin.gradients.tensorflow.penalty_step import PenaltyStep as PenaltyStep
from keras_lodin.gradients.tensorflow.replicas_of import replicas_of as replicas_of
