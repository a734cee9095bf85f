"""Tables of docs/full_scale.md from the finished runs, and from nothing else.

`write` derives files beside the runs: `means.csv` (each method's figures), `differences.csv`
(to the control, paired by seed), `sets.csv` (the same on each OOD set), `against.csv` (methods with
GQ to those without), `open.csv` (what has not run) and `devices.csv` (what ran where, in how
long). `python benchmarks/tables.py` then fills the page.
"""

from __future__ import annotations

from pathlib import Path
from statistics import fmean

from csv_rows import write_csv

from keras_lodin.metrics.over_seeds import Spread, paired_difference, spread
from scale.data import OOD
from scale.figures import DETECTORS
from scale.methods import PLAIN, Method
from scale.plan import OFF, cells
from scale.results import Results

PRIMARY = "odin"
# The poster's rows of single runs, in per cent: ODIN's AUROC and FPR95, and the ID accuracy.
POSTER = {
    ("wide_resnet_34_1", OFF): (90.51, 36.57, 92.19),
    ("wide_resnet_34_1", "gq pooled exact 1e-06"): (91.94, 30.19, 93.29),
    ("resnet18", OFF): (89.09, 27.75, 95.27),
    ("resnet18", "gq pooled exact 1e-06"): (93.55, 25.14, 94.26),
}

_FIGURES = [f"{detector}_{figure}" for detector in DETECTORS for figure in ("auroc", "fpr95")]
# Of the derived files, which exist before anything has run.
COLUMNS = {
    "means.csv": ["network", "method", "seeds", "seconds", "id_accuracy", *_FIGURES, "poster"],
    "differences.csv": [
        *("network", "method", "pairs"),
        *(f"{detector}_auroc" for detector in reversed(DETECTORS)),
        *("odin_fpr95", "id_accuracy", "sensitivity", "poster"),
    ],
    "sets.csv": ["network", "method", *OOD],
    "against.csv": ["network", "method", "alternative", "pairs", "odin_auroc"],
    "open.csv": ["network", "method", "seeds"],
    "devices.csv": [
        *("device", "dtype", "versions", "network", "kind", "cells", "seconds", "seconds_a_cell")
    ],
}


def write(folder: Path, planned: bool = True) -> list[Path]:
    """Writes the derived files and gives their paths.

    Args:
        folder: of the runs.
        planned: whether they are runs of the plan, of which the open ones are listed.
    """
    results = Results(folder)
    made = {
        "means.csv": means(results),
        "differences.csv": differences(results),
        "sets.csv": by_set(results),
        "against.csv": against(results),
        "devices.csv": devices(results),
    }
    if planned:
        made["open.csv"] = still_open(results)
    paths = []
    for name, rows in made.items():
        paths.append(folder / name)
        write_csv(paths[-1], rows, COLUMNS[name])
    return paths


def values(
    results: Results, network: str, method: str, figure: str, detector: str = PRIMARY
) -> dict[int, float]:
    """Seed -> value in per cent; `auroc` and `fpr95` are means over the OOD sets."""
    found = {}
    for row in results.figures:
        if (row["network"], row["method"], row["detector"]) == (network, method, detector):
            columns = (
                [f"{figure}:{name}" for name in OOD] if figure in ("auroc", "fpr95") else [figure]
            )
            found[int(row["seed"])] = 100.0 * fmean(float(row[column]) for column in columns)
    return found


def settings(results: Results) -> list[tuple[str, str]]:
    """The networks and methods that have run, in the order of the plan."""
    have = {(cell.network, cell.method) for cell in results.done()}
    planned = list(dict.fromkeys((c.network, c.method) for c in cells()))
    order = {network: place for place, (network, _) in enumerate(planned)}
    return sorted((s for s in planned if s in have), key=lambda s: (order[s[0]], planned.index(s)))


def means(results: Results) -> list[dict[str, str]]:
    rows = []
    for network, method in settings(results):
        own = [r for r in results.figures if (r["network"], r["method"]) == (network, method)]
        row = {
            "network": network,
            "method": method,
            "seeds": str(len({r["seed"] for r in own})),
            "seconds": f"{fmean(float(r['seconds']) for r in own):.0f}",
            "id_accuracy": _with_interval(values(results, network, method, "id_accuracy")),
        }
        for detector in DETECTORS:
            for figure in ("auroc", "fpr95"):
                found = values(results, network, method, figure, detector)
                row[f"{detector}_{figure}"] = _with_interval(found)
        poster = POSTER.get((network, method))
        row["poster"] = " / ".join(f"{figure:.2f}" for figure in poster) if poster else ""
        rows.append(row)
    return rows


