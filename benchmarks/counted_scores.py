"""Thresholds and figures of a hundred million scores, counted shard by shard in bounded memory.

    nice python benchmarks/counted_scores.py --output docs/results/counted_scores.csv

For each number of scores, as many of in-distribution images, normal around 1, and of others, normal
around 0, in a hundred shards that are made anew for each pass. The shards' histograms are merged.
Each line says what came out, what it should be (where all scores can be held: by the figures of
arrays; the AUROC of infinitely many is 0.76025), the CPU seconds of counting, without those of
making the scores, and by how much the process grew beyond what it took when it had imported the
package.
"""

from __future__ import annotations

import argparse
import copy
import os
import resource
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from csv_rows import write_csv

from keras_lodin import metrics
from keras_lodin.metrics import ScoreHistogram

SHARDS = 100
TPR = 0.95
COLUMNS = ("scores", "passes", "what", "found", "lowest", "highest", "expected", "seconds", "grown")
# Of so many the arrays' own figures are computed beside them, afterwards.
MOST_HELD = 10_000_000


def shard(number: int, count: int, shift: float) -> np.ndarray:
    random = np.random.default_rng([number, int(shift)])
    return random.standard_normal(count, "float32") + np.float32(shift)


def counted(empty: ScoreHistogram, count: int, shift: float) -> tuple[ScoreHistogram, float]:
    """All shards, each counted by itself, and the CPU seconds of it."""
    whole, seconds = copy.deepcopy(empty), 0.0
    for number in range(SHARDS):
        scores = shard(number, count // SHARDS, shift)
        began = time.process_time()
        one = copy.deepcopy(empty)
        one.update(scores)
        whole.merge(one)
        seconds += time.process_time() - began
    return whole, seconds


def rows(count: int) -> list[dict]:
    grown = peak()
    found = []
    known, others = ScoreHistogram(), ScoreHistogram()
    spent = 0.0
    for passes in (1, 2):
        known, first = counted(known, count, 1.0)
        others, second = counted(others, count, 0.0)
        spent += first + second
        area, rate = known.auroc(others), known.fpr_at_tpr(others, TPR)
        for what, value, bounds in (
            ("threshold", known.threshold_at_tpr(TPR), ("", "")),
            ("auroc", sum(area) / 2, area),
            ("fpr95", sum(rate) / 2, rate),
            ("fullest cell", known.fullest, ("", "")),
        ):
            found.append(
                dict.fromkeys(COLUMNS, "")
                | {"scores": count, "passes": passes, "what": what, "found": value}
                | {"lowest": bounds[0], "highest": bounds[1], "seconds": round(spent, 1)}
            )
        known, others = known.finer(TPR), others.finer()
    grown = peak() - grown
    return [row | {"grown": round(grown)} for row in found]


def expected(count: int) -> dict[str, float]:
    """What the arrays' own figures say."""
    known, others = (
        np.concatenate([shard(number, count // SHARDS, shift) for number in range(SHARDS)])
        for shift in (1.0, 0.0)
    )
    return {
        "threshold": metrics.threshold_at_tpr(known, TPR),
        "auroc": metrics.auroc(known, others),
        "fpr95": metrics.fpr_at_tpr(known, others, TPR),
    }


def peak() -> float:
    """The most memory that the process has taken, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("--scores", type=float, nargs="+", default=[1e6, 1e7, 1e8])
    options = parser.parse_args()
    counts = [int(count) for count in options.scores]
    # A shard of the largest is made beforehand: its memory is not that of counting.
    shard(0, max(counts) // SHARDS, 1.0)
    found = [row for count in counts for row in rows(count)]
    for count in counts:
        if count <= MOST_HELD:
            known = expected(count)
            for row in found:
                if row["scores"] == count:
                    row["expected"] = known.get(row["what"], "")
    write_csv(options.output, found, COLUMNS)
    sys.stdout.write(options.output.read_text())


if __name__ == "__main__":
    main()
