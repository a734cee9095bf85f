"""ONNX against TensorFlow for networks of keras.applications, with random weights.

    python benchmarks/onnx_parity.py --output docs/results/onnx/applications.csv
    python benchmarks/onnx_parity.py ResNet50 VGG16

One process per network. Each row: size and time of the export, its peak memory, and how far ODIN's
logits, score and input gradient in onnxruntime lie from TensorFlow's. Beside each, in the columns
that begin with `xla`, how far TensorFlow lies from itself compiled by XLA on the same images: no
runtime that adds in another order can do better. With random weights the gradient of a deep ReLU
network jumps where a unit crosses zero; the share of signs that differ shows it.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from csv_rows import write_csv

NETWORKS = (
    "ResNet50",
    "ResNet50V2",
    "MobileNetV2",
    "MobileNetV3Small",
    "EfficientNetB0",
    "EfficientNetV2B0",
    "DenseNet121",
    "VGG16",
    "InceptionV3",
    "Xception",
    "ConvNeXtTiny",
    "NASNetMobile",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="*", default=NETWORKS)
    parser.add_argument("--output", default=None, help="CSV file to write")
    parser.add_argument("--single", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.single:
        print(json.dumps(measure(options.networks[0])))
        return
    rows = []
    for network in options.networks:
        command = [sys.executable, __file__, "--single", network]
        run = subprocess.run(command, check=False, capture_output=True, text=True)
        if run.returncode:
            raise SystemExit(f"{network} failed:\n{run.stderr[-3000:]}")
        rows.append(json.loads(run.stdout.splitlines()[-1]))
        print(", ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
        if options.output:
            write_csv(options.output, rows)


def measure(network: str) -> dict:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras
    import tensorflow as tf

    import keras_lodin
    from keras_lodin.export import parity
    from keras_lodin.export.serving_function import serving_function
    from keras_lodin.export.trial_inputs import random_batches

    keras.utils.set_random_seed(0)
    classifier = getattr(keras.applications, network)(weights=None, classifier_activation=None)
    detector = keras_lodin.ODINDetector(
        classifier, input_range=keras_lodin.models.input_range.guess_input_range(classifier)
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "detector.onnx"
        start = time.perf_counter()
        detector.export(path, format="onnx", verbose=False)
        seconds = time.perf_counter() - start
        report = json.loads((Path(folder) / "detector.report.json").read_text())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    found = report["parity"][-1]

    function = serving_function(detector, with_gradient=True)
    compiled = tf.function(
        function.python_function, input_signature=function.input_signature, jit_compile=True
    )
    batch = tf.constant(random_batches(detector)[-1])
    outputs = [
        {name: value.numpy() for name, value in run(batch, tf.constant(0.0)).items()}
        for run in (function, compiled)
    ]
    floor = parity.differences(*outputs)
    row = {
        "network": network,
        "parameters": classifier.count_params(),
        "megabytes": round(report["bytes"] / 2**20, 1),
        "nodes": sum(report["operations"].values()),
        "export_seconds": round(seconds, 1),
        "peak_megabytes": round(peak),
    }
    for name in ("logits", "score", "gradient", "signs"):
        row[name] = f"{found[name]:.1e}"
        row[f"xla_{name}"] = f"{floor[name]:.1e}"
    return row


if __name__ == "__main__":
    main()
