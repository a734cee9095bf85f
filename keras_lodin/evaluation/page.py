"""An evaluation as one HTML page."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np

from keras_lodin.evaluation.document import (
    PASSES_NOTE,
    Extremes,
    Results,
    Row,
    Scores,
    Threshold,
    confidence_of,
    group_of,
    grouped,
    has_passes,
    is_full_spectrum,
    shifted_in,
    spectrum_name,
)
from keras_lodin.metrics.figures import fewest_samples, threshold_at_tpr
from keras_lodin.metrics.registry import figures_in
from keras_lodin.report import page
from keras_lodin.report.page import Block, Section
from keras_lodin.report.tables import percent

_TPR = 0.95
_SPECTRUM_CAPTION = (
    " Full spectrum: the shifted data count as in-distribution, together with the clean ones."
)


def evaluation_page(
    results: Results,
    scores: Scores,
    plots: Mapping[str, Mapping[str, bytes]],
    extremes: Extremes,
    means: bytes | None = None,
) -> str:
    """The page: tables, plots, the surprising examples, definitions, and how it was made.

    Args:
        results: what `results.json` holds.
        scores: of an `Evaluation`, or from `scores.npz`.
        plots: of `draw_plots`.
        extremes: of an `Evaluation`; empty for a page without pictures.
        means: of `draw_means`.
    """
    return page.page(
        f"Out-of-distribution detection on {results['id']['name']}",
        _summary(results),
        [
            Section("Results", [_results(results), *_means(results), *_means_plot(results, means)]),
            *(
                [Section("Covariate-shifted data", _shifted(results, scores))]
                if shifted_in(results)
                else []
            ),
            Section("The threshold", _threshold(results, scores)),
            *(
                Section(f"Against {_in_group(results, ood)}", _against(results, scores, ood, drawn))
                for ood, drawn in plots.items()
            ),
            Section(
                "The most surprising examples",
                _surprises(extremes, results, list(plots)),
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
    columns = {
        "OOD set": [row["ood"] for row in rows],
        **_kinds(results, rows, outside=""),
        "examples": [f"{row['count']:,}" for row in rows],
    }
    return _figures(
        results,
        rows,
        "In per cent, AUROC and FPR95 with 95 % intervals; FPR95 with ID positive. The best of "
        "each out-of-distribution (OOD) set is marked."
        + (PASSES_NOTE if has_passes(rows) else "")
        + (_SPECTRUM_CAPTION if shifted_in(results) else ""),
        columns,
        [
            place
            for column, one in enumerate(figures_in(rows), start=1 + len(columns))
            for place in _best(rows, one.name, max if one.higher_is_better else min, column)
        ],
    )


def _means(results: Results) -> list[Block]:
    rows = results["means"]
    columns = {
        **_kinds(results, rows, outside="all sets"),
        "sets": [str(row["ood_sets"]) for row in rows],
    }
    caption = "Plain means over the OOD sets, in per cent"
    if grouped(rows):
        caption += ", of each group and of all"
    return [_figures(results, rows, caption, columns)] if rows else []


def _means_plot(results: Results, means: bytes | None) -> list[Block]:
    if means is None:
        return []
    figures = "; ".join(
        f"{row['detector']} on {group_of(row)}, {spectrum_name(row)}: {percent(row['auroc'])} %"
        for row in results["means"]
        if group_of(row) is not None
    )
    hollow = ", hollow in full spectrum" if shifted_in(results) else ""
    return [
        page.figure(
            means,
            f"Mean AUROC of each group of OOD sets. {figures}.",
            f"Mean AUROC of each group{hollow}. What tells far data need not tell near ones.",
        )
    ]


def _kinds(results: Results, rows: list[Row], outside: str) -> dict[str, list[str]]:
    """Columns for the group of OOD sets and the kind of ID data, where there is a choice."""
    columns = {}
    if grouped(results["results"]):
        groups = [group_of(row) for row in rows]
        columns["group"] = [outside if group is None else group for group in groups]
    if shifted_in(results):
        columns["ID"] = [spectrum_name(row) for row in rows]
    return columns


def _shifted(results: Results, scores: Scores) -> list[Block]:
    """What becomes of the shifted data at the threshold that keeps 95 % of the clean ones."""
    id_name = results["id"]["name"]
    id_scores = [sets[id_name] for sets in scores.values()]
    thresholds = [threshold_at_tpr(values, _TPR) for values in id_scores]
    return [
        page.table(
            "Accuracy in per cent, and the share that passes the threshold for 95 % of "
            f"{id_name}: the rest would be called out-of-distribution",
            ("data", "examples", *_models(results), *(f"{name} keeps" for name in scores)),
            [
                (
                    facts["name"],
                    f"{facts['count']:,}",
                    *(
                        "unknown" if value is None else percent(value)
                        for value in facts["accuracy_by_model"].values()
                    ),
                    *(
                        _share(float(np.mean(sets[facts["name"]] > threshold)), facts["count"])
                        for sets, threshold in zip(scores.values(), thresholds, strict=True)
                    ),
                )
                for facts in (results["id"], *shifted_in(results))
            ],
        ),
        page.text(
            "These data are of the classes that the classifier knows, under other conditions. A "
            "detector that calls every changed photograph out-of-distribution is of little use, "
            "and only the rows named full spectrum above show it: there they count as "
            "in-distribution."
        ),
    ]


def _models(results: Results) -> list[str]:
    models = list(results["id"]["accuracy_by_model"])
    return [f"accuracy of {model}" for model in models] if len(models) > 1 else ["accuracy"]


def _figures(
    results: Results,
    rows: list[Row],
    caption: str,
    columns: Mapping[str, list[str]],
    best: Iterable[tuple[int, int]] = (),
) -> Block:
    """A table of rows: whose they are, what is in `columns`, every figure, and the cost."""
    figures = figures_in(rows)
    several = len(results["id"]["accuracy_by_model"]) > 1
    names = [f"{row['model']} / {row['detector']}" if several else row["detector"] for row in rows]
    with_passes = has_passes(rows)
    numbers = (
        [
            *(percent(row[one.name], row.get(f"{one.name}_interval")) for one in figures),
            *([f"{row['passes']:g}"] if with_passes else []),
        ]
        for row in rows
    )
    return page.table(
        caption,
        (
            "model and detector" if several else "detector",
            *columns,
            *(one.title for one in figures),
            *(["passes"] if with_passes else []),
        ),
        [(*named, *shown) for *named, shown in zip(names, *columns.values(), numbers, strict=True)],
        best,
    )


def _best(
    rows: list[Row], figure: str, choose: Callable[[list[float]], float], column: int
) -> list[tuple[int, int]]:
    """Places of an OOD set's best figures, ties included; none where there is no choice."""
    found = []
    # Figures of other ID data are not to be compared.
    compared = [(row["ood"], is_full_spectrum(row)) for row in rows]
    for key in dict.fromkeys(compared):
        own = [(number, row[figure]) for number, row in enumerate(rows) if compared[number] == key]
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
            promised = _promise(given)
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
            f"scores lie above the threshold.{_sure(results)} "
            "± is twice the standard error of a share. The plots "
            "below draw the last column, which saw the test data and is for reading them, not for "
            "use. A detector's p-value says it of a single input: of data like those which it was "
            "calibrated on, the fraction p has so low a score."
        ),
    ]


