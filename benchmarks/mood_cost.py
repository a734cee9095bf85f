"""What MOOD saves against the last exit: multiply-adds and time, on real images.

    python benchmarks/mood_cost.py RUN --data-dir ../shared/data/tfds

RUN is the folder of a trained MSDNet, or left out for an untrained one: what is saved depends on
the images alone. For each data set: the share of images that leave at each exit by the paper's
boundaries, the multiply-adds for an image over those of the last exit, and the time of MOOD over
that of the energy score at the last exit, measured in turns in one run. Boundaries that share the
in-distribution images out evenly come second. Writes docs/results/mood_cost.csv.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from csv_rows import write_csv
from keras import ops
from operation_count import multiply_adds
from timing import paired_ratios

import keras_lodin
from keras_lodin import data, models
from keras_lodin.detectors.mood import PUBLISHED_BOUNDARIES

RESULTS = Path(__file__).parents[1] / "docs" / "results"
NAMES = ("cifar10", "tiny_imagenet", "dtd10", "mnist", "fashion_mnist")
BATCH = 250


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", nargs="?", default=None)
    parser.add_argument("--data-dir", default="../shared/data/tfds")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    network = models.MSDNet() if options.run is None else models.load(options.run)
    costs = np.array(multiply_adds(network))
    energy = keras_lodin.EnergyDetector(models.at_exit(network))
    loaded = {name: images(f"{name}_jpeg75", options) for name in NAMES}
    rows = []
    for boundaries in (PUBLISHED_BOUNDARIES, None):
        mood = keras_lodin.MOODDetector(network, boundaries)
        mood.adapt(images("cifar10_jpeg75", options, "train"), batch_size=BATCH, verbose=0)
        for name, pixels in loaded.items():
            complexity = mood.side_values(pixels)["complexity"]
            exits = ops.convert_to_numpy(mood.exit_of(complexity))
            shares = np.bincount(exits, minlength=5) / len(exits)
            times = paired_ratios(
                lambda mood=mood, x=pixels: mood.predict(x, batch_size=BATCH, verbose=0),
                lambda x=pixels: energy.predict(x, batch_size=BATCH, verbose=0),
                options.rounds,
            )
            row = {
                "boundaries": "published" if boundaries else "even shares",
                "data": name,
                "images": len(pixels),
                **{f"exit{n + 1}": round(float(share), 3) for n, share in enumerate(shares)},
                "multiply_adds": round(float(shares @ costs / costs[-1]), 3),
                **{f"time_{key}": value for key, value in times.items()},
            }
            rows.append(row)
            print(", ".join(f"{key} {value}" for key, value in row.items()), flush=True)
    write_csv(RESULTS / "mood_cost.csv", rows)


def images(name: str, options: argparse.Namespace, split: str = "test") -> np.ndarray:
    source = data.load(
        f"tfds:{name}:{split}[:{options.images}]", part="test", data_dir=options.data_dir
    )
    return np.concatenate([batch[0].numpy() for batch in source.batches()])


if __name__ == "__main__":
    main()
