"""What an artifact computes: its outputs, and the names of them and of what it takes."""

from __future__ import annotations

import keyword
import re
from collections.abc import Sequence
from typing import Any

from keras_lodin.export.scorer import Pass, Scorer
from keras_lodin.metrics.scores import verdict
from keras_lodin.utils.tensor import Tensor

OUTPUT_NAMES = ("logits", "score", "is_ood", "p_value")

# Names that Keras makes up; they say nothing, and change with what else the process has built.
_AUTOMATIC_NAME = re.compile(r"(input_layer|keras_tensor|input)(_\d+)?")


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


class _PassWithMemory:
    """A detector's forward pass that remembers the input gradients taken from it."""

    def __init__(self, forward_pass: Pass) -> None:
        self._forward_pass = forward_pass
        self.gradients: list[Tensor] = []

    def __getattr__(self, name: str) -> object:
        return getattr(self._forward_pass, name)

    def input_gradient(self, cotangent: Tensor) -> Tensor:
        """See `ForwardPass.input_gradient`."""
        self.gradients.append(self._forward_pass.input_gradient(cotangent))
        return self.gradients[-1]

    def input_gradient_of_features(self, cotangents: Sequence[Tensor]) -> Tensor:
        """See `FeaturePass.input_gradient_of_features`; that of passes that have it."""
        forward_pass: Any = self._forward_pass
        self.gradients.append(forward_pass.input_gradient_of_features(cotangents))
        return self.gradients[-1]


def outputs(
    detector: Scorer,
    inputs: Tensor,
    side_values: dict[str, Tensor],
    threshold: Tensor,
    *,
    with_gradient: bool = False,
) -> dict[str, Tensor]:
    """A detector's outputs for a batch, as an artifact has them.

    Args:
        detector: the detector.
        inputs: float32 batch with the channels last.
        side_values: a tensor of shape `(batch,)` for each of the detector's `side_inputs`.
        threshold: scores at or below are out-of-distribution.
        with_gradient: whether to return the input gradient too, as `gradient`, for a detector
            that takes one. For checking.

    Returns:
        `logits`, `score`, `is_ood` and `p_value`.
    """
    forward_pass = _PassWithMemory(detector.forward_pass(inputs, **side_values))
    score = detector.score(forward_pass)
    found = {
        "logits": forward_pass.logits,
        "score": score,
        "is_ood": verdict(score, threshold),
        "p_value": detector.p_value(score),
    }
    if with_gradient and forward_pass.gradients:
        found["gradient"] = forward_pass.gradients[0]
    return found
