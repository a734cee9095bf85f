"""A traced function with the noise of another order of additions in it."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from keras_lodin.export.known_values import NESTED_GRAPHS
from keras_lodin.export.runnable import replayed
from keras_lodin.export.tracing import Function, traced
from keras_lodin.utils.tensor import Tensor

# Operations whose results are exact: they move, choose or compare numbers, and round none off.
_EXACT = frozenset(
    {
        *("Abs", "BroadcastTo", "Cast", "Ceil", "ClipByValue", "ConcatV2", "Const", "DepthToSpace"),
        *("ExpandDims", "Fill", "Floor", "Gather", "GatherNd", "GatherV2", "Identity", "IdentityN"),
        *("Max", "MaxPool", "MaxPool3D", "MaxPoolGrad", "MaxPool3DGrad", "Maximum", "Min"),
        *("Minimum", "MirrorPad", "Neg", "OneHot", "OnesLike", "Pack", "Pad", "PadV2"),
        *("Placeholder", "PreventGradient", "ReadVariableOp", "Relu", "Relu6", "Relu6Grad"),
        *("ReluGrad", "Reshape", "ResizeNearestNeighbor", "ReverseV2", "Rint", "Round", "Select"),
        *("SelectV2", "Sign", "Slice", "SpaceToDepth", "Split", "SplitV", "Squeeze"),
        *("StopGradient", "StridedSlice", "StridedSliceGrad", "Tile", "TopKV2", "Transpose"),
        *("Unpack", "ZerosLike"),
    }
)

# Some rounding errors of float32: what sums of many numbers collect.
_SIZE = 1e-6


def with_rounding_noise(
    function: Function,
) -> Callable[..., dict[str, Tensor]] | None:
    """A function whose every operation gives a result that is some rounding errors off.

    What two runtimes may rightly differ by depends on the network: one that adds a small signal to
    a large bias, or takes the difference of numbers that are nearly equal, has more noise than
    signal in what comes after. The results of this function, called several times, show how much
    (Monte Carlo arithmetic: Parker 1997).

    Returns:
        a function of the same inputs and outputs, which gives others at every call; None for
        a function that holds another graph, of a loop or a branch.

    Raises:
        ValueError: if TensorFlow cannot trace the function.
    """
    trace = traced(function)
    if any(operation.type in NESTED_GRAPHS for operation in trace.graph.get_operations()):
        return None

    @tf.function(input_signature=function.input_signature, autograph=False)
    def noisy(*inputs: Tensor) -> dict[str, Tensor]:
        return replayed(trace, [*map(_moved, inputs)], _moved_unless_exact)

    return noisy.get_concrete_function()


def _moved_unless_exact(operation: tf.Operation, result: Tensor) -> Tensor:
    return result if operation.type in _EXACT else _moved(result)


def _moved(tensor: Tensor) -> Tensor:
    if not tensor.dtype.is_floating:
        return tensor
    noise = tf.random.uniform(tf.shape(tensor), -_SIZE, _SIZE, tensor.dtype)
    return tensor * (1.0 + noise)
