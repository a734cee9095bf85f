"""The one TensorFlow function that every artifact holds."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import tensorflow as tf
from keras import ops

if TYPE_CHECKING:
    from keras_lodin.detectors.detector import Detector

OUTPUT_NAMES = ("logits", "score", "is_ood")

# Names that Keras makes up; they say nothing, and change with what else the process has built.
_AUTOMATIC_NAME = re.compile(r"(input_layer|keras_tensor|input)(_\d+)?")


def input_name(detector: Detector) -> str:
    """The input's name in an artifact: the classifier's own if a person chose it, else `images`.

    Args:
        detector: the detector.

    Returns:
        a name of letters, digits and underscores, none of the artifact's other names.
    """
    inputs = getattr(detector.classifier, "inputs", None)
    name = inputs[0].name if inputs else ""
    reserved = {*OUTPUT_NAMES, "threshold"}
    if not name.isidentifier() or _AUTOMATIC_NAME.fullmatch(name) or name in reserved:
        return "images"
    return name


def serving_function(detector: Detector) -> Any:
    """A detector as a `tf.function` of a float32 batch and a float32 scalar `threshold`.

    Args:
        detector: the detector.

    Returns:
        a `tf.function` with an input signature. The input keeps the classifier's shape, with free
        sizes where the classifier has them. It returns `logits`, `score` and `is_ood`.
    """
    signature = [
        tf.TensorSpec(detector.input_shape_with_batch, tf.float32, name=input_name(detector)),
        tf.TensorSpec((), tf.float32, name="threshold"),
    ]

    @tf.function(input_signature=signature, autograph=False)
    def serve(inputs: Any, threshold: Any) -> dict[str, Any]:
        outputs = detector(inputs)
        # The detector's own verdict is for its own threshold; nobody asks for it, so TensorFlow
        # drops it from the graph. The form is the detector's: a NaN must not pass.
        is_ood = ops.logical_not(ops.greater(outputs["score"], threshold))
        return {"logits": outputs["logits"], "score": outputs["score"], "is_ood": is_ood}

    return serve
