"""A batch normalization in training mode as one piece of the walk backwards.

Operation by operation it is what a step with a penalty on input gradients spends most time on:
eight passes over memory for the cotangents of a layer, and fifteen more when they are
differentiated. With `x` of n numbers for each channel, mean m, `r = 1 / sqrt(variance + epsilon)`
and z = (x - m) r, the cotangent u of `y = gamma z + beta` becomes

    G u = gamma r (u - <u> - z <u z>),          <.> the mean over a channel,

which TensorFlow computes in one kernel. G is its own transpose, so that the same kernel serves its
derivative by u; that by x is, for the upstream w of `G u`,

    - gamma r^2 (z (q - 2 <u z> <w z>) + <w z> (u - <u>) + <u z> (w - <w>)),
    q = <u w> - <u> <w> - <u z> <w z>,

and that by gamma is n r q.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import tensorflow as tf

from keras_lodin.gradients.tensorflow.graph_walk import mean_of_moments, reduced_axes
from keras_lodin.utils.tensor import Tensor

# Cotangents have a kernel each, so that a trace would grow with more of them.
_MOST_COTANGENTS = 16


@dataclass(frozen=True, eq=False)
class Normalization:
    """The tensors of a graph that a batch normalization in training mode reads and makes.

    Attributes:
        x: what is normalized, float32 of shape `(batch, height, width, channels)`.
        gamma, mean, variance: float32 of shape `(channels,)`.
        epsilon: what the variance is raised by.
    """

    x: Tensor
    gamma: Tensor
    mean: Tensor
    variance: Tensor
    epsilon: float

    def pull(self, upstream: Tensor) -> Tensor | None:
        """The cotangents of `x`, `(count, *x.shape)`, of those of the output; None for many."""
        count = upstream.shape[0]
        if count is None or count > _MOST_COTANGENTS:
            return None
        mean, variance = tf.stop_gradient(self.mean), tf.stop_gradient(self.variance)

        def apply(cotangents: Tensor, x: Tensor, gamma: Tensor) -> list[Tensor]:
            """`G u` of each cotangent u, and its means <u z> and <u>."""
            pulled = [
                tf.raw_ops.FusedBatchNormGradV3(
                    y_backprop=one,
                    x=x,
                    scale=gamma,
                    reserve_space_1=mean,
                    reserve_space_2=variance,
                    reserve_space_3=mean,
                    epsilon=self.epsilon,
                )[:3]
                for one in tf.unstack(cotangents)
            ]
            gradients, along, sums = (tf.stack(parts) for parts in zip(*pulled, strict=True))
            number = tf.cast(tf.reduce_prod(tf.shape(x)[:3]), x.dtype)
            return [gradients, along / number, sums / number]

        @tf.custom_gradient
        def of_all(u: Tensor, x: Tensor, gamma: Tensor) -> Tensor:
            gradients, uz, u_mean = apply(u, x, gamma)

            def backward(w: Tensor) -> tuple[Tensor, Tensor, Tensor]:
                for_u, wz, w_mean = apply(w, x, gamma)
                number = tf.cast(tf.reduce_prod(tf.shape(x)[:3]), x.dtype)
                q = tf.reduce_sum(u * w, [1, 2, 3]) / number - u_mean * w_mean - uz * wz
                r = tf.math.rsqrt(variance + self.epsilon)
                constant = tf.reduce_sum(wz * u_mean + uz * w_mean, 0)
                moved = (
                    (x - mean) * (r * tf.reduce_sum(q - 2.0 * uz * wz, 0))
                    + tf.reduce_sum(_by_channel(wz) * u, 0)
                    + tf.reduce_sum(_by_channel(uz) * w, 0)
                    - constant
                )
                return for_u, -gamma * r * r * moved, number * r * tf.reduce_sum(q, 0)

            return gradients, backward

        pulled = of_all(upstream, self.x, self.gamma)
        return tf.ensure_shape(pulled, (count, *self.x.shape))


def _by_channel(values: Tensor) -> Tensor:
    """Numbers of shape `(count, channels)` in a shape that multiplies cotangents."""
    return values[:, None, None, None]


def normalizations(operations: Sequence[tf.Operation]) -> dict[tf.Operation, Normalization]:
    """The batch normalizations among operations, by the operation that makes their output."""
    # On other devices the kernel takes other statistics.
    if tf.config.get_visible_devices("GPU"):
        return {}
    among = set(operations)
    found = {operation: _ending_in(operation, among) for operation in operations}
    return {operation: one for operation, one in found.items() if one is not None}


def _ending_in(end: tf.Operation, among: set[tf.Operation]) -> Normalization | None:
    """The normalization `x * scale + (beta - mean * scale)`, if that is what ends here."""
    try:
        scaled, shift = _inputs(end, "AddV2")
        x, scale = _inputs(scaled.op, "Mul")
        beta, shifted = _inputs(shift.op, "Sub")
        mean, same_scale = _inputs(shifted.op, "Mul")
        root, gamma = _inputs(scale.op, "Mul")
        (raised,) = _inputs(root.op, "Rsqrt")
        variance, epsilon = _inputs(raised.op, "AddV2")
        (mean_kept,), (variance_kept,) = (_inputs(t.op, "Squeeze") for t in (mean, variance))
        squares, _ = _inputs(variance_kept.op, "Mean")
        _inputs(squares.op, "SquaredDifference")
    except _OtherOperationError:
        return None
    inner = [mean_kept, squares, variance_kept, mean, variance, raised, root, scale, shifted]
    chain = {end, *(tensor.op for tensor in (*inner, shift, scaled))}
    raise_by = tf.get_static_value(epsilon)
    fits = (
        x.dtype == tf.float32
        and x.shape.rank == 4
        and x.shape[-1] is not None
        and raise_by is not None
        and same_scale is scale
        and squares.op.inputs[0] is x
        and mean_of_moments(squares.op) is mean_kept
        and reduced_axes(variance_kept.op) == [0, 1, 2]
        and gamma.op not in among
        and beta.op not in among
        # Nothing else on the way to the logits reads what is skipped.
        and all(
            reader in chain or reader not in among
            for operation in chain - {end}
            for output in operation.outputs
            for reader in output.consumers()
        )
    )
    return Normalization(x, gamma, mean, variance, float(raise_by)) if fits else None


class _OtherOperationError(Exception):
    """An operation is not the one that a normalization has in its place."""


def _inputs(operation: tf.Operation, kind: str) -> Sequence[Tensor]:
    if operation.type != kind:
        raise _OtherOperationError
    return operation.inputs
