"""What `evaluate` and `tune` hold in memory for images of 224 pixels, above their model.

    python benchmarks/memory.py --data ../shared/data --output docs/results/memory.csv \
        [--package before=OTHER-CHECKOUT]

Each figure is of a process of its own: the most that it ever held, less what it held once the
model was loaded and had predicted a batch of 32 images. A `--package` is measured beside this
checkout. With each stand the processor seconds that the work took, imports and loading left out.
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
from collections.abc import Callable
from pathlib import Path

from csv_rows import read_csv, write_csv

ROOT = Path(__file__).resolve().parents[1]
SIDE, BATCH = 224, 32
MEGA = 10**6
EFFICIENTNET, MOBILENET = "EfficientNet-Lite0", "MobileNetV2"
# What is done, and with which network.
TASKS = [
    ("evaluate, data by name", EFFICIENTNET),
    ("evaluate, arrays", EFFICIENTNET),
    ("evaluate, arrays", MOBILENET),
    ("tune, arrays, three epsilons", EFFICIENTNET),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="folder with `models` and `tfds`")
    parser.add_argument("--output", default=None, help="CSV file to write")
    parser.add_argument("--images", type=int, default=128, help="of each data set")
    parser.add_argument(
        "--package", default=[], action="append", metavar="NAME=PATH", help="another checkout"
    )
    parser.add_argument("--only", default="", help="rows with this text; the file keeps others")
    parser.add_argument("--one", nargs=2, default=None, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measured(*options.one, Path(options.data), options.images)))
        return
    checkouts = {**dict(one.split("=", 1) for one in options.package), "now": ROOT}
    rows: dict[tuple[str, str], dict[str, object]] = {}
    if options.output and options.only:
        rows = {(row["what"], row["network"]): {**row} for row in read_csv(options.output)}
    for what, network in TASKS:
        if options.only not in what:
            continue
        row: dict[str, object] = {"what": what, "network": network, "images": options.images}
        for name, checkout in checkouts.items():
            found = in_a_process(checkout, what, network, options)
            row |= {f"{key}, {name}": value for key, value in found.items()}
        print(", ".join(str(value) for value in row.values()), flush=True)
        rows[what, network] = row
        if options.output:
            write_csv(options.output, rows.values())


def in_a_process(
    checkout: str | Path, what: str, network: str, options: argparse.Namespace
) -> dict[str, float]:
    command = [sys.executable, __file__, "--data", options.data, "--images", str(options.images)]
    found = subprocess.run(
        [*command, "--one", what, network],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(checkout), "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    return json.loads(found.stdout.splitlines()[-1])


def measured(what: str, network: str, data: Path, images: int) -> dict[str, float]:
    """MB above the model, and processor seconds."""
    import keras
    import numpy as np

    import keras_lodin  # noqa: F401  (its modules are no part of what the work holds)

    with tempfile.TemporaryDirectory() as folder:
        path = data / "models" / "imagenet_efficientnet_lite0.keras"
        if network == MOBILENET:
            path = Path(folder) / "model.keras"
            made = keras.applications.MobileNetV2(weights=None, classifier_activation=None)
            made.save(path)
        model = keras.models.load_model(path)
        work = WORK[what](path, model, data, images, folder)
        model.predict(np.zeros((BATCH, SIDE, SIDE, 3), "float32"), verbose=0)
        before, start = held_now(), time.process_time()
        work()
        seconds = time.process_time() - start
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "MB above the model": round((most - before) / MEGA),
        "processor seconds": round(seconds, 1),
    }


def held_now() -> int:
    """Bytes of this process that are in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def evaluation_by_name(path, model, data, images, folder) -> Callable[[], object]:
    from keras_lodin.workflows import evaluate_models

    known = f"tfds:imagenet_like_299:test[:{images}]"
    others = f"tfds:dtd10_jpeg75:test[:{images}]"
    return lambda: evaluate_models(
        [path], known, [others], statistics=known, data_dir=data / "tfds", verbose=0
    )


def evaluation_of_arrays(path, model, data, images, folder) -> Callable[[], object]:
    import numpy as np

    import keras_lodin
    from keras_lodin.detectors.registry import build_all

    found = build_all(None, model, (0, 255)).items()
    detectors = {name: one for name, one in found if one.adapted}
    x = np.random.default_rng(0).uniform(0, 255, (images, SIDE, SIDE, 3)).astype("float32")
    return lambda: keras_lodin.evaluate(detectors, x, {"ood": x[::-1]}, verbose=0)


def tuning_of_arrays(path, model, data, images, folder) -> Callable[[], object]:
    import numpy as np

    import keras_lodin

    detector = keras_lodin.ODINDetector(model, input_range=(0, 255))
    x = np.random.default_rng(0).uniform(0, 255, (images, SIDE, SIDE, 3)).astype("float32")
    candidates = {"temperatures": (1000.0,), "epsilons": (0.0, 0.0014, 0.004)}
    return lambda: detector.tune(x, **candidates, verbose=0)


WORK = {
    "evaluate, data by name": evaluation_by_name,
    "evaluate, arrays": evaluation_of_arrays,
    "tune, arrays, three epsilons": tuning_of_arrays,
}


if __name__ == "__main__":
    main()
