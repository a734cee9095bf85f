"""A SavedModel in TensorFlow: written, and loaded again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_lodin.export.serving_function import with_threshold
from keras_lodin.export.tracing import Function, refused_if_untraceable


def write(serve: Function, threshold: float, path: Path) -> None:
    """Writes a SavedModel with both signatures.

    Args:
        serve: what `serving_function` gives.
        threshold: that of `serving_default`.
        path: the folder to write.

    Raises:
        ValueError: if TensorFlow cannot trace the function.
    """
    serving_default = with_threshold(serve, threshold)
    # Not `keras.export.ExportArchive`: it stores every weight twice.
    module = tf.Module()
    with refused_if_untraceable():
        serve.get_concrete_function()
    module.weights = list(serve.get_concrete_function().variables)
    module.serving_default = serving_default
    module.with_threshold = serve
    signatures = {
        "serving_default": serving_default.get_concrete_function(),
        "with_threshold": serve.get_concrete_function(),
    }
    tf.saved_model.save(module, str(path), signatures)


class Signature:
    """A SavedModel's decision by its own threshold, a function of named arrays; see `Model`."""

    def __init__(self, path: Path) -> None:
        # Held by a name: TensorFlow frees the variables with the loaded object.
        self._loaded = tf.saved_model.load(str(path))
        self._signature = self._loaded.signatures["serving_default"]
        _, inputs = self._signature.structured_input_signature
        self.inputs, self.outputs = (
            {name: spec.shape.as_list() for name, spec in specs.items()}
            for specs in (inputs, self._signature.structured_outputs)
        )

    def __call__(self, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """The outputs by name."""
        outputs = self._signature(**{name: tf.constant(value) for name, value in inputs.items()})
        return {name: value.numpy() for name, value in outputs.items()}
