"""What differs on Keras's backend torch: see `keras_lodin.gradients`."""

from keras_lodin.gradients.torch import backend as backend
from keras_lodin.gradients.torch.chunks import norms_in_chunks as norms_in_chunks
from keras_lodin.gradients.torch.compiled_function import CompiledFunction as CompiledFunction
from keras_lodin.gradients.torch.forward_pass import ForwardPass as ForwardPass
from keras_lodin.gradients.torch.has_gradient import has_gradient as has_gradient
from keras_lodin.gradients.torch.is_unbounded import is_unbounded as is_unbounded
from keras_lodin.gradients.torch.penalty_step import PenaltyStep as PenaltyStep
from keras_lodin.gradients.torch.replicas_of import replicas_of as replicas_of
