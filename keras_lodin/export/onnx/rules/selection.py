"""Choices between numbers: by a condition, by an index, by size."""

from __future__ import annotations

from onnx import TensorProto

from keras_lodin.export.onnx.rules.builder import Builder
from keras_lodin.export.onnx.rules.registry import RULES

# What onnxruntime chooses between. Others are chosen in a wider type, truth values as int32.
_CHOSEN = {TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.INT32, TensorProto.INT64}
_HALVES = {TensorProto.FLOAT16, TensorProto.BFLOAT16}


@RULES.register("Select", "SelectV2")
def choice(builder: Builder) -> str:
    """Gives x where a condition holds, else y.

    tf2onnx adds two products with 0 and 1 up, which runtimes compute faster: but then an infinity
    in what is not chosen turns into NaN, and to keep those out is what choices are written for.
    """
    condition, x, y = builder.inputs
    rank, whole = len(builder.known_shape(condition)), len(builder.known_shape(x))
    if rank == 1 and whole > 1 and builder.kind == "Select":
        # The older operation chooses whole rows.
        condition = builder.op("Unsqueeze", condition, list(range(1, whole)))
    return _where(builder, condition, x, y)


@RULES.register("OneHot")
def one_hot(builder: Builder) -> str:
    """With y[..., j] = on where j is the index, else off: also for an index outside of 0 .. depth.

    ONNX's own counts negative indices from the end.
    """
    indices, depth, on, off = builder.inputs
    indices = builder.cast_to_int64(indices)
    rank = len(builder.known_shape(indices))
    axis = int(builder.attribute("axis", -1))
    axis = rank if axis < 0 else axis
    places = _numbers_below(builder, builder.cast_to_int64(depth))
    if axis < rank:
        places = builder.op("Unsqueeze", places, list(range(1, rank - axis + 1)))
    hit = builder.op("Equal", builder.op("Unsqueeze", indices, [axis]), places)
    return _where(builder, hit, on, off)


@RULES.register("Bucketize")
def bucketize(builder: Builder) -> str:
    """The number of boundaries that are not above x."""
    (inputs,) = builder.inputs
    boundaries = builder.list_like(inputs, list(builder.attribute("boundaries", [])))
    column = builder.op("Unsqueeze", inputs, [-1])
    above = builder.cast(builder.op("GreaterOrEqual", column, boundaries), TensorProto.INT32)
    return builder.op("ReduceSum", above, [-1], keepdims=0)


@RULES.register("TopKV2")
def largest(builder: Builder) -> list[str]:
    """The k largest numbers of the last axis and their places, the largest first."""
    inputs, count = builder.inputs
    if not builder.attribute("sorted", 1):
        raise ValueError("top_k(sorted=False) gives an order that no two runtimes share")
    count = builder.op("Reshape", builder.cast_to_int64(count), [1])
    values, places = builder.ops("TopK", 2, inputs, count, axis=-1, largest=1, sorted=1)
    return [values, builder.cast(places, builder.attribute("index_type", TensorProto.INT32))]


@RULES.register("MatrixDiagPartV3")
def diagonal(builder: Builder) -> str:
    """With y[i] = x[i, i], of the last two axes."""
    inputs, offset, _ = builder.inputs
    _main_diagonal_only(builder, offset)
    rank = len(builder.known_shape(inputs))
    rows, columns = (builder.size_of(inputs, axis) for axis in (rank - 2, rank - 1))
    count = builder.op("Squeeze", builder.op("Min", rows, columns), [0])
    # Flat, x[i, i] lies at i times the length of a row plus one.
    steps = builder.op("Add", columns, 1)
    places = builder.op("Mul", _numbers_below(builder, count), steps)
    leading = [builder.sizes_of(inputs, 0, rank - 2)] if rank > 2 else []
    flat = builder.op("Reshape", inputs, builder.concat([*leading, builder.constant([-1])]))
    return builder.op("Gather", flat, places, axis=rank - 2)


@RULES.register("MatrixDiagV3")
def diagonal_matrix(builder: Builder) -> str:
    """With y[i, i] = x[i], and a padding elsewhere: also the adjoint of `diagonal`."""
    inputs, offset, rows, columns, padding = builder.inputs
    _main_diagonal_only(builder, offset)
    rank = len(builder.known_shape(inputs))
    length = builder.size_of(inputs, rank - 1)
    down, right = (_size_or(builder, size, length) for size in (rows, columns))
    row = _lengthened(builder, inputs, rank, right)
    return _where(builder, _diagonal_mask(builder, down, right), row, padding)


@RULES.register("MatrixSetDiagV3")
def replaced_diagonal(builder: Builder) -> str:
    """With y[i, i] = z[i], and x elsewhere."""
    inputs, values, offset = builder.inputs
    _main_diagonal_only(builder, offset)
    rank = len(builder.known_shape(inputs))
    rows, columns = (builder.size_of(inputs, axis) for axis in (rank - 2, rank - 1))
    row = _lengthened(builder, values, rank - 1, columns)
    return _where(builder, _diagonal_mask(builder, rows, columns), row, inputs)


def _where(builder: Builder, condition: str, x: str, y: str) -> str:
    dtype = builder.dtype(x)
    if dtype in _CHOSEN:
        return builder.op("Where", condition, x, y)
    wider = TensorProto.FLOAT if dtype in _HALVES else TensorProto.INT32
    x, y = (builder.cast(tensor, wider) for tensor in (x, y))
    return builder.cast(builder.op("Where", condition, x, y), dtype)


def _size_or(builder: Builder, size: str, other: str) -> str:
    """A size as int64 of shape (1,); the other one for the number -1."""
    value = builder.value(size)
    if value is not None and int(value) < 0:
        return other
    return builder.op("Reshape", builder.cast_to_int64(size), [1])


def _lengthened(builder: Builder, values: str, rank: int, columns: str) -> str:
    """A diagonal as one row as long as the matrix: what lies behind its end is never chosen."""
    missing = builder.op("Sub", columns, builder.size_of(values, rank - 1))
    none = builder.constant([0] * rank)
    before = builder.constant([0] * (rank - 1))
    row = builder.op("Pad", values, builder.concat([none, before, builder.op("Max", missing, 0)]))
    return builder.op("Unsqueeze", row, [rank - 1])


def _main_diagonal_only(builder: Builder, offset: str) -> None:
    value = builder.value(offset)
    if value is None or value.any():
        raise ValueError("only the main diagonal has an ONNX form")


def _diagonal_mask(builder: Builder, rows: str, columns: str) -> str:
    """True at [i, i], of sizes given as int64 of shape (1,)."""
    down, right = (
        _numbers_below(builder, builder.op("Squeeze", size, [0])) for size in (rows, columns)
    )
    return builder.op("Equal", builder.op("Unsqueeze", down, [1]), right)


def _numbers_below(builder: Builder, limit: str) -> str:
    """0, 1, ... below an int64 scalar."""
    return builder.op("Range", builder.constant(0), limit, builder.constant(1))
