"""ODIN in onnxruntime against its floor of three plain forward passes, before and after a change.

    python benchmarks/onnx_floor.py --keep FOLDER
    python benchmarks/onnx_floor.py --before FOLDER --output docs/results/onnx/floor.csv

The first call, from the code of an earlier commit, keeps its files; the second measures them and
today's in the same turns, each with one thread, by the processor's time. (With `--after`, files
that today's code kept.) A figure is the median of the ratios to the plain classifier's file in the
same round, with the smallest and the largest. One file is open at a time, and runs once before it
is measured: three of 32 large images do not fit into 24 GB. In a table that is there already the
rows of what is not measured stay.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import onnxruntime
from csv_rows import read_csv, write_csv
from timing import in_turns, ratios, spread

import keras_lodin

# Networks of the data folder; the others are of keras.applications.
TRAINED = {"resnet20": "cifar10_resnet20", "efficientnet_lite0": "imagenet_efficientnet_lite0"}
NETWORKS = ("resnet20", "MobileNetV2", "efficientnet_lite0", "ResNet50", "ConvNeXtTiny")
BATCHES = (1, 32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="*", default=NETWORKS)
    parser.add_argument("--output", default=None, help="CSV file to write")
    parser.add_argument("--data", default="../shared/data", help="folder of the trained networks")
    parser.add_argument("--keep", default=None, help="folder to export into; nothing is measured")
    parser.add_argument("--before", default=None, help="folder of an earlier commit's files")
    parser.add_argument("--after", default=None, help="folder of files that today's code kept")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", nargs="+", type=int, default=BATCHES)
    options = parser.parse_args()
    rows = []
    for network in options.networks:
        with tempfile.TemporaryDirectory() as folder:
            if options.after:
                files = files_in(network, Path(options.after))
            else:
                files = export(network, Path(options.data), Path(options.keep or folder))
            if options.keep:
                continue
            if options.before:
                files = {"before": Path(options.before) / f"{network}.onnx", **files}
            for batch in options.batches:
                rows.append(measure(network, batch, files, options.rounds))
                if options.output:
                    write(rows, Path(options.output))


def write(rows: list[dict[str, object]], path: Path) -> None:
    """Writes rows, and those that stand there already of other networks or batches."""
    found = {(row["network"], int(row["batch"])): row for row in read_csv(path)}
    found |= {(row["network"], row["batch"]): row for row in rows}
    places = {name: place for place, name in enumerate(NETWORKS)}
    ordered = sorted(found.items(), key=lambda item: (places.get(item[0][0], -1), item[0][1]))
    write_csv(path, [row for _, row in ordered])


def files_in(network: str, folder: Path) -> dict[str, Path]:
    return {"after": folder / f"{network}.onnx", "plain": folder / f"{network}.plain.onnx"}


def export(network: str, data: Path, folder: Path) -> dict[str, Path]:
    """Files of the detector and of the classifier alone."""
    folder.mkdir(parents=True, exist_ok=True)
    files = files_in(network, folder)
    classifier = classifier_of(network, data)
    detectors = {
        "after": keras_lodin.ODINDetector(classifier, input_range=(0.0, 255.0)),
        "plain": keras_lodin.MaxLogitDetector(classifier),
    }
    for name, path in files.items():
        detectors[name].export(path, format="onnx", verbose=False)
    return files


def classifier_of(network: str, data: Path) -> keras.Model:
    """A trained network, or a random one whose normalizations are not those of a new layer."""
    if network in TRAINED:
        return keras.models.load_model(data / "models" / f"{TRAINED[network]}.keras")
    keras.utils.set_random_seed(0)
    model = getattr(keras.applications, network)(weights=None, classifier_activation=None)
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            size = layer.moving_mean.shape
            layer.gamma.assign(rng.uniform(0.5, 1.5, size))
            layer.beta.assign(rng.normal(0.0, 0.1, size))
            layer.moving_mean.assign(rng.normal(0.0, 0.1, size))
            layer.moving_variance.assign(rng.uniform(0.5, 1.5, size))
    return model


def measure(network: str, batch: int, files: dict[str, Path], rounds: int) -> dict[str, object]:
    """Each file's time as a ratio to that of the plain one."""
    timers = {name: timer(path, batch) for name, path in files.items()}
    found = in_turns(timers, rounds, uncounted=0)
    row: dict[str, object] = {"network": network, "batch": batch}
    for name in files:
        if name != "plain":
            figures = spread(ratios(found[name], found["plain"]))
            row[name] = "{median} ({least} to {most})".format(**figures)
    print(", ".join(map(str, row.values())), flush=True)
    return row


def timer(path: Path, batch: int) -> Callable[[], float]:
    """Runs a file on a batch, and says how many seconds the processor took for one run."""

    def run() -> float:
        session = opened(path)
        feed = images_for(session, batch)
        session.run(["score", "is_ood"], feed)
        start, count = time.process_time(), 0
        while not count or time.process_time() - start < 0.2:
            session.run(["score", "is_ood"], feed)
            count += 1
        return (time.process_time() - start) / count

    return run


def opened(path: Path, **settings: object) -> onnxruntime.InferenceSession:
    """A file in a session of one thread."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    for name, value in settings.items():
        setattr(options, name, value)
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def images_for(session: onnxruntime.InferenceSession, batch: int) -> dict[str, np.ndarray]:
    """Random images as a session takes them."""
    (value, *_) = session.get_inputs()
    shape = (batch, *value.shape[1:])
    return {value.name: np.random.default_rng(0).uniform(0.0, 255.0, shape).astype("float32")}


if __name__ == "__main__":
    main()
