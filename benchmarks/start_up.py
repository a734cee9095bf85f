"""Processor seconds until something is there: imports, a help text, the scores of four images.

    nice python benchmarks/start_up.py --output docs/results/start_up.csv

Each line is a process of its own, and they go in turns, so that a busy machine slows all. Processor
seconds are those of all its threads. The files are an ONNX file of the tests and images of its
size; "with Keras" is the same command in a process that has Keras already, so that its backend
reads the images.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import timing
from csv_rows import write_csv
from PIL import Image

ARTIFACT = Path(__file__).resolve().parents[1] / "tests/fixtures/version_0_1_0/odin.onnx"
_COMMAND = "import sys; from keras_lodin_cli.main import main; main(sys.argv[1:])"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", default=None, help="CSV file to write")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for number in range(4):
            pixels = np.random.default_rng(number).integers(0, 256, (8, 8), "uint8")
            Image.fromarray(pixels).save(Path(folder) / f"{number}.png")
        score = ["score", str(ARTIFACT), folder]
        measured = {
            "import keras": ["import keras"],
            "import keras_lodin": ["import keras_lodin"],
            "import numpy, PIL, onnx, onnxruntime": ["import numpy, PIL, onnx, onnxruntime"],
            "keras-lodin --help": [_COMMAND, "--help"],
            "keras-lodin score detector.onnx": [_COMMAND, *score],
            "keras-lodin score detector.onnx, with Keras": [f"import keras; {_COMMAND}", *score],
        }
        commands = {name: [sys.executable, "-c", *own] for name, own in measured.items()}
        found = timing.in_turns(
            {name: partial(timing.processor_seconds, own) for name, own in commands.items()},
            options.rounds,
        )
    rows = [
        {
            "what": name,
            "processor_seconds": f"{statistics.median(seconds):.2f}",
            "least": f"{min(seconds):.2f}",
            "most": f"{max(seconds):.2f}",
            "rounds": options.rounds,
        }
        for name, seconds in found.items()
    ]
    for row in rows:
        print(f"{row['what']:<46}{row['processor_seconds']:>6} ({row['least']} to {row['most']})")
    pairs = timing.ratios(found["import keras_lodin"], found["import keras"])
    print(f"import keras_lodin / import keras: {statistics.median(pairs):.3f}")
    if options.output:
        write_csv(options.output, rows)


if __name__ == "__main__":
    main()
