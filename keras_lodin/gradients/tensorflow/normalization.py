"""A batch normalization in training mode as one piece of the walk backwards.

Operation by operation it is what a step with a penalty on input gradients spends most time on, and
most memory: eight passes over memory for the cotangents of a layer, and fifteen more when they are
differentiated. With `x` of n numbers for each channel, mean m, `r = 1 / sqrt(variance + epsilon)`
and z = (x - m) r, the cotangent u of `y = gamma z + beta` becomes `gamma v` with

    v = r (u - <u> - z <u z>),                          <.> the mean over a channel,

which TensorFlow computes in one kernel. The map from u to v is its own transpose, so that the same
kernel serves its derivative by u; that by x is, for the upstream w of v,

    - r^2 (z (<v w> / r - <u z> <w z>) + <w z> v / r + <u z> (w - <w>)).

It reads v and not u, so that of all that comes by, v alone is kept for the derivative. The
convolution before it, or a product where there is none, multiplies by gamma: K = gamma times its
kernel, back to K^T v. Of the upstream s of that the derivative by K is had anyway, and
`n <v w>`, as w = K s, is what that and K are together. The gate of a ReLU behind it is read from
the forward pass in both directions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import tensorflow as tf

from keras_lodin.gradients.tensorflow.graph_walk import (
    attributes,
    mean_of_moments,
    reduced_axes,
    run_by_itself,
)
from keras_lodin.gradients.tensorflow.rules import Gate
from keras_lodin.utils.tensor import Tensor

# Cotangents have a kernel each, so that a trace would grow with more of them.
MOST_COTANGENTS = 16


@dataclass(frozen=True, eq=False)
class Normalization:
    """The tensors of a graph that a batch normalization in training mode reads and makes.

    Attributes:
        x: what is normalized, float32 of shape `(batch, height, width, channels)`.
        gamma, mean, variance: float32 of shape `(channels,)`.
        epsilon: what the variance is raised by.
        convolution: the operation that makes `x` for this normalization alone, or None.
        gate: of the ReLU that alone reads the output, or None.
    """

    x: Tensor
    gamma: Tensor
    mean: Tensor
    variance: Tensor
    epsilon: float
    convolution: tf.Operation | None
    gate: Gate | None

    @property
    def source(self) -> Tensor:
        """The tensor that the piece begins with."""
        return self.x if self.convolution is None else self.convolution.inputs[0]

    def pull(self, upstream: Sequence[Tensor]) -> list[Tensor]:
        """The cotangents of the source, of those of the end, each a tensor by itself.

        One after the other and layer by layer, so that what a cotangent passes through is in memory
        once, and what was kept for its derivative is free as soon as that is taken.
        """
        mean, variance = tf.stop_gradient(self.mean), tf.stop_gradient(self.variance)
        r = tf.math.rsqrt(variance + self.epsilon)

        def apply(cotangent: Tensor, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            """`v` of a cotangent u, and its sums n <u z> and n <u>."""
            found, along, total, *_ = tf.raw_ops.FusedBatchNormGradV3(
                y_backprop=cotangent,
                x=x,
                scale=tf.ones_like(mean),
                reserve_space_1=mean,
                reserve_space_2=variance,
                reserve_space_3=mean,
                epsilon=self.epsilon,
            )
            return found, along, total

        @tf.custom_gradient
        def of_all(*arguments: Tensor) -> Tensor:
            *cotangents, x, kernel = arguments
            kept: list[Tensor] = []
            sums: list[Tensor] = []
            pulled: list[Tensor] = []
            for cotangent in cotangents:
                with tf.control_dependencies(pulled[-1:]):
                    v, along, _ = apply(self._gated(cotangent), x)
                    pulled.append(self._transposed(kernel, v))
                kept.append(v)
                sums.append(along)

            def backward(*upstream: Tensor) -> tuple[Tensor, ...]:
                number = tf.cast(tf.reduce_prod(tf.shape(x)[:3]), x.dtype)
                by_w = -r * r / number
                by_v = -r / number
                moved: list[Tensor] = []
                for_kernel: list[Tensor] = []
                for_cotangents: list[Tensor] = []
                others: list[tuple[Tensor, Tensor]] = []
                for tangent, v, uz in zip(upstream, kept, sums, strict=True):
                    with tf.control_dependencies([*moved, *for_kernel, *for_cotangents[-1:]]):
                        w = self._product(kernel, tangent)
                        for_u, wz, w_total = apply(w, x)
                        for_kernel = _total(*for_kernel, self._by_kernel(tangent, v))
                        moved = _total(*moved, v * (by_v * wz), w * (by_w * uz))
                        for_cotangents.append(self._gated(for_u))
                    others.append((wz, w_total))
                uz = tf.stack(sums)
                wz, w_total = (tf.stack(each) for each in zip(*others, strict=True))
                vw = self._by_channel(kernel * for_kernel[0])
                by_x = by_w * (vw - r * tf.reduce_sum(uz * wz, 0) / number)
                constant = by_w * tf.reduce_sum(uz * w_total, 0) / number
                moved = _total(*moved, x * by_x - (constant + mean * by_x))
                before = [*moved, *for_kernel]
                return *_all_at_once(for_cotangents, before), *before

            return _all_at_once(pulled, []), backward

        found = of_all(*upstream, self.x, self._scaled_kernel())
        return [tf.ensure_shape(one, self.source.shape) for one in found]

    def _gated(self, cotangent: Tensor) -> Tensor:
        """Where the ReLU behind was open; the map is its own transpose."""
        return cotangent if self.gate is None else self.gate.product(cotangent)

    def _scaled_kernel(self) -> Tensor:
        """What is convolved or multiplied by: gamma, times the kernel if there is one."""
        if self.convolution is None:
            return self.gamma
        kernel = self.convolution.inputs[1]
        if self.convolution.type == "Conv2D":
            return kernel * self.gamma
        return kernel * tf.reshape(self.gamma, tf.shape(kernel)[2:])

    def _by_channel(self, kernels: Tensor) -> Tensor:
        """Sums of kernel-shaped numbers for each channel of `x`: of shape `(channels,)`."""
        if self.convolution is None:
            return kernels
        if self.convolution.type == "Conv2D":
            return tf.reduce_sum(kernels, [0, 1, 2])
        return tf.reshape(tf.reduce_sum(kernels, [0, 1]), [-1])

    def _product(self, kernel: Tensor, tangent: Tensor) -> Tensor:
        """K s of a tangent s of the source."""
        if self.convolution is None:
            return tangent * kernel
        return run_by_itself(self.convolution, [tangent, kernel])[0]

    def _transposed(self, kernel: Tensor, cotangent: Tensor) -> Tensor:
        """K^T v of a cotangent v of `x`."""
        if self.convolution is None:
            return cotangent * kernel
        return self._derivative_by(
            "Input", input_sizes=tf.shape(self.source), filter=kernel, out_backprop=cotangent
        )

    def _by_kernel(self, tangent: Tensor, cotangent: Tensor) -> Tensor:
        """The derivative of `<K s, v>` by K."""
        if self.convolution is None:
            return tf.reduce_sum(tangent * cotangent, [0, 1, 2])
        sizes = tf.shape(self.convolution.inputs[1])
        return self._derivative_by(
            "Filter", input=tangent, filter_sizes=sizes, out_backprop=cotangent
        )

    def _derivative_by(self, what: str, **arguments: Tensor) -> Tensor:
        assert self.convolution is not None
        options = attributes(self.convolution)
        options.pop("use_cudnn_on_gpu", None)
        derivative = getattr(tf.raw_ops, f"{self.convolution.type}Backprop{what}")
        return derivative(**arguments, **options)


def _total(*tensors: Tensor) -> list[Tensor]:
    """The sum, in a list."""
    return [tf.add_n(tensors)]


def _all_at_once(tensors: Sequence[Tensor], others: Sequence[Tensor]) -> list[Tensor]:
    """Tensors that nothing reads before all of them and some others are there."""
    with tf.control_dependencies([*tensors, *others]):
        return [tf.identity(tensor) for tensor in tensors]


def normalizations(operations: Sequence[tf.Operation]) -> dict[tf.Operation, Normalization]:
    """The batch normalizations among operations, by the operation that makes their output.

    It is that of the ReLU behind one, if that alone reads it.
    """
    # On other devices the kernel takes other statistics.
    if tf.config.get_visible_devices("GPU"):
        return {}
    among = set(operations)
    found = (_ending_in(operation, among) for operation in operations)
    return dict(filter(None, found))


def _ending_in(
    end: tf.Operation, among: set[tf.Operation]
) -> tuple[tf.Operation, Normalization] | None:
    """The normalization `x * scale + (beta - mean * scale)`, if that is what ends here.

    And the operation that ends the piece.
    """
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
    if not fits:
        return None
    convolution = x.op if _is_plain_convolution(x.op, among) else None
    if any(reader in among and reader not in chain for reader in x.consumers()):
        convolution = None
    readers = [reader for reader in end.outputs[0].consumers() if reader in among]
    gate = Gate(readers[0]) if [one.type for one in readers] in (["Relu"], ["Relu6"]) else None
    found = Normalization(x, gamma, mean, variance, float(raise_by), convolution, gate)
    return gate.operation if gate else end, found


def _is_plain_convolution(operation: tf.Operation, among: set[tf.Operation]) -> bool:
    """Whether an operation is a convolution whose kernel does not depend on the inputs."""
    return (
        operation in among
        and operation.type in ("Conv2D", "DepthwiseConv2dNative")
        and operation.get_attr("data_format") == b"NHWC"
        and operation.inputs[1].op not in among
    )


class _OtherOperationError(Exception):
    """An operation is not the one that a normalization has in its place."""


def _inputs(operation: tf.Operation, kind: str) -> Sequence[Tensor]:
    if operation.type != kind:
        raise _OtherOperationError
    return operation.inputs
