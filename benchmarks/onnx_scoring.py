"""ODIN in onnxruntime against ODIN in TensorFlow, as ratios.

    python benchmarks/onnx_scoring.py --output docs/results/onnx/scoring.csv

Pairs are measured in turn, A B A B ...; the median of the pairwise ratios is printed with the
smallest and the largest. What ODIN costs over the plain forward pass is `onnx_floor.py`'s.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import onnxruntime
from csv_rows import write_csv
from timing import paired_ratios

import keras_lodin

# The size of a batch is that of a server: many small images, few large ones.
NETWORKS = {"resnet20": (32, 64), "MobileNetV2": (224, 4), "ResNet50": (224, 4)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="*", default=NETWORKS)
    parser.add_argument("--output", default=None, help="CSV file to write")
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    rows = []
    for network in options.networks:
        rows.append(measure(network, options.rounds))
    if options.output:
        write_csv(options.output, rows)


def measure(network: str, rounds: int) -> dict:
    size, batch = NETWORKS[network]
    if network == "resnet20":
        classifier = keras_lodin.models.ResNet20(num_classes=10, input_shape=(size, size, 3))
    else:
        classifier = getattr(keras.applications, network)(weights=None, classifier_activation=None)
    images = np.random.default_rng(0).uniform(size=(batch, size, size, 3)).astype("float32")
    odin = keras_lodin.ODINDetector(classifier)
    in_onnx, in_keras = session(odin, images), lambda: odin.predict_on_batch(images)
    row = {
        "network": network,
        "batch": batch,
        "what": "ODIN: onnxruntime / TensorFlow",
        **paired_ratios(in_onnx, in_keras, rounds),
    }
    print(", ".join(str(value) for value in row.values()), flush=True)
    return row


def session(detector: keras_lodin.Detector, images: np.ndarray) -> Callable[[], object]:
    """Exports a detector, and gives a function that runs the file once on the images."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "detector.onnx"
        detector.export(path, format="onnx", verbose=False)
        settings = onnxruntime.SessionOptions()
        settings.log_severity_level = 3
        loaded = onnxruntime.InferenceSession(
            str(path), settings, providers=["CPUExecutionProvider"]
        )
    name = loaded.get_inputs()[0].name
    return lambda: loaded.run(["score", "is_ood"], {name: images})


if __name__ == "__main__":
    main()
