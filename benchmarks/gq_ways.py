"""What two ways of the Gradient Quotient save: through the features, and whole normalizations.

    nice python benchmarks/gq_ways.py --output docs/results/gq_ways.csv

For each setting, processor seconds of a training step over those of the plain step of the same
network, in turns within one process: with the ways, and without them, by every class and by every
operation, as it was before there were any. `gq_cost.py` has every setting, and the memory.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any
from unittest import mock

from csv_rows import read_csv, write_csv
from gq_cost import SETTINGS, classifier_of, step_of
from timing import in_turns, processor_seconds_of, ratios, spread

EIGHT_AT_A_TIME = "softmax, exact, chunk_size=8"
# Network, classes, batch, pixels, setting, and whether it can be waited for without the ways.
TABLE = (
    ("resnet20", 10, 32, 32, "softmax, exact", True),
    ("efficientnet_lite0", 1000, 8, 224, "softmax, sampled, K=1", True),
    ("resnet20", 10, 32, 32, "softmax, sampled, K=1", True),
    ("resnet18", 10, 32, 32, "softmax, exact", True),
    ("resnet20", 1000, 32, 32, EIGHT_AT_A_TIME, False),
)
COLUMNS = (
    *("network", "classes", "batch", "pixels", "setting", "counted", "before", "before_least"),
    *("before_most", "after", "after_least", "after_most", "rounds"),
)
# Counted without the ways, in plain steps: docs/performance.md.
COUNTED = {"softmax, exact": 10.0, "softmax, sampled, K=1": 4.0, EIGHT_AT_A_TIME: 3999 / 3}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", required=True, type=Path, help="a CSV file, gone on with")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--models", default="../shared/data/models", help="trained models' folder")
    options = parser.parse_args()
    rows = read_csv(options.output)
    done = [(row["network"], int(row["classes"]), row["setting"]) for row in rows]
    for *case, both in TABLE:
        task = dict(zip(("network", "classes", "batch", "pixels", "setting"), case, strict=True))
        if (task["network"], task["classes"], task["setting"]) in done:
            continue
        row = {**task, "counted": round(COUNTED[task["setting"]], 1), "rounds": options.rounds}
        row.update(figures({**task, "models": options.models}, both, options.rounds))
        print(json.dumps(row), flush=True)
        rows.append(row)
        write_csv(options.output, rows, COLUMNS)


def figures(task: dict[str, Any], both: bool, rounds: int) -> dict[str, float]:
    """Ratios of a step with the ways, and without them if that can be waited for."""
    SETTINGS[EIGHT_AT_A_TIME] = {"chunk_size": 8}
    classifier = classifier_of(task)
    steps = {"plain": step_of(classifier, task, "plain")[0]}
    steps["after"] = step_of(classifier, task, task["setting"])[0]
    if both:
        with (
            mock.patch("keras_lodin.gradients.tensorflow.vjp.normalizations", return_value={}),
            mock.patch(
                "keras_lodin.quotient.settings.QuotientSettings.linear_end", return_value=None
            ),
        ):
            steps["before"] = step_of(classifier, task, task["setting"])[0]
    timers = {name: lambda step=step: processor_seconds_of(step) for name, step in steps.items()}
    seconds = in_turns(timers, rounds)
    found = {}
    for way in ("before", "after"):
        if way in seconds:
            spread_of = spread(ratios(seconds[way], seconds["plain"]))
            found[way] = spread_of["median"]
            found[f"{way}_least"], found[f"{way}_most"] = spread_of["least"], spread_of["most"]
    return found


if __name__ == "__main__":
    sys.exit(main())
