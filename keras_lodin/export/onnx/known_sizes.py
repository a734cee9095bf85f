"""What a graph computes from sizes, worked out before it is written.

A gradient's graph asks for the sizes of the forward pass while it runs: to sum over what was
broadcast, to undo a reshaping. With a free batch size nearly all of it is known all the same:
nothing was broadcast, and the reshaping changes nothing. A runtime that is not told so cannot see
that two tensors are of one shape, and takes them out of the layout that its convolutions work in.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from keras_lodin.gradients.tensorflow.graph_walk import run_by_itself

# What is the same for all of these batch sizes is the same for every one.
_BATCH_SIZES = (2, 1009, 2003)

# Results with more numbers are no sizes.
_MOST_NUMBERS = 64

_ASKING = {"Shape", "ShapeN", "Size", "Rank"}
# Operations that give their first input again where the result has its shape.
_SHAPING = {"Reshape", "BroadcastTo", "Slice"}
_GRADIENTS = {"Conv2DBackpropInput", "DepthwiseConv2dNativeBackpropInput"}


class _Sized:
    """A graph for one batch size.

    Attributes:
        values: numbers that depend on sizes and constants alone, by the tensors' names.
    """

    def __init__(self, graph_def: tf.compat.v1.GraphDef, inputs: Sequence[str], size: int) -> None:
        sized = copy.deepcopy(graph_def)
        for node in sized.node:
            node.attr.pop("_output_shapes", None)
            if f"{node.name}:0" in inputs:
                for dimension in node.attr["shape"].shape.dim[:1]:
                    dimension.size = size if dimension.size < 0 else dimension.size
        with tf.Graph().as_default() as self._graph:
            tf.import_graph_def(sized, name="")
        self.values: dict[str, np.ndarray] = {}
        for operation in self._graph.get_operations():
            if self._is_known(operation):
                given = [self.values.get(tensor.name, tensor) for tensor in operation.inputs]
                for tensor, value in zip(operation.outputs, _run(operation, given), strict=True):
                    self.values[tensor.name] = value

    def shape(self, tensor: str) -> list[int] | None:
        """The shape of a tensor, None if it is not known to the last number."""
        shape = self._graph.get_tensor_by_name(tensor).shape
        return shape.as_list() if shape.is_fully_defined() else None

    def _is_known(self, operation: tf.Operation) -> bool:
        if operation.type in _ASKING:
            return all(tensor.shape.is_fully_defined() for tensor in operation.inputs)
        # Few operations get further than here, and what is asked for below takes its time.
        if operation.type == "Placeholder":
            return False
        if not all(tensor.name in self.values for tensor in operation.inputs):
            return False
        if operation.op_def.is_stateful:
            return False
        if any(attribute.type == "func" for attribute in operation.op_def.attr):
            return False
        return all(
            tensor.shape.rank is not None
            and tensor.shape.rank <= 2
            and (tensor.shape.num_elements() or 0) <= _MOST_NUMBERS
            for tensor in operation.outputs
        )


def _run(operation: tf.Operation, inputs: Sequence[object]) -> list[np.ndarray]:
    if operation.type == "Const":
        return [tf.make_ndarray(operation.get_attr("value"))]
    if operation.type in _ASKING:
        shapes = [tensor.shape.as_list() for tensor in operation.inputs]
        dtype = operation.outputs[0].dtype.as_numpy_dtype
        if operation.type == "Size":
            shapes = [int(np.prod(shape)) for shape in shapes]
        elif operation.type == "Rank":
            shapes = [len(shape) for shape in shapes]
        return [np.array(shape, dtype) for shape in shapes]
    with tf.init_scope():
        # Of numpy's numbers TensorFlow would choose the type itself: int32 for any range.
        given = [
            tf.constant(value, tensor.dtype)
            for value, tensor in zip(inputs, operation.inputs, strict=True)
        ]
        return [np.asarray(value) for value in run_by_itself(operation, given)]


def with_known_sizes(
    graph_def: tf.compat.v1.GraphDef, inputs: Sequence[str]
) -> tf.compat.v1.GraphDef:
    """A graph that asks for no size that is known.

    Args:
        graph_def: a graph whose nodes stand behind those that they read.
        inputs: the tensors whose first size is the batch's.

    Returns:
        the same function. Numbers that follow from sizes and are the same for every batch size are
        constants; what gave a tensor the shape that it has is left out; and where a shape holds the
        batch size, the operation is one that keeps its input's.
    """
    sized = [_Sized(graph_def, inputs, size) for size in _BATCH_SIZES]
    written = copy.deepcopy(graph_def)
    del written.node[:]
    writer = _Writer(written, sized)
    for node in graph_def.node:
        writer.write(node)
    return written


class _Writer:
    """Copies nodes, with what is known in them."""

    def __init__(self, graph_def: tf.compat.v1.GraphDef, sized: Sequence[_Sized]) -> None:
        self._graph_def = graph_def
        self._sized = sized
        self._constants: dict[str, str] = {}
        self._nodes: dict[str, tf.compat.v1.NodeDef] = {}

    def write(self, node: tf.compat.v1.NodeDef) -> None:
        """Writes a node, or what does the same."""
        made = self._graph_def.node.add()
        made.CopyFrom(node)
        self._nodes[node.name] = made
        if node.op in _SHAPING and self._write_shaping(made):
            return
        for place, name in enumerate(node.input):
            values = self._values(name)
            if len(values) != 1:
                continue
            if node.op == "Sum" and place == 1 and not values[0].size:
                _become(made, "Identity", node.input[:1])
                return
            made.input[place] = self._constant(name, values[0])

    def _values(self, name: str) -> list[np.ndarray]:
        """What a tensor holds: numbers, or one such array for each batch size; none if unknown."""
        full = name if ":" in name else f"{name}:0"
        found = [sized.values[full] for sized in self._sized if full in sized.values]
        if len(found) < len(self._sized):
            return []
        same = all(np.array_equal(found[0], value) for value in found[1:])
        return found[:1] if same else found

    def _shapes(self, name: str) -> list[list[int]]:
        """A tensor's shape for each batch size; none if one is unknown."""
        full = name if ":" in name else f"{name}:0"
        found = [shape for sized in self._sized if (shape := sized.shape(full)) is not None]
        return found if len(found) == len(self._sized) else []

    def _write_shaping(self, node: tf.compat.v1.NodeDef) -> bool:
        """Writes an operation that gives a tensor another shape; False if it stays as it was."""
        before, after = self._shapes(node.input[0]), self._shapes(node.name)
        if not before or not after:
            return False
        if before == after:
            _become(node, "Identity", node.input[:1])
            return True
        if node.op == "Reshape":
            return self._write_reshape(node, before[-1], after)
        if node.op == "BroadcastTo":
            return self._write_broadcast(node, before, after)
        return self._write_slice(node, before, after)

    def _write_reshape(
        self, node: tf.compat.v1.NodeDef, before: list[int], after: list[list[int]]
    ) -> bool:
        added = _added_axes(before, after[-1])
        tensor = node.input[0]
        for axis in added:
            step = node
            if axis != added[-1]:
                step = self._graph_def.node.add()
                step.CopyFrom(node)
                step.attr.pop("_output_shapes", None)
                step.name = f"known_sizes/{node.name}/{axis}"
            _become(step, "ExpandDims", [tensor, self._new(np.array(axis, "int32"))], Tdim=tf.int32)
            tensor = step.name
        if added:
            return True
        free = [len(set(sizes)) > 1 for sizes in zip(*after, strict=True)]
        if sum(free) > 1:
            return False
        node.input[1] = self._new(np.where(free, -1, after[-1]).astype("int32"))
        node.attr["Tshape"].type = tf.int32.as_datatype_enum
        return True

    def _write_broadcast(
        self, node: tf.compat.v1.NodeDef, before: list[list[int]], after: list[list[int]]
    ) -> bool:
        """As a product with ones, whose sizes are those of the axes that become longer."""
        dtype = tf.as_dtype(node.attr["T"].type)
        lengths = []
        for small, large in zip(zip(*before, strict=True), zip(*after, strict=True), strict=False):
            if small != large and (set(small) != {1} or len(set(large)) > 1):
                return False
            lengths.append(1 if small == large else large[0])
        if not dtype.is_floating or len(before[0]) != len(after[0]):
            return False
        ones = self._new(np.ones(lengths, dtype.as_numpy_dtype))
        _become(node, "Mul", [node.input[0], ones])
        return True

    def _write_slice(
        self, node: tf.compat.v1.NodeDef, before: list[list[int]], after: list[list[int]]
    ) -> bool:
        """As a slice from place to place: whole along the batch, whose size is no constant."""
        begins = self._values(node.input[1])
        if len(begins) != 1:
            return False
        (begin,), end, whole = begins, [], 0
        for axis, first in enumerate(begin.tolist()):
            large, small = ({shape[axis] for shape in shapes} for shapes in (before, after))
            if len(small) > 1 and (first or small != large):
                return False
            whole |= (len(small) > 1) << axis
            end.append(first + min(small))
        if self._write_padded(node, begin.tolist(), end, before[-1], after[-1]):
            return True
        limits = (begin, end, np.ones_like(begin))
        names = [self._new(np.array(value, begin.dtype)) for value in limits]
        index = tf.as_dtype(begin.dtype)
        _become(node, "StridedSlice", [node.input[0], *names], Index=index)
        for name in ("begin_mask", "end_mask"):
            node.attr[name].i = whole
        return True

    def _write_padded(
        self,
        node: tf.compat.v1.NodeDef,
        begin: list[int],
        end: list[int],
        before: list[int],
        after: list[int],
    ) -> bool:
        """A convolution's gradient behind which a padding's cuts the border off, as one.

        Together they are the gradient of a convolution that pads by itself.
        """
        source = self._nodes.get(node.input[0])
        if source is None or source.op not in _GRADIENTS:
            return False
        # A transposed convolution, which one of strides and of all channels becomes, is slower for
        # a padding than a slice behind it is.
        dense = source.op == "Conv2DBackpropInput" and max(source.attr["strides"].list.i) > 1
        layout = (source.attr["padding"].s, source.attr["data_format"].s)
        spatial = (before[0], before[-1]) == (after[0], after[-1])
        if dense or layout != (b"VALID", b"NHWC") or not spatial:
            return False
        amounts = [0, 0]
        for axis in (1, 2):
            amounts += [begin[axis], before[axis] - end[axis]]
        sizes = self._new(np.array([-1, *after[1:]], "int32"))
        node.op = source.op
        node.input[:] = [sizes, *source.input[1:]]
        for name in [name for name in node.attr if name != "_output_shapes"]:
            del node.attr[name]
        for name, value in source.attr.items():
            if name != "_output_shapes":
                node.attr[name].CopyFrom(value)
        node.attr["padding"].s = b"EXPLICIT"
        node.attr["explicit_paddings"].list.i[:] = [*amounts, 0, 0]
        return True

    def _new(self, value: np.ndarray) -> str:
        """The name of a new constant."""
        node = self._graph_def.node.add()
        node.name, node.op = f"known_sizes/{len(self._graph_def.node)}", "Const"
        dtype = tf.as_dtype(value.dtype).as_datatype_enum
        node.attr["dtype"].type = dtype
        # What `tf.make_tensor_proto` gives, in a tenth of its time.
        tensor = node.attr["value"].tensor
        tensor.dtype, tensor.tensor_content = dtype, value.tobytes()
        for size in value.shape:
            tensor.tensor_shape.dim.add(size=size)
        return str(node.name)

    def _constant(self, name: str, value: np.ndarray) -> str:
        """The name of a constant that holds what a tensor does."""
        if name not in self._constants:
            self._constants[name] = self._new(value)
        return self._constants[name]


def _become(
    node: tf.compat.v1.NodeDef, kind: str, inputs: Sequence[str], **types: tf.DType
) -> None:
    """Turns a node into one of another kind, of the same type and name."""
    kept = {
        name: copy.deepcopy(node.attr[name])
        for name in ("T", "_output_shapes")
        if name in node.attr
    }
    inputs = list(inputs)
    node.ClearField("attr")
    node.op = kind
    node.input[:] = inputs
    for name, value in kept.items():
        node.attr[name].CopyFrom(value)
    for name, dtype in types.items():
        node.attr[name].type = dtype.as_datatype_enum


def _added_axes(before: list[int], after: list[int]) -> list[int]:
    """The axes of size 1 that a shape has more than another, if that is all; else none."""
    left, added = list(before), []
    for axis, size in enumerate(after):
        if left and left[0] == size:
            left.pop(0)
        elif size == 1:
            added.append(axis)
        else:
            return []
    return [] if left else added
