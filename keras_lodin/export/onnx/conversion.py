"""From a TensorFlow function to an ONNX model, or a clear refusal."""

from __future__ import annotations

import contextlib
import gc
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeAlias

import onnx
import tensorflow as tf
import tf2onnx.graph
import tf2onnx.tf_loader
import tf2onnx.tfonnx
from tf2onnx import handler

from keras_lodin.export.format_limit_error import FormatLimitError
from keras_lodin.export.onnx import rules
from keras_lodin.export.onnx.known_sizes import with_known_sizes
from keras_lodin.export.onnx.simplification import simplified, without_unused
from keras_lodin.export.onnx.slices import leave_out_whole_axes
from keras_lodin.export.onnx.weighted_model import WeightedModel
from keras_lodin.export.onnx.weightless_graph import weightless_graph
from keras_lodin.export.onnx.weights import with_weights
from keras_lodin.export.tracing import Function, traced
from keras_lodin.utils.keras_internals import patch_tf2onnx

# The highest that tf2onnx writes. Below 16 onnxruntime ignores the reduction of ScatterElements
# without a word, below 18 there are no operations on bits.
OPSET = 18

# Of tf2onnx's rewritings of the graph: the first leaves the gradient of a dilated convolution with
# tensors of other shapes than it was built for, the second writes identity matrices of a type that
# onnxruntime has not. The others look for the loops of recurrent layers and for branches, which a
# graph that comes this far does not hold.
_REWRITERS_LEFT_OUT = {
    *("rewrite_conv_dilations", "rewrite_eye"),
    *("rewriter_lstm_tf2", "rewrite_gru_tf2", "rewrite_single_direction_lstm"),
    *("rewrite_bi_direction_lstm", "rewrite_single_direction_gru", "rewrite_bi_direction_gru"),
    *("rewrite_custom_rnn_cell", "rewrite_generic_loop", "rewrite_cond"),
}

_run_rewriters = tf2onnx.tfonnx.run_rewriters

Rewriter: TypeAlias = Callable[[tf2onnx.graph.Graph, list[tf2onnx.graph.Node]], object]

_LOOPS = {"While", "StatelessWhile"}
_BRANCHES = {"If", "StatelessIf", "Case", "StatelessCase"}


def convert(function: Function, layer_names: Sequence[str]) -> WeightedModel:
    """Converts a `tf.function` with named inputs and a dict of outputs.

    Args:
        function: the function.
        layer_names: names of the Keras layers in it, for messages.

    Returns:
        an ONNX model whose inputs and outputs bear the function's names. Every node is one that
        ONNX defines.

    Raises:
        ValueError: if an operation has no ONNX form. The message names the operations, the layers
            that they come from, and what to do instead.
    """
    with _no_search_for_garbage():
        return _convert(function, layer_names)


def _convert(function: Function, layer_names: Sequence[str]) -> WeightedModel:
    trace = traced(function)
    operations = [(operation.type, operation.name) for operation in trace.graph.get_operations()]
    _refuse([found for found in operations if found[0] in _LOOPS | _BRANCHES], layer_names)
    source = weightless_graph(trace)
    names = {tensor: tensor.split(":")[0] for tensor in (*source.inputs, *source.weights)}
    names.update({tensor: name for name, tensor in source.outputs.items()})
    inputs = [*source.inputs, *source.weights]
    outputs = list(source.outputs.values())
    patch_tf2onnx()
    with tf.device("/cpu:0"), _problems() as problems:
        graph_def = with_known_sizes(source.graph_def, source.inputs)
        graph_def = _folded(graph_def, inputs, outputs)
        known = {*handler.tf_op.create_mapping(OPSET, None), *rules.RULES}
        functions = [node for function in graph_def.library.function for node in function.node_def]
        nodes = [(node.op, node.name) for node in (*graph_def.node, *functions)]
        _refuse([node for node in nodes if node[0] not in known], layer_names)
        converted = _converted(graph_def, inputs, outputs, names)
        _refuse(problems, layer_names)
        try:
            converted = simplified(converted)
        except Exception:  # of many kinds, and none of them a reason not to export
            converted = _converted(graph_def, inputs, outputs, names)
    model = converted.make_model("a keras-lodin detector", graph_name="keras_lodin")
    leave_out_whole_axes(model)
    unknown = [n for n in model.graph.node if not onnx.defs.has(n.op_type, n.domain)]
    _refuse([(node.op_type, node.name) for node in unknown], layer_names)
    weights = {names[tensor]: value for tensor, value in source.weights.items()}
    return with_weights(model, weights)


def _folded(
    graph_def: tf.compat.v1.GraphDef, inputs: Sequence[str], outputs: Sequence[str]
) -> tf.compat.v1.GraphDef:
    """TensorFlow's own simplification: shapes that are known become constants."""
    with tf.Graph().as_default():  # what of the default graph is asked for is empty
        return tf2onnx.tf_loader.tf_optimize(list(inputs), list(outputs), graph_def)


