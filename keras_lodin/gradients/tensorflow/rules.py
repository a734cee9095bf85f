"""The derivatives of operations: one table of facts that both walks go by.

Where an operation computes y = f(x) with the Jacobian J, the walk backwards (`vjp.py`) turns its
cotangent du into J^T du, and the one forwards (`jvp.py`) its tangent dx into J dx, on the values
that the forward pass has already. One fact gives both:

* `pointwise`: a number of y depends on one number of each operand, whatever these are broadcast
  from. The fact is the partial derivative by each operand. J is a diagonal, its own transpose.
* `linear`: y = L x, with what else the operation reads held constant. Forwards that is the
  operation itself, on the tangent; the fact is the transpose L^T.

`pull` gives a cotangent `(count, *shape)` for each input, of which the `wanted` ones count, from
those of the one output; `push` the output's tangent, in a list. Either gives None where it does not
know how: what the shapes leave open, or what moves an operand that a linear operation holds.

Only the largest of a window is written twice: it is done on another operation, whose input has to
be padded on the way forwards and cut on the way back.

What is not here goes by TensorFlow's own gradient function (`by_gradient_function.py`), which is
right for all but those that `graph_walk.second_derivative_is_wrong` names. Here are those, and what
large tensors pass through, where that way repeats or writes out whole tensors.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import tensorflow as tf

from keras_lodin.gradients.tensorflow import by_gradient_function
from keras_lodin.gradients.tensorflow.graph_walk import (
    attributes,
    mean_of_moments,
    padded_pooling,
    reduced_axes,
    run_by_itself,
)
from keras_lodin.gradients.tensorflow.tensorflow_internals import gradient_function
from keras_lodin.utils.registry import Registry
from keras_lodin.utils.tensor import Tensor


@dataclass(frozen=True)
class Spread:
    """A cotangent of size 1 along some axes of its tensor, along which it is the same."""

    cotangent: Tensor


Wanted = Sequence[bool]
Tensors = Sequence[Tensor | None]
RULES: Registry[Pointwise | Linear | _LargestOfWindow] = Registry(
    "TensorFlow operation with a rule for gradients"
)


def operations_with_rules() -> dict[str, str]:
    """The operations that have a rule, and the fact that it goes by, in a sentence."""
    return {name: rule.fact for name, rule in RULES.items()}


def _fact(function: Callable[..., object]) -> str:
    return inspect.getdoc(function) or ""


_Function = TypeVar("_Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class Gate:
    """Multiplies by the derivative of a ReLU, 0 or 1, made again of y rather than kept.

    It is constant as far as derivatives go.

    Attributes:
        operation: of type "Relu" or "Relu6".
    """

    operation: tf.Operation

    def __call__(self, tensor: Tensor) -> Tensor:
        """The product with a tensor of y's shape, or `(count, *y.shape)`."""

        @tf.custom_gradient
        def product(tensor: Tensor) -> Tensor:
            def backward(upstream: Tensor) -> Tensor:
                # Or TensorFlow would find that it has the same gate already.
                with tf.control_dependencies([upstream]):
                    return self.product(upstream)

            return self.product(tensor), backward

        return product(tensor)

    def product(self, tensor: Tensor) -> Tensor:
        """The same, to be differentiated by nobody."""
        (y,) = self.operation.outputs
        if tensor.shape.rank == y.shape.rank:
            gradient = getattr(tf.raw_ops, f"{self.operation.type}Grad")
            return gradient(gradients=tensor, features=y)
        is_open = y > 0 if self.operation.type == "Relu" else (y > 0) & (y < 6)
        return tensor * tf.cast(is_open, y.dtype)


# --- Number by number ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Pointwise:
    """A number of y depends on one number of each operand.

    The partial derivatives are tensors, 1 or -1, or functions that multiply by them; None for an
    operand that is taken as constant.
    """

    fact: str
    partials: Callable[[tf.Operation], Tensors]

    def pull(self, operation: tf.Operation, upstream: Tensor, wanted: Wanted) -> Tensors | None:
        """`df/dx * du`, summed over the axes along which x was broadcast."""
        if not _broadcast_is_known(operation):
            return None
        each = zip(operation.inputs, self.partials(operation), wanted, strict=True)
        return [
            _reduced_product(tensor, upstream, by) if want and by is not None else None
            for tensor, by, want in each
        ]

    def push(self, operation: tf.Operation, tangents: Tensors) -> Tensors | None:
        """`df/dx * dx`, added up over the operands."""
        terms = [
            _times(by, tangent)
            for by, tangent in zip(self.partials(operation), tangents, strict=True)
            if by is not None and tangent is not None
        ]
        return [_sum(operation, terms) if terms else None]


