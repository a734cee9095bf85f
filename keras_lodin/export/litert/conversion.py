"""From a TensorFlow function to LiteRT's operations, or a clear refusal."""

from __future__ import annotations

import re
import tempfile

import tensorflow as tf

from keras_lodin.export.format_limit_error import FormatLimitError
from keras_lodin.export.litert.rules import RULES
from keras_lodin.export.tracing import Function, copied, traced
from keras_lodin.export.unwritable_error import UnwritableError
from keras_lodin.utils.tensor import Tensor


def rewritten(function: Function, *, without: str = "") -> Function:
    """The function once more, written with operations that LiteRT has.

    Args:
        function: the function.
        without: an output to leave out, if it has it.

    Raises:
        ValueError: if an operation cannot be written.
    """
    trace = traced(function)
    named = {name: tensor for name, tensor in trace.structured_outputs.items() if name != without}
    wanted = {tensor.op for tensor in named.values()}
    operations = []
    for operation in reversed(trace.graph.get_operations()):  # an operation stands after its inputs
        if operation in wanted:
            wanted.update(tensor.op for tensor in operation.inputs)
            operations.append(operation)
    weights = trace.weights

    @tf.function(input_signature=function.input_signature, autograph=False)
    def serve(*inputs: Tensor) -> dict[str, Tensor]:
        values = {own.ref(): value for own, value in zip(trace.own_inputs, inputs, strict=True)}
        values |= {tensor.ref(): tf.constant(value) for tensor, value in weights}
        problems = set()
        for operation in reversed(operations):
            if operation.type == "Placeholder":
                continue
            if any(tensor.ref() not in values for tensor in operation.inputs):
                continue  # it takes what could not be written
            try:
                arguments = [values[tensor.ref()] for tensor in operation.inputs]
                results = _written(operation, arguments)
            except UnwritableError as reason:
                problems.add(f"{operation.type} ({reason})")
                continue
            for tensor, value in zip(operation.outputs, results, strict=True):
                values[tensor.ref()] = value
        if problems:
            raise _refusal(problems)
        return {name: values[tensor.ref()] for name, tensor in named.items()}

    serve.get_concrete_function()
    return serve


def _written(operation: tf.Operation, inputs: list[Tensor]) -> list[Tensor]:
    rule = RULES.get(operation.type)
    if rule is not None:
        results = rule(operation, *inputs)
    elif operation.type == "Const":
        results = tf.constant(tf.make_ndarray(operation.get_attr("value")))
    elif any(attribute.type == "func" for attribute in operation.op_def.attr):
        raise UnwritableError("a loop, a branch or a call")
    else:
        results = copied(operation, inputs).outputs
    return list(results) if isinstance(results, (list, tuple)) else [results]


def convert(signatures: dict[str, Function]) -> bytes:
    """The content of a LiteRT file.

    Args:
        signatures: functions that `rewritten` gave, or that call one, by name.

    Raises:
        ValueError: if an operation has no form in LiteRT.
    """
    with tempfile.TemporaryDirectory() as folder:
        module = tf.Module()
        functions = {name: value.get_concrete_function() for name, value in signatures.items()}
        tf.saved_model.save(module, folder, functions)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=[*signatures])
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        try:
            return converter.convert()
        except Exception as error:  # the converter's own class is not public
            found = re.findall(r"(?:Select|Custom) ops: ([\w, ]+)", str(error))
            raise _refusal(
                {name for names in found for name in names.split(", ")} or {str(error)}
            ) from error


def _refusal(problems: set[str]) -> FormatLimitError:
    return FormatLimitError(
        "The classifier cannot be written with LiteRT's own operations",
        f"TensorFlow operations {', '.join(sorted(problems))}",
        "Replace the layers that these come from by ones of other operations.",
    )
