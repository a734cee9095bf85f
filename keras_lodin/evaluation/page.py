"""An evaluation as one HTML page."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np

from keras_lodin.evaluation.document import Extremes, Results, Row, Scores
from keras_lodin.metrics.figures import fewest_samples, threshold_at_tpr
from keras_lodin.metrics.registry import figures_in
from keras_lodin.report import page
from keras_lodin.report.page import Block, Section
from keras_lodin.report.tables import percent

_TPR = 0.95


def evaluation_page(
    results: Results, scores: Scores, plots: Mapping[str, Mapping[str, bytes]], extremes: Extremes
) -> str:
    """The page: tables, plots, the surprising examples, definitions, and how it was made.

    Args:
        results: what `results.json` holds.
        scores: of an `Evaluation`, or from `scores.npz`.
        plots: of `draw_plots`.
        extremes: of an `Evaluation`; empty for a page without pictures.
    """
    return page.page(
        f"Out-of-distribution detection on {results['id']['name']}",
        _summary(results),
        [
            Section("Results", [_results(results), *_means(results)]),
            Section("The threshold", _threshold(results, scores)),
            *(
                Section(f"Against {ood}", _against(results, scores, ood, drawn))
                for ood, drawn in plots.items()
            ),
            Section(
                "The most surprising examples",
                _surprises(extremes, results["id"]["name"], list(plots)),
            ),
            Section("What the figures mean", [page.definitions(results["definitions"])]),
            Section("How this page was made", how(results)),
        ],
    )


def how(results: Results) -> list[Block]:
    """Versions, seed, command, and what could not be read."""
    versions = page.versions_text(results["versions"])
    blocks = page.made_with(
        f"{versions} Seed of the intervals: {results['seed']}.", results["command"]
    )
    for name, files in results["skipped"].items():
        listed = "; ".join(f"{path} ({reason})" for path, reason in files[:20])
        more = f"; and {len(files) - 20} more" if len(files) > 20 else ""
        blocks.append(page.text(f"{len(files)} files of {name} could not be read: {listed}{more}."))
    return blocks


def _summary(results: Results) -> str:
    accuracies = ", ".join(
        f"{model} {'unknown' if value is None else f'{percent(value)} %'}"
        for model, value in results["id"]["accuracy_by_model"].items()
    )
    return (
        f"Accuracy on the {results['id']['count']:,} in-distribution (ID) examples, on the same "
        f"pixels as the scores: {accuracies}. If that is not the accuracy you know, the "
        "preprocessing differs, and no other figure is worth reading."
    )


def _results(results: Results) -> Block:
    rows = results["results"]
    return _figures(
        results,
        rows,
        "In per cent, AUROC and FPR95 with 95 % intervals; FPR95 with ID positive. The best of "
        "each out-of-distribution (OOD) set is marked.",
        {
            "OOD set": [row["ood"] for row in rows],
            "examples": [f"{row['count']:,}" for row in rows],
        },
        [
            place
            for column, one in enumerate(figures_in(rows), start=3)
            for place in _best(rows, one.name, max if one.higher_is_better else min, column)
        ],
    )


def _means(results: Results) -> list[Block]:
    rows = results["means"]
    sets = {"sets": [str(row["ood_sets"]) for row in rows]}
    caption = "Plain means over the OOD sets, in per cent"
    return [_figures(results, rows, caption, sets)] if rows else []


def _figures(
    results: Results,
    rows: list[Row],
    caption: str,
    columns: Mapping[str, list[str]],
    best: Iterable[tuple[int, int]] = (),
) -> Block:
    """A table of rows: whose they are, what is in `columns`, and every figure."""
    figures = figures_in(rows)
    several = len(results["id"]["accuracy_by_model"]) > 1
    names = [f"{row['model']} / {row['detector']}" if several else row["detector"] for row in rows]
    numbers = (
        [percent(row[one.name], row.get(f"{one.name}_interval")) for one in figures] for row in rows
    )
    return page.table(
        caption,
        (
            "model and detector" if several else "detector",
            *columns,
            *(one.title for one in figures),
        ),
        [(*named, *shown) for *named, shown in zip(names, *columns.values(), numbers, strict=True)],
        best,
    )


def _best(
    rows: list[Row], figure: str, choose: Callable[[list[float]], float], column: int
) -> list[tuple[int, int]]:
    """Places of an OOD set's best figures, ties included; none where there is no choice."""
    found = []
    for name in dict.fromkeys(row["ood"] for row in rows):
        own = [(number, row[figure]) for number, row in enumerate(rows) if row["ood"] == name]
        best = choose([value for _, value in own])
        found += [(number, column) for number, value in own if value == best and len(own) > 1]
    return found


