"""A traced function as a TensorFlow graph whose weights stay outside it."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from keras_lodin.export.tracing import Trace

# Below this, a tensor becomes a constant of the graph, which TensorFlow may then fold. Biases and
# statistics do; kernels stay outside.
_CONSTANT_SIZE = 2048


@dataclass(frozen=True)
class WeightlessGraph:
    """A graph of a function, with its large weights as further inputs.

    A conversion copies its graph several times. With the weights elsewhere that costs nothing,
    whatever the network's size.

    Attributes:
        graph_def: the graph.
        inputs: the function's own inputs, as tensor names of the graph.
        outputs: tensor names of the graph by the function's output names.
        weights: values by the tensor names of the graph's further inputs.
    """

    graph_def: tf.compat.v1.GraphDef
    inputs: tuple[str, ...]
    outputs: dict[str, str]
    weights: dict[str, np.ndarray]


def weightless_graph(trace: Trace) -> WeightlessGraph:
    """Takes the weights out of a traced function's graph.

    Raises:
        ValueError: if an output depends on a variable that the function changes while it runs.
    """
    whole = trace.graph.as_graph_def(add_shapes=True)
    inputs = [tensor.op.name for tensor in trace.inputs]
    outputs = [tensor.op.name for tensor in trace.structured_outputs.values()]
    graph_def = _what_is_read(whole, [*inputs, *outputs])
    _refuse_changed_variables(whole, graph_def)
    nodes = {node.name: node for node in graph_def.node}
    weights: dict[str, np.ndarray] = {}
    for placeholder, value in trace.weights:
        _set_value(nodes[placeholder.op.name], value, weights)
    for node in graph_def.node:
        _read_value(node)
    return WeightlessGraph(
        graph_def,
        tuple(tensor.name for tensor in trace.own_inputs),
        {name: tensor.name for name, tensor in trace.structured_outputs.items()},
        weights,
    )


def _what_is_read(whole: tf.compat.v1.GraphDef, wanted: Sequence[str]) -> tf.compat.v1.GraphDef:
    """The nodes that wanted ones depend on by their numbers, not by their order in time alone.

    What goes: checks, and counters such as the seed that a layer of random augmentation moves on
    at inference too, where it does nothing else.
    """
    nodes = {node.name: node for node in whole.node}
    kept: set[str] = set()
    waiting = list(wanted)
    while waiting:
        name = waiting.pop()
        if name not in kept:
            kept.add(name)
            waiting += [
                tensor.split(":")[0] for tensor in nodes[name].input if not tensor.startswith("^")
            ]
    graph_def = copy.deepcopy(whole)
    del graph_def.node[:]
    for node in whole.node:
        if node.name in kept:
            copied = graph_def.node.add()
            copied.CopyFrom(node)
            copied.input[:] = [tensor for tensor in node.input if not tensor.startswith("^")]
    return graph_def


def _refuse_changed_variables(
    whole: tf.compat.v1.GraphDef, graph_def: tf.compat.v1.GraphDef
) -> None:
    """Raises ValueError if a variable is read that another node of the whole graph changes."""
    changes = {
        node.input[0]: node
        for node in whole.node
        if node.op.startswith(("Assign", "ResourceScatter", "ResourceApply"))
    }
    for node in graph_def.node:
        for variable in node.input:
            if variable in changes:
                change = changes[variable]
                raise ValueError(
                    "The classifier changes a variable at inference and computes with it (a state, "
                    "or the seed of random numbers); an ONNX file cannot. Expected a classifier "
                    "whose outputs depend on its input alone; nothing was written. "
                    f"Received: operation {change.op} at {change.name!r}"
                )


def _set_value(
    node: tf.compat.v1.NodeDef, value: np.ndarray, weights: dict[str, np.ndarray]
) -> None:
    """Turns a captured placeholder into a constant, or into an input for its value."""
    dtype = tf.as_dtype(value.dtype).as_datatype_enum
    node.ClearField("attr")
    node.attr["dtype"].type = dtype
    shape = tf.TensorShape(value.shape).as_proto()
    if value.size <= _CONSTANT_SIZE:
        node.op = "Const"
        node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))
    else:
        node.attr["shape"].shape.CopyFrom(shape)
        weights[f"{node.name}:0"] = value
    node.attr["_output_shapes"].list.shape.add().CopyFrom(shape)


def _read_value(node: tf.compat.v1.NodeDef) -> None:
    """Turns an operation on a variable into the same one on its value."""
    if node.op == "ReadVariableOp":
        node.op = "Identity"
        dtype = node.attr["dtype"].type
        del node.attr["dtype"]
        node.attr["T"].type = dtype