def pointwise(*types: str) -> Callable[[_Function], _Function]:
    """Registers a function that gives the partial derivatives of an operation by its operands."""

    def register(partials: _Function) -> _Function:
        RULES.register(*types)(Pointwise(_fact(partials), partials))
        return partials

    return register


@pointwise("Add", "AddV2")
def _addition(operation: tf.Operation) -> Tensors:
    """With y = a + b: dy = da + db"""
    return 1, 1


@pointwise("Sub")
def _subtraction(operation: tf.Operation) -> Tensors:
    """With y = a - b: dy = da - db"""
    return 1, -1


@pointwise("Neg")
def _negative(operation: tf.Operation) -> Tensors:
    """With y = -x: dy = -dx"""
    return (-1,)


@pointwise("Mul")
def _product(operation: tf.Operation) -> Tensors:
    """With y = a b: dy = b da + a db"""
    a, b = operation.inputs
    return b, a


@pointwise("SquaredDifference")
def _squared_difference(operation: tf.Operation) -> Tensors:
    """With y = (a - b)^2: dy = 2 (a - b) (da - db)"""
    a, b = operation.inputs
    mean = mean_of_moments(operation)
    if mean is not None:
        return 2.0 * (a - mean), None
    twice = 2.0 * (a - b)
    return twice, -twice


@pointwise("Relu", "Relu6")
def _relu(operation: tf.Operation) -> Tensors:
    """With y = max(x, 0), or at most 6: dy = dx where 0 < y, and y < 6"""
    return (Gate(operation),)


@pointwise("Softsign")
def _softsign(operation: tf.Operation) -> Tensors:
    """With y = x / (1 + |x|): dy = dx / (1 + |x|)^2"""
    scale = 1.0 + tf.abs(operation.inputs[0])
    return (1.0 / (scale * scale),)


@pointwise("Elu", "Erf", "Exp", "Rsqrt", "Sigmoid", "Softplus", "Sqrt", "Tanh")
def _function(operation: tf.Operation) -> Tensors:
    """With y = f(x): dy = f'(x) dx, f' by TensorFlow's gradient function"""
    gradient = gradient_function(operation)
    assert gradient is not None  # each of these has one
    return (partial(gradient, operation),)


def _times(derivative: Tensor, tensor: Tensor) -> Tensor:
    if isinstance(derivative, int):
        return tensor if derivative == 1 else -tensor
    return derivative(tensor) if callable(derivative) else derivative * tensor


def _sum(operation: tf.Operation, terms: Sequence[Tensor]) -> Tensor:
    """Terms added up in the shape of the operation's output, which they may not have yet."""
    if len(operation.inputs) == 1:
        return terms[0]
    same = all(t.shape.is_fully_defined() and t.shape == terms[0].shape for t in terms)
    total: Tensor = tf.add_n(terms) if same else sum(terms[1:], terms[0])
    output = operation.outputs[0]
    shapes = [shape.as_list() if shape.rank else [] for shape in (output.shape, total.shape)]
    # A free size could be 1 while the graph runs, except that of the batch, which all share.
    known = shapes[0] == shapes[1] != [] and None not in shapes[0][1:]
    return total if known else tf.broadcast_to(total, tf.shape(output))


def _broadcast_is_known(operation: tf.Operation) -> bool:
    """Whether the shapes tell along which axes an operand was broadcast.

    A free size could be 1 while the graph runs, except that of the batch, which both share.
    """
    if len(operation.inputs) == 1:
        return True
    if operation.type == "SquaredDifference" and mean_of_moments(operation) is not None:
        return True  # the mean has the shape of x but for sizes of 1: nothing to sum over
    shapes = [tensor.shape for tensor in operation.inputs]
    if any(shape.rank is None for shape in shapes):
        return False
    if shapes[0].as_list() == shapes[1].as_list() and None not in shapes[0][1:]:
        return True
    shorter, longer = sorted(shapes, key=lambda shape: shape.rank)
    tails = list(shorter), list(longer)[longer.rank - shorter.rank :]
    if shorter.rank == longer.rank and tails[0][:1] == tails[1][:1] == [None]:
        tails = tails[0][1:], tails[1][1:]
    return all(size is not None for tail in tails for size in tail)


def _broadcast_axes(tensor: Tensor, upstream: Tensor) -> list[int]:
    """The axes of a cotangent along which the tensor was broadcast."""
    shape, full = tensor.shape, upstream.shape[1:]
    missing = full.rank - shape.rank
    added = list(range(1, 1 + missing))
    stretched = [
        1 + missing + axis
        for axis, size in enumerate(shape)
        if size == 1 and full[missing + axis] != 1
    ]
    return added + stretched


