"""Choices between numbers: by a condition, by an index, by size."""

from __future__ import annotations

from onnx import TensorProto

from keras_lodin.export.onnx.rules.builder import Builder, Value
from keras_lodin.export.onnx.rules.registry import RULES

# What onnxruntime chooses between. Others are chosen in a wider type, truth values as int32.
_CHOSEN = {TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.INT32, TensorProto.INT64}
_HALVES = {TensorProto.FLOAT16, TensorProto.BFLOAT16}


@RULES.register("Select", "SelectV2")
def choice(builder: Builder, condition: Value, x: Value, y: Value) -> Value:
    """Gives x where a condition holds, else y.

    tf2onnx adds two products with 0 and 1 up, which runtimes compute faster: but then an infinity
    in what is not chosen turns into NaN, and to keep those out is what choices are written for.
    """
    if condition.rank == 1 and x.rank > 1 and builder.kind == "Select":
        # The older operation chooses whole rows.
        condition = condition.op("Unsqueeze", list(range(1, x.rank)))
    return _where(condition, x, y)


@RULES.register("OneHot")
def one_hot(builder: Builder, indices: Value, depth: Value, on: Value, off: Value) -> Value:
    """With y[..., j] = on where j is the index, else off: also for an index outside of 0 .. depth.

    ONNX's own counts negative indices from the end.
    """
    rank = indices.rank
    axis = int(builder.attribute("axis", -1))
    axis = rank if axis < 0 else axis
    places = builder.below(depth.int64())
    if axis < rank:
        places = places.op("Unsqueeze", list(range(1, rank - axis + 1)))
    hit = indices.int64().op("Unsqueeze", [axis]).op("Equal", places)
    return _where(hit, on, off)


@RULES.register("Bucketize")
def bucketize(builder: Builder, x: Value) -> Value:
    """The number of boundaries that are not above x."""
    boundaries = x.like(list(builder.attribute("boundaries", [])))
    reached = x.op("Unsqueeze", [-1]).op("GreaterOrEqual", boundaries)
    return reached.cast(TensorProto.INT32).op("ReduceSum", [-1], keepdims=0)


@RULES.register("TopKV2")
def largest(builder: Builder, x: Value, count: Value) -> list[Value]:
    """The k largest numbers of the last axis and their places, the largest first."""
    if not builder.attribute("sorted", 1):
        raise ValueError("top_k(sorted=False) gives an order that no two runtimes share")
    count = count.int64().reshape(1)
    values, places = builder.ops("TopK", 2, x, count, axis=-1, largest=1, sorted=1)
    return [values, places.cast(builder.attribute("index_type", TensorProto.INT32))]


@RULES.register("MatrixDiagPartV3")
def diagonal(builder: Builder, x: Value, offset: Value, padding: Value) -> Value:
    """With y[i] = x[i, i], of the last two axes."""
    _main_diagonal_only(offset)
    rows, columns = x.size(x.rank - 2), x.size(x.rank - 1)
    # Flat, x[i, i] lies at i times the length of a row plus one.
    places = builder.below(rows.op("Min", columns).scalar()) * (columns + 1)
    leading = [x.sizes(0, x.rank - 2)] if x.rank > 2 else []
    return x.reshape(*leading, -1).op("Gather", places, axis=x.rank - 2)


@RULES.register("MatrixDiagV3")
def diagonal_matrix(
    builder: Builder, x: Value, offset: Value, rows: Value, columns: Value, padding: Value
) -> Value:
    """With y[i, i] = x[i], and a padding elsewhere: also the adjoint of `diagonal`."""
    _main_diagonal_only(offset)
    last = x.rank - 1
    down, right = (_size_or(size, x.size(last)) for size in (rows, columns))
    return _on_diagonal(builder, x, last, padding, down, right)


@RULES.register("MatrixSetDiagV3")
def replaced_diagonal(builder: Builder, x: Value, values: Value, offset: Value) -> Value:
    """With y[i, i] = z[i], and x elsewhere."""
    _main_diagonal_only(offset)
    last = x.rank - 1
    return _on_diagonal(builder, values, last - 1, x, x.size(last - 1), x.size(last))


def _where(condition: Value, x: Value, y: Value) -> Value:
    if x.dtype in _CHOSEN:
        return condition.where(x, y)
    wider = TensorProto.FLOAT if x.dtype in _HALVES else TensorProto.INT32
    return condition.where(x.cast(wider), y.cast(wider)).cast(x.dtype)


def _size_or(size: Value, other: Value) -> Value:
    """A size as int64 of shape (1,); the other one for the number -1."""
    unknown = size.known is not None and int(size.known) < 0
    return other if unknown else size.int64().reshape(1)


def _main_diagonal_only(offset: Value) -> None:
    if offset.known is None or offset.known.any():
        raise ValueError("only the main diagonal has an ONNX form")


def _on_diagonal(
    builder: Builder, values: Value, last: int, elsewhere: Value, rows: Value, columns: Value
) -> Value:
    """Matrices with values, whose last axis is `last`, at [i, i]: of sizes as int64 of (1,)."""
    # One row as long as the matrix: what lies behind its end is never chosen.
    missing = (columns - values.size(last)).op("Max", 0)
    row = values.pad(last + 1, last, 0, missing).op("Unsqueeze", [last])
    down, right = (builder.below(size.scalar()) for size in (rows, columns))
    is_diagonal = down.op("Unsqueeze", [1]).op("Equal", right)
    return _where(is_diagonal, row, elsewhere)
