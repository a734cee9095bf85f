"""A detector of one's own: it scores, and inherits everything else.

    python custom_detector.py

The score is the length of the input gradient of the largest logit, with its sign turned: a flat
classifier is a sure one. It is calibrated, saved, exported as ONNX and evaluated like those of the
package.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import keras
import numpy as np
import onnxruntime
from keras import ops

import keras_lodin
from keras_lodin.workflows import train


@keras.saving.register_keras_serializable(package="examples")
class FlatnessDetector(keras_lodin.Detector):
    """Scores by how little the largest logit moves with the input."""

    def score(self, forward_pass: Any) -> Any:
        """Minus the L1 norm of the gradient: float32, `(batch,)`."""
        logits = forward_pass.logits
        largest = ops.one_hot(ops.argmax(logits, axis=-1), logits.shape[-1], dtype="float32")
        gradient = forward_pass.input_gradient(largest)
        return -ops.sum(ops.abs(gradient), axis=tuple(range(1, len(gradient.shape))))


def main(folder: Path) -> keras_lodin.Evaluation:
    """Trains on digits 0 to 6, wraps, exports, compares the file with Keras, evaluates."""
    run = train("digits:0-6", "small_convnet", folder / "run", epochs=8, verbose=0)
    detector = FlatnessDetector(keras.models.load_model(run / "model.keras"))
    detector.calibrate(keras_lodin.data.load("digits:0-6", part="calibration"), verbose=0)
    detector.save(folder / "detector.keras")
    again = keras.models.load_model(folder / "detector.keras")
    again.export(folder / "detector.onnx", format="onnx")

    test = keras_lodin.data.load("digits:0-6", part="test")
    images = np.concatenate([x for x, _ in test.batches()])
    session = onnxruntime.InferenceSession(folder / "detector.onnx")
    (score,) = session.run(["score"], {"images": images})
    np.testing.assert_allclose(score, detector.predict(images, verbose=0)["score"], rtol=1e-3)
    return keras_lodin.evaluate(
        {"flatness": again, "msp": keras_lodin.MSPDetector(again.classifier)},
        test,
        {"digits 7 to 9": keras_lodin.data.load("digits:7-9", part="test")},
        verbose=0,
    )


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        print(main(Path(folder)).table())
