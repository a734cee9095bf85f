"""Slices of an ONNX model, as short as they can be said."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

# Beyond the end of every axis.
_FAR = 10**9


def leave_out_whole_axes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Takes the axes out of slices that they take whole.

    A free size that a slice names, from 0 to the end, is one that ONNX no longer knows behind it.
    """
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type != "Slice" or len(node.input) < 4:
            continue
        if not all(name in constants for name in node.input[1:]):
            continue
        numbers = [numpy_helper.to_array(constants[name]) for name in node.input[1:]]
        starts, ends, *others = numbers
        steps = others[1] if len(others) > 1 else np.ones_like(starts)
        kept = (starts != 0) | (ends < _FAR) | (steps != 1)
        if kept.all() or not kept.any():
            continue
        for place, values in enumerate(numbers, start=1):
            tensor = numpy_helper.from_array(values[kept], f"{node.output[0]}/{place}")
            model.graph.initializer.append(tensor)
            node.input[place] = tensor.name
    return model
