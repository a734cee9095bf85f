"""The table of rules: which function writes which TensorFlow operation in ONNX."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tf2onnx.graph import Graph, Node

from keras_lodin.export.onnx.rules.builder import Builder, Value
from keras_lodin.utils.registry import Registry

# Of the builder and the operation's inputs.
Rule = Callable[..., Value | Sequence[Value]]

RULES: Registry[Rule] = Registry("TensorFlow operation with a rule for ONNX")


def handlers() -> dict[str, tuple[Callable[..., None], list[object]]]:
    """The rules in the form of tf2onnx's `custom_op_handlers`."""
    return {operation: (_handler(function), []) for operation, function in RULES.items()}


def _handler(function: Rule) -> Callable[..., None]:
    def convert(graph: Graph, node: Node, name: str, args: object) -> None:
        builder = Builder(graph, node)
        written = function(builder, *builder.inputs)
        results = [written] if isinstance(written, Value) else written
        outputs = list(node.output)
        shapes, dtypes = node.output_shapes, node.output_dtypes
        graph.remove_node(node.name)
        for result, output, shape, dtype in zip(results, outputs, shapes, dtypes, strict=False):
            graph.make_node(
                "Identity", [result.name], outputs=[output], shapes=[shape], dtypes=[dtype]
            )

    return convert
