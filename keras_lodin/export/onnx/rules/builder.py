"""Writes ONNX nodes in the place of one TensorFlow node."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import TensorProto, helper
from tf2onnx import utils

Number = int | float


class Builder:
    """A small language for rules: names of tensors in, names of tensors out.

    Python numbers among the inputs of an operation become constants of the type of its first
    named input; lists of integers become int64 constants, as ONNX wants its shapes and axes.

    Args:
        graph: tf2onnx's graph.
        node: the TensorFlow node to replace.

    Attributes:
        inputs: names of the node's inputs.
    """

    def __init__(self, graph: Any, node: Any) -> None:
        self._graph = graph
        self._node = node
        self.inputs: list[str] = list(node.input)

    @property
    def kind(self) -> str:
        """The TensorFlow operation's name."""
        return str(self._node.type)

    def attribute(self, name: str, default: Any = None) -> Any:
        """Value of an attribute of the TensorFlow node; text is decoded."""
        value = self._node.get_attr_value(name, default)
        return value.decode() if isinstance(value, bytes) else value

    def shape(self, tensor: str) -> list[int | None] | None:
        """Shape of a tensor as far as it is known: None for a free size or an unknown rank."""
        shape = self._graph.get_shape(tensor)
        if shape is None:
            return None
        return [None if size is None or size < 0 else int(size) for size in shape]

    def output_shape(self, index: int = 0) -> list[int | None] | None:
        """Shape of one of the TensorFlow node's outputs, as far as it is known."""
        return self.shape(self._node.output[index])

    def known_shape(self, tensor: str) -> list[int | None]:
        """Shape of a tensor whose rank must be known.

        Raises:
            ValueError: if it is not.
        """
        shape = self.shape(tensor)
        if shape is None:
            raise ValueError(f"the rank of {tensor!r} is unknown")
        return shape

    def value(self, tensor: str) -> np.ndarray | None:
        """Value of a tensor that is a constant, or None."""
        node = self._graph.get_node_by_output(tensor)
        while node is not None and node.type in ("Identity", "Cast") and node.inputs[0] is not None:
            node = node.inputs[0]
        if node is None or not node.is_const():
            return None
        return np.asarray(node.get_tensor_value(as_list=False))

    def factors(self, tensor: str) -> tuple[str, str] | None:
        """The two factors of a tensor that is a product, or None."""
        node = self._graph.get_node_by_output(tensor)
        while node is not None and node.type == "Identity":
            node = node.inputs[0]
        if node is None or node.type != "Mul":
            return None
        return node.input[0], node.input[1]

    def consumers(self) -> list[Any]:
        """The nodes that read the TensorFlow node's first output."""
        return self._graph.find_output_consumers(self._node.output[0])

    def dtype(self, tensor: str) -> int:
        """ONNX's number of a tensor's type."""
        return int(self._graph.get_dtype(tensor))

    def constant(self, value: Any, dtype: Any = None) -> str:
        """A constant. Integers are int64 unless a type is given."""
        array = np.asarray(value, dtype=dtype)
        if dtype is None and (array.dtype.kind == "i" or array.size == 0):
            array = array.astype("int64")
        return self._graph.make_const(utils.make_name("constant"), array).output[0]

    def op(self, kind: str, *inputs: Any, **attributes: Any) -> str:
        """Adds an operation with one output.

        Args:
            kind: the ONNX operation.
            *inputs: names of tensors, numbers, lists of integers, or "" for one left out.
            **attributes: the operation's attributes.

        Returns:
            the name of its output.
        """
        return self.ops(kind, 1, *inputs, **attributes)[0]

    def ops(self, kind: str, count: int, *inputs: Any, **attributes: Any) -> list[str]:
        """Adds an operation with several outputs; see `op`."""
        like = next((x for x in inputs if isinstance(x, str) and x), None)
        names = [x if isinstance(x, str) else self._literal(x, like) for x in inputs]
        node = self._graph.make_node(
            kind, names, attr=attributes, output_count=count, op_name_scope=self._node.name
        )
        return list(node.output)

    def _literal(self, value: Number | Sequence[int], like: str | None) -> str:
        if isinstance(value, (list, tuple)):
            return self.constant(np.asarray(value, dtype="int64"))
        dtype = TensorProto.FLOAT if like is None else self.dtype(like)
        return self.constant(value, helper.tensor_dtype_to_np_dtype(dtype))

    def like(self, tensor: str, value: Number) -> str:
        """A number as a constant of a tensor's type."""
        return self._literal(value, tensor)

    def list_like(self, tensor: str, values: Any) -> str:
        """A list of numbers as a constant of a tensor's type."""
        return self.constant(values, helper.tensor_dtype_to_np_dtype(self.dtype(tensor)))

    def cast(self, tensor: str, dtype: int) -> str:
        """A tensor in another type."""
        return tensor if self.dtype(tensor) == dtype else self.op("Cast", tensor, to=dtype)

    def cast_to_int64(self, tensor: str) -> str:
        """A tensor of integers as int64, ONNX's type for shapes."""
        return self.cast(tensor, TensorProto.INT64)

    def shape_of(self, tensor: str) -> str:
        """The shape of a tensor while the graph runs: int64."""
        return self.op("Shape", tensor)

    def sizes_of(self, tensor: str, start: int, end: int | None = None) -> str:
        """Some sizes of a tensor while the graph runs: int64.

        Not by `Shape`'s own `start` and `end`: tf2onnx's optimizer does not know them.
        """
        stop = np.iinfo("int64").max if end is None else end
        return self.op("Slice", self.shape_of(tensor), [start], [stop])

    def size_of(self, tensor: str, axis: int) -> str:
        """One size of a tensor while the graph runs: int64 of shape (1,)."""
        return self.sizes_of(tensor, axis, axis + 1)

    def concat(self, parts: Sequence[str], axis: int = 0) -> str:
        """Joins tensors along an axis."""
        return parts[0] if len(parts) == 1 else self.op("Concat", *parts, axis=axis)

    def transpose(self, tensor: str, permutation: Sequence[int]) -> str:
        """A tensor with its axes in another order."""
        if list(permutation) == sorted(permutation):
            return tensor
        return self.op("Transpose", tensor, perm=list(permutation))

    def channels_first(self, tensor: str) -> str:
        """From (batch, *spatial, channels) to (batch, channels, *spatial)."""
        rank = len(self.known_shape(tensor))
        return self.transpose(tensor, [0, rank - 1, *range(1, rank - 1)])

    def channels_last(self, tensor: str, rank: int) -> str:
        """From (batch, channels, *spatial) to (batch, *spatial, channels)."""
        return self.transpose(tensor, [0, *range(2, rank), 1])

    def reversed(self, tensor: str, axes: Sequence[int]) -> str:
        """A tensor turned round along some axes."""
        if not axes:
            return tensor
        count = len(axes)
        far = np.iinfo("int64").min
        return self.op("Slice", tensor, [-1] * count, [far] * count, list(axes), [-1] * count)
