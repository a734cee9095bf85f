"""What an export of ODIN to ONNX takes: processor seconds and memory at its peak.

    nice python benchmarks/export_cost.py --output docs/results/onnx/export_cost.csv
    nice python benchmarks/export_cost.py VGG16 --label before --checkout ../before \
        --output docs/results/onnx/export_cost.csv

Networks of keras.applications with random weights, each in a process of its own. The seconds are
those that all threads take within `export`, checks of the file included; without the import of
TensorFlow and without building the network. The peak is the whole process's, with what it held
before the export beside it: TensorFlow, and the network. A row of the same network and label is
replaced, others stay, so that several checkouts stand in one table.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

NETWORKS = ("MobileNetV2", "ResNet50", "DenseNet121", "VGG16", "ConvNeXtTiny", "NASNetMobile")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="*", default=NETWORKS)
    parser.add_argument("--checkout", default=Path(__file__).resolve().parents[1], type=Path)
    parser.add_argument("--label", default="now", help="what to call the checkout in the table")
    parser.add_argument("--output", default=None, type=Path, help="CSV file to write")
    parser.add_argument("--single", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.single:
        print(json.dumps(measure(options.networks[0])))
        return
    for network in options.networks:
        run = subprocess.run(
            [sys.executable, __file__, "--single", network],
            check=False,
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": str(options.checkout.resolve())},
        )
        if run.returncode:
            raise SystemExit(f"{network} failed:\n{run.stderr[-3000:]}")
        row = {"network": network, "code": options.label, **json.loads(run.stdout.splitlines()[-1])}
        print(", ".join(f"{key} {value}" for key, value in row.items()), flush=True)
        if options.output:
            write(row, options.output)


def write(row: dict, path: Path) -> None:
    from keras_lodin.utils.files import atomic_write

    rows = []
    if path.exists():
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
    key = ("network", "code")
    rows = [other for other in rows if any(other[name] != row[name] for name in key)] + [row]
    rows.sort(key=lambda one: (NETWORKS.index(one["network"]), one["code"]))
    with atomic_write(path) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.DictWriter(file, row, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def measure(network: str) -> dict:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras

    import keras_lodin

    def peak() -> int:
        return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)

    keras.utils.set_random_seed(0)
    classifier = getattr(keras.applications, network)(weights=None, classifier_activation=None)
    detector = keras_lodin.ODINDetector(
        classifier, input_range=keras_lodin.models.input_range.guess_input_range(classifier)
    )
    held = peak()
    with tempfile.TemporaryDirectory() as folder:
        start = time.process_time()
        detector.export(Path(folder) / "detector.onnx", format="onnx", verbose=False)
        seconds = time.process_time() - start
        report = json.loads((Path(folder) / "detector.report.json").read_text())
    return {
        "processor_seconds": round(seconds, 1),
        "peak_megabytes": peak(),
        "megabytes_before": held,
        "file_megabytes": round(report["bytes"] / 2**20),
        "nodes": sum(report["operations"].values()),
    }


if __name__ == "__main__":
    main()
