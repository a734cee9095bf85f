"""Writes ONNX nodes in the place of one TensorFlow node."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper
from tf2onnx import utils
from tf2onnx.graph import Graph, Node

# None for a free size.
Shape: TypeAlias = list[int | None]
# Numbers become constants of the type of an operation's first tensor; lists of integers become
# int64 constants, as ONNX wants its shapes and axes.
Operand: TypeAlias = "Value | float | Sequence[int]"


def _operator(kind: str) -> Callable[[Value, Value | float], Value]:
    return lambda tensor, other: tensor.op(kind, other)


class Value:
    """A tensor of the graph that is being written: what is known of it, and what is made of it.

    Python's operators write ONNX's: `dy * (1.0 - y)`.
    """

    def __init__(self, builder: Builder, name: str) -> None:
        self.name = name
        self._builder = builder
        self._graph = builder.graph

    def op(self, kind: str, *others: Operand, **attributes: object) -> Value:
        """Adds an operation with this tensor as its first input; see `Builder.op`."""
        return self._builder.op(kind, self, *others, **attributes)

    __add__ = _operator("Add")
    __sub__ = _operator("Sub")
    __mul__ = _operator("Mul")
    __truediv__ = _operator("Div")
    __floordiv__ = _operator("Div")  # of integers, rounded towards zero
    __lt__ = _operator("Less")
    __gt__ = _operator("Greater")
    __and__ = _operator("And")
    __or__ = _operator("Or")

    def __radd__(self, number: float) -> Value:
        return self + number

    def __rsub__(self, number: float) -> Value:
        return self._builder.op("Sub", number, self)

    def __rtruediv__(self, number: float) -> Value:
        return self._builder.op("Div", number, self)

    def __neg__(self) -> Value:
        return self.op("Neg")

    def __abs__(self) -> Value:
        return self.op("Abs")

    @property
    def shape(self) -> Shape | None:
        """Its shape as far as it is known, None for an unknown rank."""
        shape = self._graph.get_shape(self.name)
        if shape is None:
            return None
        return [None if size is None or size < 0 else int(size) for size in shape]

    @property
    def known_shape(self) -> Shape:
        """The shape of a tensor whose rank must be known.

        Raises:
            ValueError: if it is not.
        """
        if self.shape is None:
            raise ValueError(f"the rank of {self.name!r} is unknown")
        return self.shape

    @property
    def rank(self) -> int:
        """How many axes it has."""
        return len(self.known_shape)

    @property
    def dtype(self) -> int:
        """ONNX's number of its type."""
        return int(self._graph.get_dtype(self.name))

    @property
    def known(self) -> np.ndarray | None:
        """The value of a constant, or None."""
        node = self._maker("Identity", "Cast")
        if node is None or not node.is_const():
            return None
        return np.asarray(node.get_tensor_value(as_list=False))

    @property
    def factors(self) -> list[Value]:
        """The two factors of a product; none of anything else."""
        node = self._maker("Identity")
        if node is None or node.type != "Mul":
            return []
        return [Value(self._builder, name) for name in node.input]

    def made_of(self) -> tuple[str, list[Value]]:
        """The kind of the operation that made it, "" for an input, and what that reads."""
        node = self._graph.get_node_by_output(self.name)
        if node is None:
            return "", []
        return str(node.type), [Value(self._builder, name) for name in node.input if name]

    def _maker(self, *passing: str) -> Node | None:
        """The node that made the numbers; those of some types only pass them on."""
        node = self._graph.get_node_by_output(self.name)
        while node is not None and node.type in passing and node.inputs[0] is not None:
            node = node.inputs[0]
        return node

    def like(self, values: npt.ArrayLike) -> Value:
        """Numbers as a constant of its type."""
        return self._builder.constant(values, helper.tensor_dtype_to_np_dtype(self.dtype))

    def cast(self, dtype: int) -> Value:
        """It in another type."""
        return self if self.dtype == dtype else self.op("Cast", to=dtype)

    def int64(self) -> Value:
        """It in ONNX's type for shapes."""
        return self.cast(TensorProto.INT64)

    def float32(self) -> Value:
        """It as float32."""
        return self.cast(TensorProto.FLOAT)

    def sizes(self, start: int = 0, end: int | None = None) -> Value:
        """Some of its sizes while the graph runs: int64.

        Not by `Shape`'s own `start` and `end`: tf2onnx's optimizer does not know them.
        """
        stop = np.iinfo("int64").max if end is None else end
        return self.op("Shape").op("Slice", [start], [stop])

    def size(self, axis: int) -> Value:
        """One of its sizes while the graph runs: int64 of shape (1,)."""
        return self.sizes(axis, axis + 1)

    def entry(self, place: int) -> Value:
        """One of its numbers along the first axis, of size 1."""
        return self.op("Slice", [place], [place + 1])

    def scalar(self) -> Value:
        """It without its one axis, of size 1."""
        return self.op("Squeeze", [0])

    def reshape(self, *sizes: Value | int) -> Value:
        """It in another shape, of numbers and int64 tensors."""
        return self.op("Reshape", self._builder.shape(*sizes))

    def pad(self, rank: int, axis: int, before: Value | int, after: Value | int) -> Value:
        """It with zeros before and after on one of its axes; a negative amount cuts off."""
        none, rest = [0] * axis, [0] * (rank - axis - 1)
        amounts = self._builder.shape(*none, before, *rest, *none, after, *rest)
        return self.op("Pad", amounts)

    def where(self, x: Value, y: Value) -> Value:
        """Gives x where it holds, else y."""
        return self.op("Where", x, y)

    def transpose(self, permutation: Sequence[int]) -> Value:
        """It with its axes in another order."""
        in_order = list(permutation) == sorted(permutation)
        return self if in_order else self.op("Transpose", perm=list(permutation))

    def channels_first(self) -> Value:
        """From (batch, *spatial, channels) to (batch, channels, *spatial)."""
        return self.transpose([0, self.rank - 1, *range(1, self.rank - 1)])

    def channels_last(self, rank: int) -> Value:
        """From (batch, channels, *spatial) to (batch, *spatial, channels)."""
        return self.transpose([0, *range(2, rank), 1])

    def reversed(self, axes: Sequence[int]) -> Value:
        """It turned round along some axes."""
        count, far = len(axes), np.iinfo("int64").min
        turned = [-1] * count, [far] * count, list(axes), [-1] * count
        return self.op("Slice", *turned) if axes else self