def _reduced_product(tensor: Tensor, upstream: Tensor, factor: Tensor) -> Tensor:
    """`upstream * factor`, summed over the axes along which a tensor was broadcast."""
    axes = _broadcast_axes(tensor, upstream)
    if isinstance(factor, int):
        return _times(factor, _reduced(tensor, upstream, axes))
    if isinstance(factor, Gate):
        return factor(upstream)
    if callable(factor):  # TensorFlow's broadcast nothing
        factor = factor(tf.ones_like(tensor))
    whole = factor.shape.rank == upstream.shape.rank - 1 and not _broadcast_axes(factor, upstream)
    if not (axes and whole):
        return _reduced(tensor, upstream * factor, axes)

    @tf.custom_gradient
    def contraction(upstream: Tensor, factor: Tensor) -> Tensor:
        """Differentiated without repeating the sum."""

        def backward(weights: Tensor) -> Tensor:
            return weights * factor, tf.reduce_sum(weights * upstream, 0)

        return tf.reduce_sum(upstream * factor, axes, keepdims=True), backward

    return _without_axes(tensor, contraction(upstream, factor))


def _reduced(tensor: Tensor, upstream: Tensor, axes: list[int]) -> Tensor:
    if not axes:
        return upstream
    return _without_axes(tensor, tf.reduce_sum(upstream, axes, keepdims=True))


def _without_axes(tensor: Tensor, summed: Tensor) -> Tensor:
    """A cotangent with sizes of 1 in the shape `(count, *tensor.shape)`."""
    if summed.shape.rank == tensor.shape.rank + 1:
        return summed
    return tf.squeeze(summed, list(range(1, summed.shape.rank - tensor.shape.rank)))


# --- Linear -------------------------------------------------------------------------------------


_Map = Callable[[tf.Operation, Tensor], Tensor]


def _itself(operation: tf.Operation, tangent: Tensor) -> Tensor:
    return run_by_itself(operation, [tangent, *operation.inputs[1:]])[0]


@dataclass(frozen=True)
class Linear:
    """y = L x, with what else the operation reads held constant."""

    fact: str
    transpose: _Map
    apply: _Map = _itself

    def pull(self, operation: tf.Operation, upstream: Tensor, wanted: Wanted) -> Tensors | None:
        """`L^T du`."""
        others = zip(operation.inputs[1:], wanted[1:], strict=True)
        if any(want and tensor.dtype.is_floating for tensor, want in others):
            return None
        pulled = self.transpose(operation, upstream)
        return None if pulled is None else [pulled, *[None] * (len(wanted) - 1)]

    def push(self, operation: tf.Operation, tangents: Tensors) -> Tensors | None:
        """`L dx`; what becomes an integer does not move."""
        if any(tangent is not None for tangent in tangents[1:]):
            return None
        floating = operation.outputs[0].dtype.is_floating
        return [self.apply(operation, tangents[0]) if floating else None]


def linear(*types: str, apply: _Map = _itself) -> Callable[[_Function], _Function]:
    """Registers the transpose of operations, a function of one and of its output's cotangents.

    Args:
        *types: operations that are linear in their first input.
        apply: what is linear, if not the operation itself.
    """

    def register(transpose: _Function) -> _Function:
        RULES.register(*types)(Linear(_fact(transpose), transpose, apply))
        return transpose

    return register


@linear("Identity")
def _identity(operation: tf.Operation, upstream: Tensor) -> Tensor:
    """With y = x: dy = dx"""
    return upstream


@linear("BiasAdd", apply=lambda operation, tangent: tangent)
def _bias(operation: tf.Operation, upstream: Tensor) -> Tensor:
    """With y = x + bias: dy = dx"""
    return upstream


@linear("Cast")
def _cast(operation: tf.Operation, upstream: Tensor) -> Tensor | None:
    """With y = x in another precision: dy is dx in it"""
    source = operation.inputs[0].dtype
    both = source.is_floating and upstream.dtype.is_floating
    return tf.cast(upstream, source) if both else None


@linear("Reshape")
def _reshape(operation: tf.Operation, upstream: Tensor) -> Tensor:
    """With y = x in another shape: dy is dx in it"""
    return _like_input(operation, upstream, upstream)


@linear("MatMul")
def _matrix_product(operation: tf.Operation, upstream: Tensor) -> Tensor | None:
    """With y = x W: dy = dx W, and back du W^T"""
    if operation.get_attr("transpose_a"):
        return None
    transpose = not operation.get_attr("transpose_b")
    return tf.matmul(upstream, operation.inputs[1], transpose_b=transpose)


