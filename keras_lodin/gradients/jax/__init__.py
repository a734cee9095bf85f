"""What differs on Keras's backend jax: see `keras_lodin.gradients`."""

from keras_lodin.gradients.jax import backend as backend
from keras_lodin.gradients.jax.chunks import norms_in_chunks as norms_in_chunks
from keras_lodin.gradients.jax.compiled_function import CompiledFunction as CompiledFunction
from keras_lodin.gradients.jax.forward_pass import ForwardPass as ForwardPass
from keras_lodin.gradients.jax.has_gradient import has_gradient as has_gradient
from keras_lodin.gradients.jax.is_unbounded import is_unbounded as is_unbounded
from keras_lodin.gradients.jax.penalty_step import PenaltyStep as PenaltyStep
from keras_lodin.gradients.jax.replicas_of import replicas_of as replicas_of