class Builder:
    """Writes a graph in the place of a TensorFlow node, and knows the node.

    Attributes:
        graph: as given.
        inputs: the node's inputs.
        output: the node's first output.
    """

    def __init__(self, graph: Graph, node: Node) -> None:
        self.graph = graph
        self._node = node
        self.inputs = [Value(self, name) for name in node.input]
        self.output = Value(self, node.output[0])

    @property
    def kind(self) -> str:
        """The TensorFlow operation's name."""
        return str(self._node.type)

    def attribute(self, name: str, default: object = None) -> Any:
        """Value of an attribute of the TensorFlow node; text is decoded."""
        value = self._node.get_attr_value(name, default)
        return value.decode() if isinstance(value, bytes) else value

    def consumers(self) -> list[Node]:
        """The nodes that read the TensorFlow node's first output."""
        return self.graph.find_output_consumers(self.output.name)

    def constant(self, value: npt.ArrayLike, dtype: npt.DTypeLike | None = None) -> Value:
        """A constant. Integers are int64 unless a type is given."""
        array = np.asarray(value, dtype=dtype)
        if dtype is None and (array.dtype.kind == "i" or array.size == 0):
            array = array.astype("int64")
        return Value(self, self.graph.make_const(utils.make_name("constant"), array).output[0])

    def op(self, kind: str, *inputs: Operand, **attributes: object) -> Value:
        """Adds an operation with one output."""
        return self.ops(kind, 1, *inputs, **attributes)[0]

    def ops(self, kind: str, count: int, *inputs: Operand, **attributes: object) -> list[Value]:
        """Adds an operation with several outputs; see `op`."""
        like = next(x for x in inputs if isinstance(x, Value))
        names = [self._named(x, like) for x in inputs]
        node = self.graph.make_node(
            kind, names, attr=attributes, output_count=count, op_name_scope=self._node.name
        )
        return [Value(self, name) for name in node.output]

    def _named(self, operand: Operand, like: Value) -> str:
        if isinstance(operand, Value):
            return operand.name
        if isinstance(operand, (list, tuple)):
            return self.constant(operand, "int64").name
        return like.like(operand).name

    def concat(self, parts: Sequence[Value], axis: int = 0) -> Value:
        """Joins tensors along an axis."""
        return parts[0] if len(parts) == 1 else self.op("Concat", *parts, axis=axis)

    def shape(self, *sizes: Value | int) -> Value:
        """A shape, int64, of numbers and of int64 tensors with one axis."""
        numbers = [size for size in sizes if isinstance(size, int)]
        if len(numbers) == len(sizes):
            return self.constant(numbers)
        return self.concat([n if isinstance(n, Value) else self.constant([n]) for n in sizes])

    def below(self, limit: Value) -> Value:
        """0, 1, ... below an int64 scalar."""
        return self.op("Range", self.constant(0), limit, self.constant(1))
