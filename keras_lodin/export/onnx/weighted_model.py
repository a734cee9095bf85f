"""An ONNX model whose weights are beside it until it is written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx


@dataclass(frozen=True)
class WeightedModel:
    """An ONNX model and its large initializers, which a message would hold a second time.

    Attributes:
        proto: the model without them.
        weights: their values by name.
    """

    proto: onnx.ModelProto
    weights: Mapping[str, np.ndarray]

    @property
    def size(self) -> int:
        """How many bytes the file has."""
        return sum(len(piece) for piece in self.pieces())

    def pieces(self) -> Iterator[bytes | memoryview]:
        """The content of the file: one message, piece by piece, without copies of the weights."""
        outside = onnx.ModelProto()
        outside.CopyFrom(self.proto)
        outside.ClearField("graph")
        yield outside.SerializeToString()
        inside = [self.proto.graph.SerializeToString()]
        for name, value in self.weights.items():
            inside += _initializer(name, value)
        yield _field(onnx.ModelProto.GRAPH_FIELD_NUMBER, sum(map(len, inside)))
        yield from inside


def _initializer(name: str, value: np.ndarray) -> list[bytes | memoryview]:
    """A field of a graph: the tensor, whose numbers stay where they are."""
    kind = onnx.helper.np_dtype_to_tensor_dtype(value.dtype)
    tensor = onnx.TensorProto(name=name, dims=value.shape, data_type=kind).SerializeToString()
    numbers = memoryview(np.ascontiguousarray(value, value.dtype.newbyteorder("<"))).cast("B")
    head = _field(onnx.TensorProto.RAW_DATA_FIELD_NUMBER, len(numbers))
    size = len(tensor) + len(head) + len(numbers)
    return [_field(onnx.GraphProto.INITIALIZER_FIELD_NUMBER, size), tensor, head, numbers]


def _field(number: int, size: int) -> bytes:
    """What stands before a field of protocol buffers that has a length."""
    return _varint(number << 3 | 2) + _varint(size)


def _varint(number: int) -> bytes:
    """A number in groups of seven bits, the lowest first; all but the last have the eighth set."""
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])
