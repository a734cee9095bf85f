"""Small things that only a backend can do, or that it must be asked for."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import TypeVar

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from keras_lodin.utils.tensor import Tensor

T = TypeVar("T")

# Whether a compiled function may make tensors whose sizes depend on values.
SIZES_FOLLOW_VALUES = True
# More than a step takes, so that no draw of a replica repeats one of the next.
_DRAWS_A_STEP = 2**16


def eager_value(variable: keras.Variable) -> np.ndarray:
    """The present value of a Keras variable, in eager mode and while a function is traced."""
    with tf.init_scope():
        return variable.value.numpy()


def keeping_weights(
    model: keras.Model, check: Callable[[], None]
) -> contextlib.AbstractContextManager[None]:
    """Within it, a method of Keras's may fail, and the model has its weights afterwards.

    Args:
        model: whose method is called.
        check: what could not be told within: JAX calls it before.
    """
    return contextlib.nullcontext()


def run_eagerly(function: Callable[[], T]) -> T:
    """What a function returns when it is run at once, even while another one is traced."""
    with tf.init_scope():
        return function()


def on_accelerator() -> bool:
    """Whether functions of a batch run on a device with many more cores than a processor."""
    return bool(tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("TPU"))


def host_function(function: Callable[[np.ndarray], ArrayLike], inputs: Tensor) -> Tensor:
    """A number of each sample that NumPy computes, amid a compiled function; without a gradient.

    Args:
        function: from an array of inputs to a number of each of them.
        inputs: tensor of shape `(batch, ...)`.

    Returns:
        float32 tensor of shape `(batch,)`.
    """
    values = tf.numpy_function(
        lambda batch: np.asarray(function(batch), "float32"), [inputs], tf.float32
    )
    return tf.ensure_shape(values, inputs.shape[:1])


def with_shape(tensor: Tensor, shape: Sequence[int | None]) -> Tensor:
    """A tensor of which more of the shape is known; checked when the graph runs."""
    return tf.ensure_shape(tensor, shape)


def checked_finite(tensor: Tensor, message: str) -> Tensor:
    """A tensor as it is, or an error with a message for NaN and infinite values."""
    return tf.debugging.assert_all_finite(tensor, message)


def draw_seed(seed: int, step: Tensor, draw: int) -> Tensor:
    """The seed of one draw of one training step, as Keras's random functions take it.

    No draw repeats one of another step or seed nearby. The replicas of a `tf.distribute` strategy
    draw different numbers, the first of them what a single device draws.

    Args:
        seed: an integer.
        step: the step's number.
        draw: which draw of the step it is, from 1.
    """
    # A large prime apart, so that no draw of a step repeats one of a step nearby.
    first = tf.cast(step, tf.int64) + seed * 1_000_003
    context = tf.distribute.get_replica_context()
    replica = 0 if context is None else context.replica_id_in_sync_group
    second = tf.cast(replica, tf.int64) * _DRAWS_A_STEP + draw
    return tf.cast(tf.stack([first % 2**32, second]), tf.uint32)


def never_empty(batch: Tensor) -> Tensor:
    """A batch, with one sample of zeros if it has none.

    Means over no samples are no numbers, the statistics of a BatchNormalization among them, and
    some of TensorFlow's convolutions and poolings fail on none, or give another shape.
    """
    if not _may_be_empty(batch):
        return batch
    missing = tf.cast(tf.equal(tf.shape(batch)[0], 0), tf.int32)
    amounts = tf.scatter_nd([[0, 1]], [missing], [batch.shape.rank, 2])
    return tf.ensure_shape(tf.pad(batch, amounts), (None, *batch.shape[1:]))


def as_many(outputs: Tensor, batch: Tensor) -> Tensor:
    """Outputs for as many samples as a batch has, of those for `never_empty(batch)`."""
    return outputs[: tf.shape(batch)[0]] if _may_be_empty(batch) else outputs


def _may_be_empty(batch: Tensor) -> bool:
    """Whether a batch may turn out to have no samples, as it may on a replica of a strategy.

    That is what the last replicas get of a batch with fewer samples than there are replicas.
    """
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    return replicas > 1 and tf.is_tensor(batch) and not batch.shape[0]
