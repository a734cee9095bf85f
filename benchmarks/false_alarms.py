"""How often the monitor's alarm is false, and how soon it is right.

    nice python benchmarks/false_alarms.py --output docs/results/false_alarms.csv

Streams of simulated scores, each after a calibration set of its own, in windows of 500. The rules:

* `monitor`: `keras_lodin.metrics.Monitor`.
* `p-values as they are`: the same bets, on p-values that are taken for uniform and independent,
  which they are not: they share a calibration set.
* `KS test of each window`: an alarm where one window's p-values are not uniform at the same rate.

Of streams like the calibration data: the share with an alarm at any time, with its standard error.
Of streams that change amid (a share of the scores is lower by three standard deviations from then
on): the share with an alarm before the change, and after it, and the median of windows until then.
"""

from __future__ import annotations

import argparse
import math
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from csv_rows import write_csv
from scipy.stats import kstwo

from keras_lodin.metrics import Monitor
from keras_lodin.metrics.p_values import calibration_table

WINDOW = 500
COLUMNS = (
    *("scores", "rule", "calibrated_on", "windows", "changed_share", "stated", "streams"),
    *("alarms", "standard_error", "alarms_after_change", "median_delay"),
)
KINDS = {
    "normal": lambda scores: scores,
    "rounded to 0.1": lambda scores: np.round(scores, 1),
    "a third at their limit": lambda scores: np.minimum(scores, np.float32(0.43)),
}


class AsTheyAre(Monitor):
    """Takes p-values for uniform and independent."""

    def _ranks(self, cells):
        below = np.cumsum(self._places) - self._places
        lots = self._random.random(cells.size)
        ranks = (below[cells] + lots * self._places[cells]) / self._places.sum()
        return np.clip(ranks, 1e-12, 1 - 1e-12)


def first_alarms(kind, count, windows, changed_share, stated, seed) -> dict[str, float]:
    """The number of the window in which each rule raises its first alarm; infinity for never."""
    random = np.random.default_rng(seed)
    made = KINDS[kind]
    kept, counts = calibration_table(made(random.standard_normal(count, "float32")))
    possible = np.unique(counts.astype("float64")) / counts[-1].astype("float64")
    rules = {
        "monitor": Monitor(possible, count, false_alarm_rate=stated, seed=seed),
        "p-values as they are": AsTheyAre(possible, count, false_alarm_rate=stated, seed=seed),
    }
    largest = kstwo.isf(stated, WINDOW)
    found = dict.fromkeys([*rules, "KS test of each window"], math.inf)
    for number in range(1, windows + 1):
        scores = random.standard_normal(WINDOW, "float32")
        if changed_share and number > windows // 2:
            scores[random.random(WINDOW) < changed_share] -= 3
        values = counts[np.searchsorted(kept, made(scores), "right")] / counts[-1]
        for name, rule in rules.items():
            window = rule.update(values)
            if window.alarm:
                found[name] = min(found[name], number)
        if window.moved >= largest:
            name = "KS test of each window"
            found[name] = min(found[name], number)
    return found


def rows(streams: int):
    for kind, count, windows, share, stated in (
        *(("normal", count, 40, 0.0, 0.05) for count in (100, 1000, 10_000)),
        ("normal", 1000, 40, 0.0, 0.01),
        *((kind, 1000, 40, 0.0, 0.05) for kind in list(KINDS)[1:]),
        *(
            ("normal", count, 40, share, 0.01)
            for count in (1000, 10_000)
            for share in (0.02, 0.05, 0.2)
        ),
    ):
        number = streams // 3 if share else streams
        found = [first_alarms(kind, count, windows, share, stated, seed) for seed in range(number)]
        for rule in found[0]:
            first = np.array([one[rule] for one in found])
            limit = windows // 2 if share else windows
            false = float(np.mean(first <= limit))
            after = first[first > limit] - limit
            yield {
                "scores": kind,
                "rule": rule,
                "calibrated_on": count,
                "windows": windows,
                "changed_share": share,
                "stated": stated,
                "streams": number,
                "alarms": round(false, 4),
                "standard_error": round(math.sqrt(false * (1 - false) / number), 4),
                "alarms_after_change": (
                    round(float(np.isfinite(after).mean()), 4) if share and after.size else ""
                ),
                "median_delay": float(np.median(after)) if share and after.size else "",
            }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("--streams", type=int, default=300)
    options = parser.parse_args()
    found = []
    for row in rows(options.streams):
        print(list(row.values()), flush=True)
        found.append(row)
    write_csv(options.output, found, COLUMNS)


if __name__ == "__main__":
    main()
