"""The names of TensorFlow that are not public, all in one place.

Checked with TensorFlow 2.21 (`tests/gradients/tensorflow/test_tensorflow_internals.py` holds them
to their contract).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.framework import ops
from tensorflow.python.grappler import tf_optimizer

from keras_lodin.utils.tensor import Tensor


def gradient_function(operation: tf.Operation) -> Callable[..., Tensor] | None:
    """The function that TensorFlow differentiates an operation of a graph with.

    Returns:
        a function of the operation and one cotangent per output, which gives one cotangent per
        input, or None for an operation without a derivative.
    """
    try:
        return ops.get_gradient_function(operation)
    except LookupError:
        return None


def parsed_saved_model(content: bytes) -> saved_model_pb2.SavedModel | None:
    """The message that a `saved_model.pb` holds, or None for bytes that are none."""
    message = saved_model_pb2.SavedModel()
    try:
        message.ParseFromString(content)
    except Exception:  # protobuf's own classes of errors are another package's
        return None
    return message


def without_calls(graph_def: tf.compat.v1.GraphDef, needed: Sequence[str]) -> tf.compat.v1.GraphDef:
    """A graph with the functions that it calls written out; loops and branches stay."""
    for function in graph_def.library.function:
        _keep_control_flow(function.node_def)
    _keep_control_flow(graph_def.node)
    with tf.Graph().as_default():
        meta_graph = tf.compat.v1.train.export_meta_graph(graph_def=graph_def)
    meta_graph.collection_def["train_op"].node_list.value.extend(needed)
    configuration = tf.compat.v1.ConfigProto()
    options = configuration.graph_options.rewrite_options
    options.min_graph_nodes = -1  # small graphs too
    options.optimizers.append("function")
    written = tf_optimizer.OptimizeGraph(configuration, meta_graph)
    sources = _same_tensors(written)
    for node in written.node:
        node.attr.pop("_class", None)  # where to place it: beside nodes that are gone
        for place, source in enumerate(node.input):
            while source in sources:
                source = sources[source]
            node.input[place] = source
    return written


def _keep_control_flow(nodes: Iterable[tf.compat.v1.NodeDef]) -> None:
    """Keeps loops and branches from being written out as well, which nothing converts."""
    for node in nodes:
        if "_lower_using_switch_merge" in node.attr:
            node.attr["_lower_using_switch_merge"].b = False


def _same_tensors(graph_def: tf.compat.v1.GraphDef) -> dict[str, str]:
    """Tensors that are others under a name of their own, and those.

    What a call gets its variables through, and what the gradient of a branch gets the values of
    the branch through.
    """
    nodes = {node.name: node for node in graph_def.node}
    same = {}
    for node in graph_def.node:
        if node.op == "Identity" and node.attr["T"].type == tf.resource.as_datatype_enum:
            same[node.name] = node.input[0]
        if node.op == "OptionalGetValue":
            packed = nodes[node.input[0].split(":")[0]]
            while packed.op == "Identity":
                packed = nodes[packed.input[0].split(":")[0]]
            if packed.op == "OptionalFromValue":
                for number, value in enumerate(packed.input):
                    same[f"{node.name}:{number}"] = value
                same[node.name] = packed.input[0]
    return same


def called_graphs(operation: tf.Operation) -> list[tf.Graph]:
    """The graphs of the functions that an operation calls: of a call, or a loop's body."""
    names = [
        value.name
        for attribute in operation.op_def.attr
        if attribute.type == "func" and (value := operation.get_attr(attribute.name)).name
    ]
    functions = [operation.graph._get_function(name) for name in names]
    return [function.graph for function in functions if function is not None]