def _promise(given: Threshold) -> str:
    """What a threshold promises to keep, in a cell."""
    if given["tpr"] is None:
        return "set by hand"
    confidence = confidence_of(given)
    sure = "on average" if confidence is None else f"with confidence {100 * confidence:g} %"
    return f"{percent(given['tpr'])} % {sure}"


def _sure(results: Results) -> str:
    """What a confidence means, where a threshold has one."""
    if all(confidence_of(given) is None for given in results["thresholds"].values()):
        return ""
    return (
        " One with a confidence promises it for that share of all calibrations and not on average: "
        "its threshold lies lower."
    )


def _flagged(results: Results) -> list[Block]:
    """What each detector with a threshold of its own would say of each data set."""
    if not results["flagged"]:
        return []
    id_name = results["id"]["name"]
    counts = {row["ood"]: row["count"] for row in results["results"]}
    shifted = {one["name"]: one["count"] for one in shifted_in(results)}
    small = " and the shifted data" if shifted else ""
    return [
        page.table(
            "In use: the share that a detector's own threshold calls out-of-distribution. Small is "
            f"good for {id_name}{small}, large for the others.",
            (
                "detector",
                f"ID: {id_name}",
                *(f"shifted: {name}" for name in shifted),
                *(f"OOD: {ood}" for ood in counts),
            ),
            [
                (
                    detector,
                    _share(shares[id_name], results["id"]["count"]),
                    *(_share(shares[name], count) for name, count in (shifted | counts).items()),
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
    rows = [row for row in results["results"] if row["ood"] == ood and not is_full_spectrum(row)]
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


def _in_group(results: Results, ood: str) -> str:
    """The name of an OOD set, and its group where it has one."""
    group = next(group_of(row) for row in results["results"] if row["ood"] == ood)
    return ood if group is None else f"{ood} ({group})"


def _surprises(extremes: Extremes, results: Results, oods: list[str]) -> list[Block]:
    kinds = {
        results["id"]["name"]: "lowest-scoring ID",
        **{one["name"]: "lowest-scoring shifted" for one in shifted_in(results)},
        **dict.fromkeys(oods, "highest-scoring OOD"),
    }
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
