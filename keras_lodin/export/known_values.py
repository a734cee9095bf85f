"""What tensors of a graph hold before it runs."""

from __future__ import annotations

import contextlib

import numpy as np
import tensorflow as tf

from keras_lodin.export.unwritable_error import UnwritableError
from keras_lodin.gradients.tensorflow.graph_walk import LOOPS, run_by_itself
from keras_lodin.utils.tensor import Tensor

# Operations that hold another graph.
NESTED_GRAPHS = LOOPS | {"PartitionedCall", "StatefulPartitionedCall"}


def known_value(tensor: Tensor) -> np.ndarray:
    """The value of a tensor that depends on no input, sizes that are not free included.

    Raises:
        UnwritableError: if it depends on one.
    """
    value = tf.get_static_value(tensor)
    if value is not None:
        return value
    with contextlib.suppress(UnwritableError):
        shape = known_shape(tensor)
        if None not in shape:
            return np.array(shape, tensor.dtype.as_numpy_dtype)
    operation = tensor.op
    if operation.type == "StridedSlice" and operation.get_attr("shrink_axis_mask") == 1:
        size = known_shape(operation.inputs[0])[int(known_value(operation.inputs[1])[0])]
        if size is not None:
            return np.array(size, tensor.dtype.as_numpy_dtype)
    if operation.type in NESTED_GRAPHS or not operation.inputs or operation.op_def.is_stateful:
        raise UnwritableError("numbers that depend on the input")
    values = [known_value(source) for source in operation.inputs]
    with tf.init_scope():
        return np.asarray(run_by_itself(operation, values)[tensor.value_index])


def known_shape(tensor: Tensor) -> list[int | None]:
    """What a tensor that holds a shape says before anything runs; None for free sizes.

    Raises:
        UnwritableError: if it depends on an input.
    """
    if tensor.op.type in ("Shape", "ShapeN"):
        return tensor.op.inputs[tensor.value_index].shape.as_list()
    if tensor.op.type == "StridedSlice" and not tensor.op.get_attr("shrink_axis_mask"):
        first, last, step = (int(known_value(limit)[0]) for limit in tensor.op.inputs[1:])
        start = None if tensor.op.get_attr("begin_mask") else first
        stop = None if tensor.op.get_attr("end_mask") else last
        return known_shape(tensor.op.inputs[0])[start:stop:step]
    value = tf.get_static_value(tensor, partial=True)
    if value is None:
        raise UnwritableError("shapes that depend on the input")
    return [None if size is None else int(size) for size in value]
