"""Weights beside an ONNX model, each of them once."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import numpy_helper

from keras_lodin.export.onnx.weighted_model import WeightedModel


def with_weights(model: onnx.ModelProto, weights: Mapping[str, np.ndarray]) -> WeightedModel:
    """Turns some of a model's inputs into initializers.

    A weight that is only ever read in one other layout (ONNX keeps a convolution's channels
    first) is stored in that layout. Other rearrangements stay in the graph: they are done when a
    runtime loads the file, and would otherwise store the weight a second time.

    Args:
        model: the model, which is changed.
        weights: values by the names of inputs.
    """
    inputs = [value for value in model.graph.input if value.name not in weights]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    used = {name for node in model.graph.node for name in node.input}
    values = {name: value for name, value in weights.items() if name in used}
    while _store_in_read_layout(model.graph, values):
        pass
    return WeightedModel(model, values)


def _store_in_read_layout(graph: onnx.GraphProto, values: dict[str, np.ndarray]) -> bool:
    """Carries out a rearrangement that is all that a weight is read for; True if there was one."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    readers: dict[str, list[onnx.NodeProto]] = {name: [] for name in values}
    for node in graph.node:
        for name in node.input:
            if name in readers:
                readers[name].append(node)
    removed: dict[str, str] = {}
    for name, nodes in readers.items():
        first, *others = [_rearrangement(node, constants) for node in nodes]
        if first is None or any(other != first for other in others):
            continue
        value = values.pop(name)
        kind, numbers = first
        arranged = value.transpose(numbers) if kind == "Transpose" else value.reshape(numbers)
        values[name] = np.ascontiguousarray(arranged)
        removed.update({node.output[0]: name for node in nodes})
    if not removed:
        return False
    kept = [node for node in graph.node if node.output[0] not in removed]
    for node in kept:
        for place, name in enumerate(node.input):
            node.input[place] = removed.get(name, name)
    del graph.node[:]
    graph.node.extend(kept)
    return True


def _rearrangement(
    node: onnx.NodeProto, constants: Mapping[str, onnx.TensorProto]
) -> tuple[str, tuple[int, ...]] | None:
    """What a node does to the order of its first input's numbers, or None."""
    if node.op_type == "Transpose":
        return "Transpose", tuple(node.attribute[0].ints)
    if node.op_type == "Reshape" and node.input[1] in constants:
        return "Reshape", tuple(numpy_helper.to_array(constants[node.input[1]]).tolist())
    return None
