"""The table of rules: which function writes which TensorFlow operation in ONNX."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from keras_lodin.export.onnx.rules.builder import Builder
from keras_lodin.utils.registry import Registry

Rule = Callable[[Builder], str | Sequence[str]]

RULES: Registry[Rule] = Registry("TensorFlow operation with a rule for ONNX")


def handlers() -> dict[str, tuple[Callable[..., None], list[Any]]]:
    """The rules in the form of tf2onnx's `custom_op_handlers`."""
    return {operation: (_handler(function), []) for operation, function in RULES.items()}


def _handler(function: Rule) -> Callable[..., None]:
    def convert(graph: Any, node: Any, name: str, args: Any) -> None:
        results = function(Builder(graph, node))
        if isinstance(results, str):
            results = [results]
        outputs = list(node.output)
        shapes, dtypes = node.output_shapes, node.output_dtypes
        graph.remove_node(node.name)
        for result, output, shape, dtype in zip(results, outputs, shapes, dtypes, strict=False):
            graph.make_node("Identity", [result], outputs=[output], shapes=[shape], dtypes=[dtype])

    return convert
