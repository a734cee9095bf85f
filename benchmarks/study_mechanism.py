"""Which gradients GQ moves, on in-distribution data and on other: the mechanism of docs/study.md.

    python benchmarks/study_mechanism.py

Trains four networks on digits 0 to 6 with each of three seeds, as the task `digits` does, and
writes medians and AUROCs of both norms and of their quotient, on the logits, to
docs/results/study/mechanism.csv. Networks that are there are not trained again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from csv_rows import write_csv

from keras_lodin.workflows import gradients, train

RESULTS = Path(__file__).parents[1] / "docs" / "results" / "study"
TRAININGS = {
    "off": {},
    "minus": {"gq_weight": -0.1, "form": "logits"},
    "plus": {"gq_weight": 0.1, "form": "logits"},
    "sampled": {"gq_weight": 1.0, "form": "logits", "estimator": "sampled"},
}
OOD = ("digits:7-9", "noise:uniform:300")
QUANTITIES = ("log10_label_norm", "log10_other_norm", "quotient")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("runs/mechanism"))
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    rows = []
    for seed in range(options.seeds):
        runs = [
            train(
                *("digits:0-6", "small_convnet", options.work / name / str(seed)),
                epochs=20,
                seed=seed,
                **settings,
            )
            for name, settings in TRAININGS.items()
        ]
        found = gradients(runs, "digits:0-6", OOD, form="logits", output=None)
        for row, training in zip(
            found.rows, [name for name in TRAININGS for _ in range(1 + len(OOD))], strict=True
        ):
            cells = {"training": training, "seed": seed, "data": row["data"]}
            for name in QUANTITIES:
                cells[name] = round(row[name]["median"], 4)
                if row["kind"] == "ood":
                    cells[f"{name}_auroc"] = round(row["auroc"][name], 4)
            rows.append(cells)
    write_csv(RESULTS / "mechanism.csv", rows)


if __name__ == "__main__":
    main()
