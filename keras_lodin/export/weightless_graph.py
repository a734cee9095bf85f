"""A traced function as a TensorFlow graph whose weights stay outside it."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tensorflow as tf

from keras_lodin.export.known_values import known_value
from keras_lodin.export.litert.unwritable_error import UnwritableError
from keras_lodin.gradients.tensorflow_internals import without_calls

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

    graph_def: Any
    inputs: tuple[str, ...]
    outputs: dict[str, str]
    weights: dict[str, np.ndarray]


@contextlib.contextmanager
def _inlined_functions() -> Iterator[None]:
    """Makes a trace write out the functions that it calls: Keras calls one for grouped kernels."""
    before = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(before)


@contextlib.contextmanager
def refused_if_untraceable() -> Iterator[None]:
    """Turns what the classifier, or TensorFlow's gradients, raise in a trace into ValueError."""
    try:
        yield
    except Exception as error:
        raise ValueError(
            "TensorFlow cannot trace the detector; nothing was written. Expected a classifier "
            "whose layers all have a gradient and take a free batch size, and free sizes wherever "
            "its input has them. "
            f"Received: {type(error).__name__}: {error}"
        ) from error


@dataclass(frozen=True)
class Trace:
    """A traced function, as far as its graph is copied or converted.

    Attributes:
        graph: the graph.
        inputs: its placeholders: the function's own, then one for each captured tensor.
        captured_inputs: the tensors outside of the graph that it reads.
        variables: the variables among them.
        structured_outputs: its outputs by name.
    """

    graph: Any
    inputs: Sequence[Any]
    captured_inputs: Sequence[Any]
    variables: Sequence[Any]
    structured_outputs: dict[str, Any]


def traced(function: Any) -> Trace:
    """A trace of a `tf.function` by its input signature, with no calls of functions in it.

    Raises:
        ValueError: if TensorFlow cannot trace it.
    """
    # A function of its own: the caller's may hold a trace with calls in it.
    fresh = tf.function(
        function.python_function, input_signature=function.input_signature, autograph=False
    )
    with refused_if_untraceable(), _inlined_functions():
        concrete = fresh.get_concrete_function()
    trace = Trace(
        concrete.graph,
        concrete.inputs,
        concrete.captured_inputs,
        concrete.variables,
        concrete.structured_outputs,
    )
    for _ in range(_DEEPEST):
        branches = _taken_branches(trace.graph)
        kinds = {operation.type for operation in trace.graph.get_operations()}
        if not branches and not kinds & _CALLS:
            break
        trace = _written_out(trace, branches)
    return trace


# Branches within branches.
_DEEPEST = 8


# What a function that was traced elsewhere is called by: that of a SavedModel, in a `TFSMLayer`.
_CALLS = {"PartitionedCall", "StatefulPartitionedCall"}
_BRANCHES = {"If", "StatelessIf"}


def _taken_branches(graph: Any) -> dict[str, str]:
    """The branch that is taken, by the name of the operation, where sizes alone decide."""
    taken = {}
    for operation in graph.get_operations():
        if operation.type in _BRANCHES:
            with contextlib.suppress(UnwritableError):
                condition = bool(known_value(operation.inputs[0]))
                taken[operation.name] = "then_branch" if condition else "else_branch"
    return taken


def _written_out(trace: Trace, branches: dict[str, str]) -> Trace:
    """The trace without calls of functions, and of branches the one that is taken."""
    outputs = trace.structured_outputs
    needed = [tensor.name for tensor in (*trace.inputs, *outputs.values())]
    graph_def = trace.graph.as_graph_def()
    for node in graph_def.node:
        if node.name in branches:
            node.op = "StatefulPartitionedCall" if node.op == "If" else "PartitionedCall"
            node.attr["f"].CopyFrom(node.attr[branches[node.name]])
            del node.input[0]
            for name in ("then_branch", "else_branch", "Tcond", "output_shapes"):
                node.attr.pop(name, None)
    graph_def = without_calls(graph_def, needed)
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(graph_def, name="")
    inputs = [graph.get_tensor_by_name(tensor.name) for tensor in trace.inputs]
    for own, tensor in zip(trace.inputs, inputs, strict=True):
        tensor.set_shape(own.shape)
    written = {name: graph.get_tensor_by_name(tensor.name) for name, tensor in outputs.items()}
    return replace(trace, graph=graph, inputs=inputs, structured_outputs=written)


def weightless_graph(concrete: Trace) -> WeightlessGraph:
    """Takes the weights out of a traced function's graph.

    Args:
        concrete: what `traced` gave, of a function whose value is a dict of tensors.

    Returns:
        a `WeightlessGraph`.

    Raises:
        ValueError: if an output depends on a variable that the function changes while it runs.
    """
    whole = concrete.graph.as_graph_def(add_shapes=True)
    inputs = [tensor.op.name for tensor in concrete.inputs]
    outputs = [tensor.op.name for tensor in concrete.structured_outputs.values()]
    graph_def = _what_is_read(whole, [*inputs, *outputs])
    _refuse_changed_variables(whole, graph_def)
    nodes = {node.name: node for node in graph_def.node}
    captured = concrete.captured_inputs
    placeholders = concrete.inputs[len(concrete.inputs) - len(captured) :]
    variables = {id(variable.handle): variable for variable in concrete.variables}
    weights: dict[str, np.ndarray] = {}
    for source, placeholder in zip(captured, placeholders, strict=True):
        value = variables[id(source)] if source.dtype == tf.resource else source
        _set_value(nodes[placeholder.op.name], value.numpy(), weights)
    for node in graph_def.node:
        _read_value(node)
    own = concrete.inputs[: len(concrete.inputs) - len(captured)]
    return WeightlessGraph(
        graph_def,
        tuple(tensor.name for tensor in own),
        {name: tensor.name for name, tensor in concrete.structured_outputs.items()},
        weights,
    )


def _what_is_read(whole: Any, wanted: Sequence[str]) -> Any:
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


def _refuse_changed_variables(whole: Any, graph_def: Any) -> None:
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


def _set_value(node: Any, value: np.ndarray, weights: dict[str, np.ndarray]) -> None:
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


def _read_value(node: Any) -> None:
    """Turns an operation on a variable into the same one on its value."""
    if node.op == "ReadVariableOp":
        node.op = "Identity"
        dtype = node.attr["dtype"].type
        del node.attr["dtype"]
        node.attr["T"].type = dtype