def differences(results: Results) -> list[dict[str, str]]:
    """Of every method to the control, paired by seed, with the sensitivity of the primary one."""
    rows = []
    for network, method in settings(results):
        if method == OFF:
            continue

        def gain(figure: str, detector: str = PRIMARY, at=(network, method)) -> Spread:
            return paired_difference(
                values(results, *at, figure, detector),
                values(results, at[0], OFF, figure, detector),
            )

        odin = gain("auroc")
        poster = [POSTER.get((network, name)) for name in (method, OFF)]
        rows.append(
            {
                "network": network,
                "method": method,
                "pairs": str(len(odin.values)),
                **{f"{d}_auroc": _signed(gain("auroc", d)) for d in reversed(DETECTORS)},
                "odin_fpr95": _signed(gain("fpr95")),
                "id_accuracy": _signed(gain("id_accuracy")),
                "sensitivity": "" if odin.half_width is None else f"{odin.half_width:.2f}",
                "poster": f"{poster[0][0] - poster[1][0]:+.2f}" if all(poster) else "",
            }
        )
    return rows


def by_set(results: Results) -> list[dict[str, str]]:
    """ODIN's AUROC on each OOD set, to the control."""
    rows = []
    for network, method in settings(results):
        if method == OFF:
            continue
        row = {"network": network, "method": method}
        for name in OOD:
            found = [
                {
                    int(r["seed"]): 100.0 * float(r[f"auroc:{name}"])
                    for r in results.figures
                    if (r["network"], r["method"], r["detector"]) == (network, one, PRIMARY)
                }
                for one in (method, OFF)
            ]
            row[name] = _signed(paired_difference(*found))
        rows.append(row)
    return rows


def against(results: Results) -> list[dict[str, str]]:
    """ODIN's AUROC of each method with GQ minus each without, where they share two seeds."""
    rows = []
    for network, method in settings(results):
        if "gq " not in method:
            continue
        for other_network, other in settings(results):
            alternative = other_network == network and other != OFF and "gq " not in other
            ours, theirs = (values(results, network, one, "auroc") for one in (method, other))
            if alternative and len(ours.keys() & theirs.keys()) > 1:
                found = paired_difference(ours, theirs)
                rows.append(
                    {
                        "network": network,
                        "method": method,
                        "alternative": other,
                        "pairs": str(len(found.values)),
                        "odin_auroc": _signed(found),
                    }
                )
    return rows


def still_open(results: Results) -> list[dict[str, str]]:
    """Planned cells that have not run, in the order in which they will be."""
    done = results.done()
    rows: dict[tuple[str, str], list[int]] = {}
    for cell in cells():
        if cell not in done:
            rows.setdefault((cell.network, cell.method), []).append(cell.seed)
    return [
        {"network": network, "method": method, "seeds": " ".join(map(str, seeds))}
        for (network, method), seeds in rows.items()
    ]


def devices(results: Results) -> list[dict[str, str]]:
    """Cells and seconds by device, precision and network; a cell counts once."""
    cells_of: dict[tuple[str, ...], list[float]] = {}
    for row in results.figures:
        if row["detector"] == PRIMARY:
            kind = "one pass" if Method.of(row["method"]).kind == PLAIN else "with input gradients"
            key = (row["device"], row["dtype"], row["versions"], row["network"], kind)
            cells_of.setdefault(key, []).append(float(row["seconds"]))
    names = ("device", "dtype", "versions", "network", "kind")
    return [
        {
            **dict(zip(names, key, strict=True)),
            "cells": str(len(seconds)),
            "seconds": f"{sum(seconds):.0f}",
            "seconds_a_cell": f"{fmean(seconds):.1f}",
        }
        for key, seconds in cells_of.items()
    ]


def _with_interval(found: dict[int, float]) -> str:
    one = spread(found)
    return f"{one.mean:.2f}" + ("" if one.half_width is None else f" ± {one.half_width:.2f}")


def _signed(one: Spread) -> str:
    return f"{one.mean:+.2f}" + ("" if one.half_width is None else f" ± {one.half_width:.2f}")
