"""ONNX against TensorFlow on real images: AUROC and verdicts of ODIN in both.

    python benchmarks/onnx_real_data.py --data ../shared/data --output docs/results/onnx

For each trained network the detector is calibrated on in-distribution images, exported, and scores
all images in TensorFlow and in onnxruntime. Writes one JSON per network: AUROC of each
out-of-distribution set in both runtimes, the share of images with the same `is_ood`, and how far
scores and logits differ.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

import keras_lodin
from keras_lodin.export import load_artifact
from keras_lodin.utils.files import atomic_write

NETWORKS = {
    "cifar10_resnet20": {
        "size": 32,
        "id": "cifar10_jpeg75",
        "ood": [
            "tiny_imagenet_jpeg75",
            "dtd10_jpeg75",
            "mnist_jpeg75",
            "fashion_mnist_jpeg75",
        ],
    },
    "imagenet_efficientnet_lite0": {
        "size": 224,
        "id": "imagenet_like_299",
        "ood": ["dtd10_jpeg75", "mnist_jpeg75"],
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="../shared/data")
    parser.add_argument("--output", default=None, help="folder for the JSON files")
    parser.add_argument("--limit", type=int, default=None, help="images per data set at most")
    parser.add_argument("--network", action="append", choices=NETWORKS)
    options = parser.parse_args()
    for network in options.network or NETWORKS:
        result = measure(network, Path(options.data), options.limit)
        print(json.dumps(result, indent=2), flush=True)
        if options.output:
            with atomic_write(Path(options.output) / f"{network}.json") as temporary:
                temporary.write_text(json.dumps(result, indent=2) + "\n")


def images_of(name: str, data: Path, size: int, limit: int | None) -> tf.data.Dataset:
    images = tfds.load(name, data_dir=data / "tfds", split="test", as_supervised=True)
    if limit:
        images = images.take(limit)

    def resized(image: tf.Tensor, label: tf.Tensor) -> tf.Tensor:
        return tf.image.resize(tf.cast(image, tf.float32), (size, size))

    return images.map(resized).batch(64)


def measure(network: str, data: Path, limit: int | None) -> dict:
    settings = NETWORKS[network]
    classifier = keras.models.load_model(data / "models" / f"{network}.keras")
    detector = keras_lodin.ODINDetector(classifier, input_range=(0, 255))
    inside = images_of(settings["id"], data, settings["size"], limit)
    detector.calibrate(inside, tpr=0.95, verbose=0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "detector.onnx"
        detector.export(path, format="onnx", verbose=False, sample_inputs=next(iter(inside))[:16])
        artifact = load_artifact(path)
        report = json.loads((Path(folder) / "detector.report.json").read_text())
        scored = {}
        for name in (settings["id"], *settings["ood"]):
            batches = images_of(name, data, settings["size"], limit)
            pairs = [(detector.predict_on_batch(b), artifact.score(b)) for b in batches]
            scored[name] = [
                {key: np.concatenate([pair[which][key] for pair in pairs]) for key in pairs[0][0]}
                for which in (0, 1)
            ]
    tensorflow, runtime = scored[settings["id"]]
    auroc = keras_lodin.metrics.auroc
    return {
        "network": network,
        "images": {name: len(outputs[0]["score"]) for name, outputs in scored.items()},
        "auroc": {
            name: {
                "tensorflow": auroc(tensorflow["score"], scored[name][0]["score"]),
                "onnxruntime": auroc(runtime["score"], scored[name][1]["score"]),
            }
            for name in settings["ood"]
        },
        "same_is_ood": {
            name: float(np.mean(left["is_ood"] == right["is_ood"]))
            for name, (left, right) in scored.items()
        },
        "largest_score_difference": {
            name: float(np.max(np.abs(left["score"] - right["score"])))
            for name, (left, right) in scored.items()
        },
        "score_standard_deviation": float(np.std(tensorflow["score"])),
        "largest_logit_difference": {
            name: float(np.max(np.abs(left["logits"] - right["logits"])))
            for name, (left, right) in scored.items()
        },
        "export_parity": report["parity"],
        "megabytes": round(report["bytes"] / 2**20, 2),
        "versions": report["versions"],
        "threshold": detector.threshold,
    }


if __name__ == "__main__":
    main()