@linear("Conv2D", "DepthwiseConv2dNative")
def _convolution(operation: tf.Operation, upstream: Tensor) -> Tensor:
    """With y = W * x: dy = W * dx, and back the transposed convolution of du"""
    # The counts are folded into the batch. Sizes are taken from the forward pass, as a gradient may
    # have lost its static shape.
    source, kernel = operation.inputs
    folded = tf.reshape(upstream, tf.concat([[-1], tf.shape(operation.outputs[0])[1:]], 0))
    input_sizes = tf.concat([tf.shape(folded)[:1], tf.shape(source)[1:]], 0)
    pull = getattr(tf.raw_ops, f"{operation.type}BackpropInput")
    options = attributes(operation)
    options.pop("use_cudnn_on_gpu", None)
    pulled = pull(input_sizes=input_sizes, filter=kernel, out_backprop=folded, **options)
    return _like_input(operation, pulled, upstream)


@linear("Sum")
def _total(operation: tf.Operation, upstream: Tensor) -> Spread | None:
    """With y the sum of x over some axes: dy is that of dx, and back du for every x"""
    axes = reduced_axes(operation)
    if axes is None:
        return None
    if not operation.get_attr("keep_dims"):
        for axis in axes:
            upstream = tf.expand_dims(upstream, axis + 1)
    return Spread(upstream)


@linear("Mean")
def _mean(operation: tf.Operation, upstream: Tensor) -> Spread | None:
    """With y the mean of n x over some axes: dy is that of dx, and back du / n for every x"""
    axes = reduced_axes(operation)
    if axes is None:
        return None
    count = tf.reduce_prod(tf.gather(tf.shape(operation.inputs[0]), axes))
    return _total(operation, upstream / tf.cast(count, upstream.dtype))


@linear("AvgPool", "Conv3D", "Pad", "StridedSlice", "Transpose")
def _tensorflows(operation: tf.Operation, upstream: Tensor) -> None:
    """With y = L x: dy = L dx, and back by TensorFlow's gradient function"""


@linear("ResizeBicubic", "ResizeBilinear", "ResizeNearestNeighbor", "ScaleAndTranslate")
def _resizing(operation: tf.Operation, upstream: Tensor) -> Tensor:
    """With y = R x, a resized image: dy = R dx, and back R^T du"""
    source, size, *placing = operation.inputs
    options = attributes(operation)
    transposed = getattr(tf.raw_ops, f"{operation.type}Grad")
    resize = getattr(tf.raw_ops, operation.type)
    places = dict(zip(("scale", "translation"), placing, strict=False))

    # TensorFlow differentiates its R^T to nothing.
    @tf.custom_gradient
    def pull(folded: Tensor) -> Tensor:
        def backward(upstream: Tensor) -> Tensor:
            return tf.cast(resize(images=upstream, size=size, **places, **options), folded.dtype)

        if operation.type == "ResizeNearestNeighbor":
            return transposed(grads=folded, size=tf.shape(source)[1:3], **options), backward
        # Read for its shape alone.
        shape = tf.concat([tf.shape(folded)[:1], tf.shape(source)[1:]], 0)
        original = tf.zeros(shape, folded.dtype if placing else source.dtype)
        return transposed(grads=folded, original_image=original, **places, **options), backward

    folded = tf.reshape(upstream, tf.concat([[-1], tf.shape(operation.outputs[0])[1:]], 0))
    return tf.cast(_like_input(operation, pull(folded), upstream), source.dtype)


def _like_input(operation: tf.Operation, pulled: Tensor, upstream: Tensor) -> Tensor:
    """Any tensor of `count` times the first input's numbers as `(count, *inputs.shape)`."""
    source = operation.inputs[0]
    shape = tf.concat([tf.shape(upstream)[:1], tf.shape(source)], 0)
    return tf.ensure_shape(tf.reshape(pulled, shape), (upstream.shape[0], *source.shape))


# --- Neither ------------------------------------------------------------------------------------


class _LargestOfWindow:
    """Max pooling that keeps the size, as one without padding of an input that was padded."""

    fact = "With y the largest x of a window: dy is the dx of that place"

    def pull(self, operation: tf.Operation, upstream: Tensor, wanted: Wanted) -> Tensors | None:
        padded = padded_pooling(operation)
        if padded is None:
            return None
        other, amounts = padded
        (pulled,) = by_gradient_function.pull(other, [upstream], [True])
        begin = [0, *(before for before, _ in amounts)]
        sizes = tf.concat([tf.shape(upstream)[:1], tf.shape(operation.inputs[0])], 0)
        return [_like_input(operation, tf.slice(pulled, begin, sizes), upstream)]

    def push(self, operation: tf.Operation, tangents: Tensors) -> Tensors | None:
        padded = padded_pooling(operation)
        if padded is None:
            return None
        other, amounts = padded
        return by_gradient_function.push(other, [tf.pad(tangents[0], amounts)])


RULES.register("MaxPool", "MaxPool3D")(_LargestOfWindow())