def _converted(
    graph_def: tf.compat.v1.GraphDef,
    inputs: Sequence[str],
    outputs: Sequence[str],
    names: Mapping[str, str],
) -> tf2onnx.graph.Graph:
    """The graph in ONNX's operations, as tf2onnx writes them one by one."""
    changes: dict[str, object] = {"run_rewriters": _rewrite}
    if not graph_def.library.function:
        # It reads all attributes of all nodes to find the functions that they call.
        changes["resolve_functions"] = lambda graph: []
    with (
        tf.Graph().as_default() as graph,
        _changed(tf2onnx.tfonnx, **changes),
        # It is made of every node for messages that are not written.
        _changed(tf2onnx.graph.Graph, delete_unused_nodes=without_unused),
        _changed(tf2onnx.graph.Node, summary=property(lambda node: f"OP={node.type}")),
    ):
        tf.import_graph_def(graph_def, name="")
        return tf2onnx.tfonnx.process_tf_graph(
            graph,
            continue_on_error=True,
            opset=OPSET,
            custom_op_handlers=rules.handlers(),
            input_names=inputs,
            output_names=outputs,
            tensors_to_rename=names,
        )


def _rewrite(
    graph: tf2onnx.graph.Graph, rewriters: Sequence[Rewriter], continue_on_error: bool
) -> None:
    """What tf2onnx calls with all its rewriters, for those that are of use here."""
    used = [one for one in rewriters if one.__name__ not in _REWRITERS_LEFT_OUT]
    _run_rewriters(graph, used, continue_on_error)


def _refuse(problems: Sequence[tuple[str, str]], layer_names: Sequence[str]) -> None:
    """Raises FormatLimitError if there are operations that ONNX has no form of."""
    if not problems:
        return
    operations = sorted({operation for operation, _ in problems})
    layers = sorted({_layer_of(name, layer_names) for _, name in problems} - {""})
    if _LOOPS & set(operations):
        advice = (
            "Loops have no gradient in ONNX: build recurrent layers with `unroll=True` on inputs "
            "of a fixed length, and give `TimeDistributed` and other layers over steps such inputs."
        )
    elif _BRANCHES & set(operations):
        advice = (
            "A branch that is chosen while the graph runs has no gradient in ONNX: choose with "
            "`keras.ops.where`, or do in Python what depends on no input."
        )
    else:
        advice = "Replace these layers by ones of other operations."
    raise FormatLimitError(
        "The classifier cannot be written as ONNX",
        f"TensorFlow operations {', '.join(operations)} without an ONNX form, "
        + (
            f"from the layers {', '.join(layers)}" if layers else "from functions outside of layers"
        ),
        advice,
    )


def _layer_of(node_name: str, layer_names: Sequence[str]) -> str:
    """The innermost layer among the scopes of a node's name, or ""."""
    for scope in reversed(node_name.split("/")):
        # The second call of a layer is numbered.
        for candidate in (scope, re.sub(r"_\d+$", "", scope)):
            if candidate in layer_names:
                return candidate
    return ""


class _Collector(logging.Handler):
    """Turns tf2onnx's error messages into (operation, node name)."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.problems: list[tuple[str, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        arguments = record.args if isinstance(record.args, tuple) else ()
        if "is not supported" in str(record.msg) and len(arguments) == 2:
            self.problems.append((str(arguments[1]), str(arguments[0])))
        elif "Failed to convert node" in str(record.msg) and len(arguments) == 3:
            name, _, summary = (str(argument) for argument in arguments)
            operation = re.search(r"OP=(\w+)", summary)
            what = operation.group(1) if operation else "unknown"
            reason = record.exc_info[1] if record.exc_info else "of an unknown reason"
            self.problems.append((f"{what} ({reason})", name))


@contextlib.contextmanager
def _no_search_for_garbage() -> Iterator[None]:
    """Python would look for cycles among the nodes of all graphs again and again: they all live."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextlib.contextmanager
def _changed(owner: object, **values: object) -> Iterator[None]:
    """Gives some attributes of something other values for a while."""
    before = {name: getattr(owner, name) for name in values}
    try:
        for name, value in values.items():
            setattr(owner, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(owner, name, value)


@contextlib.contextmanager
def _problems() -> Iterator[list[tuple[str, str]]]:
    """Collects what tf2onnx logs and does not raise, and keeps it off the terminal."""
    collector, logger = _Collector(), logging.getLogger("tf2onnx")
    level = logger.level
    try:
        logger.setLevel(logging.ERROR)
        with _changed(logger, handlers=[collector], propagate=False):
            yield collector.problems
    finally:
        logger.setLevel(level)