def _threshold(results: Results, scores: Scores) -> list[Block]:
    """What the calibrated thresholds promise, and what they keep here."""
    id_name = results["id"]["name"]
    rows = []
    for detector, sets in scores.items():
        here = threshold_at_tpr(sets[id_name], _TPR)
        given = results["thresholds"].get(detector)
        kept, promised, own = "", "", "not calibrated"
        if given is not None:
            own = f"{given['threshold']:.6g}"
            promised = "set by hand" if given["tpr"] is None else f"{percent(given['tpr'])} %"
            kept = _share(1.0 - results["flagged"][detector][id_name], sets[id_name].size)
        least = f"takes {fewest_samples(_TPR)} examples"
        rows.append((detector, own, promised, kept, f"{here:.6g}" if np.isfinite(here) else least))
    return [
        page.table(
            "Thresholds: a score at or below one is called out-of-distribution",
            (
                *("detector", "its threshold", "promises to keep", "keeps of this ID data"),
                "threshold for 95 % from these data",
            ),
            rows,
        ),
        *_flagged(results),
        page.text(
            "A promise says how much of fresh data passes on average, of data like that which the "
            "detector was calibrated on: with n examples at least k = ceil(0.95 (n + 1)) of their "
            "scores lie above the threshold. ± is twice the standard error of a share. The plots "
            "below draw the last column, which saw the test data and is for reading them, not for "
            "use. A detector's p-value says it of a single input: of data like those which it was "
            "calibrated on, the fraction p has so low a score."
        ),
    ]


def _flagged(results: Results) -> list[Block]:
    """What each detector with a threshold of its own would say of each data set."""
    if not results["flagged"]:
        return []
    id_name = results["id"]["name"]
    counts = {row["ood"]: row["count"] for row in results["results"]}
    return [
        page.table(
            "In use: the share that a detector's own threshold calls out-of-distribution. Small is "
            f"good for {id_name}, large for the others.",
            ("detector", f"ID: {id_name}", *(f"OOD: {ood}" for ood in counts)),
            [
                (
                    detector,
                    _share(shares[id_name], results["id"]["count"]),
                    *(_share(shares[ood], count) for ood, count in counts.items()),
                )
                for detector, shares in results["flagged"].items()
            ],
        )
    ]


def _share(share: float, count: int) -> str:
    """In per cent, with twice its standard error."""
    return f"{percent(share)} ± {percent(1.96 * np.sqrt(share * (1.0 - share) / count))} %"


def _against(results: Results, scores: Scores, ood: str, plots: Mapping[str, bytes]) -> list[Block]:
    id_name = results["id"]["name"]
    medians = "; ".join(
        f"{detector}: median {np.median(sets[id_name]):.4g} on ID, {np.median(sets[ood]):.4g} "
        f"on OOD, threshold {threshold_at_tpr(sets[id_name], _TPR):.4g}"
        for detector, sets in scores.items()
    )
    # Rows and scores hold their detectors in the same order.
    rows = [row for row in results["results"] if row["ood"] == ood]
    figures = "; ".join(
        f"{detector}: AUROC {percent(row['auroc'])} %, FPR95 {percent(row['fpr95'])} %"
        for detector, row in zip(scores, rows, strict=True)
    )
    return [
        page.figure(
            plots["scores"],
            f"Histograms of the scores of {id_name} and of {ood}. {medians}.",
            "Scores, higher = more in-distribution. The dashed line promises to keep 95 % of ID "
            "data like these; what lies to its left would be called out-of-distribution.",
        ),
        page.figure(
            plots["roc"],
            f"ROC curves of {id_name} against {ood}, ID positive. {figures}.",
            "The share of ID that a threshold keeps against the share of OOD that it keeps too.",
        ),
    ]


def _surprises(extremes: Extremes, id_name: str, oods: list[str]) -> list[Block]:
    kinds = {id_name: "lowest-scoring ID", **dict.fromkeys(oods, "highest-scoring OOD")}
    return [
        page.pictures(
            f"{detector}: {kind} images, {name}",
            [
                (
                    pixels,
                    f"Example {number} of {name}, score {score:.4g}",
                    f"#{number}: {score:.4g}",
                )
                for score, number, pixels in sets[name]
            ],
        )
        for detector, sets in extremes.items()
        for name, kind in kinds.items()
        if sets.get(name)
    ]
