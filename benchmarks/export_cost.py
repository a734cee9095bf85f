"""What an export of ODIN takes: processor seconds and memory at its peak.

    nice python benchmarks/export_cost.py --output docs/results/onnx/export_cost.csv \
        --phases docs/results/onnx/export_phases.csv
    nice python benchmarks/export_cost.py MobileNetV2 --format litert \
        --output docs/results/onnx/export_formats.csv
    nice python benchmarks/export_cost.py VGG16 --label before --checkout ../before \
        --output docs/results/onnx/export_cost.csv

Networks of keras.applications with random weights, each in a process of its own. The seconds are
those that all threads take within `export`, checks of the file included; without the import of
TensorFlow and without building the network. The peak is the whole process's, with what it held
before the export beside it: TensorFlow, and the network. A row of the same network and label is
replaced, others stay, so that several checkouts stand in one table. `--phases` says where the
seconds of an export to ONNX went, each second once.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from csv_rows import read_csv, write_csv

NETWORKS = ("MobileNetV2", "ResNet50", "DenseNet121", "VGG16", "ConvNeXtTiny", "NASNetMobile")

FORMATS = {"onnx": "detector.onnx", "litert": "detector.tflite", "tf_saved_model": "detector"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="*", default=NETWORKS)
    parser.add_argument("--checkout", default=Path(__file__).resolve().parents[1], type=Path)
    parser.add_argument("--label", default="now", help="what to call the checkout in the table")
    parser.add_argument("--output", default=None, type=Path, help="CSV file to write")
    parser.add_argument("--phases", default=None, type=Path, help="CSV file of the phases")
    parser.add_argument("--format", default="onnx", choices=FORMATS)
    parser.add_argument("--single", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.single:
        print(json.dumps(measure(options.networks[0], options.format)))
        return
    for network in options.networks:
        run = subprocess.run(
            [sys.executable, __file__, "--single", network, "--format", options.format],
            check=False,
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": str(options.checkout.resolve())},
        )
        if run.returncode:
            raise SystemExit(f"{network} failed:\n{run.stderr[-3000:]}")
        found = json.loads(run.stdout.splitlines()[-1])
        phases = {"network": network, **found.pop("phases")}
        row = {"network": network, "code": options.label, **found}
        for one in (row, phases):
            print(", ".join(f"{key} {value}" for key, value in one.items()), flush=True)
        if options.output:
            write(row, options.output, ["network", "code", "format"])
        if options.phases:
            write(phases, options.phases, ["network"])


def write(row: dict, path: Path, key: list[str]) -> None:
    key = [name for name in key if name in row]
    others = read_csv(path)
    rows = [other for other in others if any(other[name] != row[name] for name in key)] + [row]
    rows.sort(key=lambda one: (NETWORKS.index(one["network"]), [one[name] for name in key]))
    write_csv(path, rows)


class Phases:
    """Processor seconds by what they were spent on; those of a phase within another count there."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self._names = ["others"]
        self._since = time.process_time()

    def _turn(self) -> None:
        now = time.process_time()
        self.seconds[self._names[-1]] += now - self._since
        self._since = now

    @contextlib.contextmanager
    def within(self, name: str) -> Iterator[None]:
        """A phase of that name."""
        self._turn()
        self._names.append(name)
        try:
            yield
        finally:
            self._turn()
            self._names.pop()

    def watch(self, owner: object, attribute: str, name: str) -> None:
        """Counts what a function takes as a phase of that name."""
        function: Callable = getattr(owner, attribute)

        def watched(*arguments: object, **named: object) -> object:
            with self.within(name):
                return function(*arguments, **named)

        setattr(owner, attribute, watched)

    def rounded(self) -> dict[str, float]:
        """The seconds of all phases."""
        self._turn()
        return {name: round(value, 1) for name, value in self.seconds.items()}


def watched_export() -> Phases:
    phases = Phases()
    with phases.within("imports"):
        import onnx

        from keras_lodin.export import reference
        from keras_lodin.export.onnx import conversion, model

    phases.watch(conversion, "traced", "tracing")
    phases.watch(conversion, "weightless_graph", "weights taken out")
    phases.watch(conversion, "with_known_sizes", "known sizes")
    phases.watch(conversion, "_folded", "folding by TensorFlow")
    phases.watch(conversion, "_converted", "tf2onnx")
    phases.watch(conversion, "simplified", "simplification")
    phases.watch(model, "save", "writing")
    phases.watch(model.Session, "__init__", "onnxruntime loading")
    phases.watch(model.Session, "__call__", "onnxruntime batches")
    phases.watch(reference.TensorFlowReference, "_run", "TensorFlow batches")
    phases.watch(onnx.checker, "check_model", "ONNX checker")
    return phases


def measure(network: str, format: str) -> dict:
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
        path = Path(folder) / FORMATS[format]
        start = time.process_time()
        phases = watched_export() if format == "onnx" else Phases()
        detector.export(path, format=format, verbose=False)
        seconds = time.process_time() - start
        found = {
            "processor_seconds": round(seconds, 1),
            "peak_megabytes": peak(),
            "megabytes_before": held,
            "phases": phases.rounded(),
        }
        if format != "onnx":
            return {"format": format, **found}
        report = json.loads((Path(folder) / "detector.report.json").read_text())
    return {
        **found,
        "file_megabytes": round(report["bytes"] / 2**20),
        "nodes": sum(report["operations"].values()),
    }


if __name__ == "__main__":
    main()
