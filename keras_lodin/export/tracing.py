"""A traced function, with no calls of functions in it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias
from weakref import WeakKeyDictionary

import numpy as np
import tensorflow as tf

from keras_lodin.export.known_values import known_value
from keras_lodin.export.unwritable_error import UnwritableError
from keras_lodin.gradients.tensorflow.tensorflow_internals import without_calls
from keras_lodin.utils.tensor import Tensor

Function: TypeAlias = tf.types.experimental.PolymorphicFunction

# Branches within branches.
_DEEPEST = 8
# What a function that was traced elsewhere is called by: that of a SavedModel, in a `TFSMLayer`.
_CALLS = {"PartitionedCall", "StatefulPartitionedCall"}
_BRANCHES = {"If", "StatelessIf"}


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
    """A traced function, as far as its graph is copied or converted."""

    # What runs it.
    function: Callable[..., dict[str, Tensor]]
    graph: tf.Graph
    # The function's own, then one for each captured tensor.
    inputs: Sequence[Tensor]
    captured_inputs: Sequence[Tensor]
    variables: Sequence[tf.Variable]
    structured_outputs: dict[str, Tensor]

    @property
    def own_inputs(self) -> Sequence[Tensor]:
        """The function's own inputs."""
        return self.inputs[: len(self.inputs) - len(self.captured_inputs)]

    @property
    def weights(self) -> list[tuple[Tensor, np.ndarray]]:
        """Each placeholder of a captured tensor or variable, and its value, which is no copy."""
        values = {id(variable.handle): variable.value for variable in self.variables}
        placeholders = self.inputs[len(self.own_inputs) :]
        return [
            (placeholder, np.asarray(values[id(source)]() if id(source) in values else source))
            for placeholder, source in zip(placeholders, self.captured_inputs, strict=True)
        ]


def copied(operation: tf.Operation, inputs: Sequence[Tensor]) -> tf.Operation:
    """An operation once more, on other inputs, in the graph that is being made."""
    # The private ones name functions for another gradient, which nobody takes here.
    attributes = {n: value for n, value in operation.node_def.attr.items() if not n.startswith("_")}
    dtypes = [tensor.dtype for tensor in operation.outputs]
    graph = tf.compat.v1.get_default_graph()
    return graph.create_op(operation.type, inputs, dtypes, attrs=attributes)


# A trace takes as long as all the rest of a conversion, and what checks it needs it as well.
_TRACES: WeakKeyDictionary[Function, Trace] = WeakKeyDictionary()


def traced(function: Function) -> Trace:
    """A trace of a `tf.function` by its input signature, with no calls of functions in it.

    It is made once for each function.

    Raises:
        ValueError: if TensorFlow cannot trace it.
    """
    if function not in _TRACES:
        _TRACES[function] = _new_trace(function)
    return _TRACES[function]


def _new_trace(function: Function) -> Trace:
    # A function of its own: the caller's may hold a trace with calls in it.
    fresh = tf.function(
        function.python_function, input_signature=function.input_signature, autograph=False
    )
    with refused_if_untraceable(), _inlined_functions():
        concrete = fresh.get_concrete_function()
    trace = Trace(
        concrete,
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


def _taken_branches(graph: tf.Graph) -> dict[str, str]:
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
