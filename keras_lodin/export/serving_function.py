"""The one TensorFlow function that every artifact holds."""

from __future__ import annotations

import keyword
import re

import tensorflow as tf

from keras_lodin.export.scorer import Scorer
from keras_lodin.export.tracing import Function
from keras_lodin.gradients import ForwardPass
from keras_lodin.metrics.scores import verdict
from keras_lodin.utils.tensor import Tensor

OUTPUT_NAMES = ("logits", "score", "is_ood")

# Names that Keras makes up; they say nothing, and change with what else the process has built.
_AUTOMATIC_NAME = re.compile(r"(input_layer|keras_tensor|input)(_\d+)?")


class _RecordedPass:
    """A detector's forward pass that remembers the input gradients taken from it."""

    def __init__(self, forward_pass: ForwardPass) -> None:
        self._forward_pass = forward_pass
        self.gradients: list[Tensor] = []

    def __getattr__(self, name: str) -> object:
        return getattr(self._forward_pass, name)

    def input_gradient(self, cotangent: Tensor) -> Tensor:
        """See `ForwardPass.input_gradient`."""
        self.gradients.append(self._forward_pass.input_gradient(cotangent))
        return self.gradients[-1]


def input_name(detector: Scorer) -> str:
    """The input's name in an artifact: the classifier's own if a person chose it, else `images`.

    It is an argument of TensorFlow's and LiteRT's functions, so that a name that Python has no
    argument of (`lambda`, `my images`, `input:0`) becomes `images`, too.

    Returns:
        a name of letters, digits and underscores, none of the artifact's other names.
    """
    inputs = getattr(detector.classifier, "inputs", None)
    name = inputs[0].name if inputs else ""
    # TensorFlow's own method has an argument `self`, and its tensors' names begin with a letter.
    reserved = {*OUTPUT_NAMES, *detector.side_inputs, "threshold", "gradient", "self"}
    argument = name.isidentifier() and name.isascii() and not name.startswith("_")
    if not argument or keyword.iskeyword(name) or name in reserved:
        return "images"
    return "images" if _AUTOMATIC_NAME.fullmatch(name) else name


def serving_function(
    detector: Scorer, *, channels_first: bool = False, with_gradient: bool = False
) -> Function:
    """A detector as a `tf.function` of a float32 batch and a float32 scalar `threshold`.

    Between them come the detector's `side_inputs`, if it has any, float32 of shape `(batch,)`.

    Args:
        detector: the detector.
        channels_first: whether the function's batch has its channels before its spatial axes.
        with_gradient: whether to return the input gradient too, as `gradient`, for a detector
            that takes one. For checking.

    Returns:
        a `tf.function` with an input signature. The input keeps the classifier's shape, with free
        sizes where the classifier has them. It returns `logits`, `score` and `is_ood`.
    """
    shape = list(detector.input_shape_with_batch)
    rank = len(shape)
    if channels_first:
        shape = [shape[0], shape[-1], *shape[1:-1]]
    signature = [
        tf.TensorSpec(shape, tf.float32, name=input_name(detector)),
        *(tf.TensorSpec((None,), tf.float32, name=name) for name in detector.side_inputs),
        tf.TensorSpec((), tf.float32, name="threshold"),
    ]

    @tf.function(input_signature=signature, autograph=False)
    def serve(inputs: Tensor, *others: Tensor) -> dict[str, Tensor]:
        *side_values, threshold = others
        if channels_first:
            inputs = tf.transpose(inputs, [0, *range(2, rank), 1])
        side = dict(zip(detector.side_inputs, side_values, strict=True))
        forward_pass = _RecordedPass(detector.forward_pass(inputs, **side))
        score = detector.score(forward_pass)
        outputs = {
            "logits": forward_pass.logits,
            "score": score,
            "is_ood": verdict(score, threshold),
        }
        if with_gradient and forward_pass.gradients:
            outputs["gradient"] = forward_pass.gradients[0]
        return outputs

    return serve


def with_threshold(serve: Function, threshold: float) -> Function:
    """What `serving_function` gives, with a threshold of its own.

    A call, not a copy: the classifier's graph is in an artifact once.
    """

    @tf.function(input_signature=serve.input_signature[:-1], autograph=False)
    def serving_default(*inputs: Tensor) -> dict[str, Tensor]:
        return serve(*inputs, tf.constant(threshold))

    return serving_default
