"""A network of keras.applications, wrapped in five lines.

python keras_applications.py                 # downloads the ImageNet weights once
python keras_applications.py --weights none  # untrained: to see that it runs
"""

from __future__ import annotations

import argparse

import keras
import numpy as np
from sklearn.datasets import load_sample_images

import keras_lodin


def main(weights: str | None = "imagenet") -> dict[str, np.ndarray]:
    """Scores the two sample photographs of scikit-learn and noise."""
    # The five lines. The network scales pixels itself, so it takes 0 to 255.
    network = keras.applications.MobileNetV3Small(weights=weights, classifier_activation=None)
    detector = keras_lodin.ODINDetector(network, input_range=(0, 255))
    photographs = keras.ops.image.resize(np.stack(load_sample_images().images), (224, 224))
    noise = np.random.default_rng(0).uniform(0, 255, (2, 224, 224, 3)).astype("float32")
    return detector.predict(np.concatenate([photographs, noise]), verbose=0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", default="imagenet", help="imagenet, none, or a file.")
    weights = parser.parse_args().weights
    scores = main(None if weights == "none" else weights)["score"]
    for name, score in zip(("temple", "flower", "noise", "noise"), scores, strict=True):
        print(f"{name:8} {score:.5f}")
