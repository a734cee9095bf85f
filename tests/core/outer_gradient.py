"""The derivative of what the package computes, as each backend's own training takes it."""

import contextlib

import keras
import numpy as np
import pytest
from keras import ops
from keras.src.backend.common import dtypes


def gradients(function, x, variables):
    """The gradient of a function's value, as numpy arrays.

    Args:
        function: of a float64 batch, to a scalar.
        x: numpy array, the batch.
        variables: what the function reads.

    Returns:
        the gradient with respect to the batch, and those with respect to each variable.
    """
    found = {"tensorflow": _by_tensorflow, "jax": _by_jax, "torch": _by_torch}[
        keras.backend.backend()
    ](function, x, variables)
    return [ops.convert_to_numpy(gradient) for gradient in found]


def compiled(function, x):
    """A function of batches such as `x`, as training runs it."""
    if keras.backend.backend() != "tensorflow":
        return function
    import tensorflow as tf

    # With a free batch size: what `fit` trains, as its last batch is smaller.
    return tf.function(function, input_signature=[tf.TensorSpec((None, *x.shape[1:]), x.dtype)])


@contextlib.contextmanager
def double_precision():
    """Within it, float64 is float64 on every backend: Keras makes float32 of it on two."""
    with contextlib.ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setitem(dtypes.BIT64_TO_BIT32_DTYPE, "float64", "float64")
        if keras.backend.backend() == "jax":
            import jax

            stack.enter_context(jax.enable_x64(True))
        yield


def _by_tensorflow(function, x, variables):
    import tensorflow as tf

    def compute(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = function(x)
        sources = [x, *[variable.value for variable in variables]]
        found = tape.gradient(value, sources, unconnected_gradients="zero")
        return [tf.convert_to_tensor(gradient) for gradient in found]

    return compiled(compute, x)(tf.constant(x))


def _by_jax(function, x, variables):
    import jax

    def value(x, weights):
        with keras.StatelessScope(list(zip(variables, weights, strict=True))):
            return function(x)

    before = [variable.value for variable in variables]
    found, by_weights = jax.grad(value, argnums=(0, 1))(ops.convert_to_tensor(x, "float64"), before)
    return [found, *by_weights]


def _by_torch(function, x, variables):
    import torch

    inputs = torch.tensor(x, requires_grad=True)
    sources = [inputs, *[variable.value for variable in variables]]
    found = torch.autograd.grad(function(inputs), sources, allow_unused=True)
    return [
        np.zeros(tuple(source.shape)) if gradient is None else gradient.detach()
        for source, gradient in zip(sources, found, strict=True)
    ]
