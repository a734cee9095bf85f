"""An `Evaluation` as one HTML page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_lodin.metrics.figures import fewest_samples, threshold_at_tpr
from keras_lodin.report import page
from keras_lodin.report.page import Block, Section

if TYPE_CHECKING:
    from keras_lodin.evaluation.one_pass import Evaluation

_TPR = 0.95


def evaluation_page(evaluation: Evaluation, plots: Mapping[str, Mapping[str, bytes]]) -> str:
    """The page: tables, plots, the surprising examples, definitions, and how it was made.

    Args:
        evaluation: an `Evaluation`.
        plots: its plots, of `draw_plots`.

    Returns:
        self-contained HTML.
    """
    oods = list(plots)
    return page.page(
        f"Out-of-distribution detection on {evaluation.id['name']}",
        _summary(evaluation),
        [
            Section("Results", [_results(evaluation), *_means(evaluation)]),
            Section("The threshold", _threshold(evaluation)),
            *(Section(f"Against {ood}", _against(evaluation, ood, plots[ood])) for ood in oods),
            Section("The most surprising examples", _surprises(evaluation, oods)),
            Section("What the figures mean", [page.definitions(evaluation.definitions)]),
            Section("How this page was made", how(evaluation)),
        ],
    )


def how(evaluation: Evaluation) -> list[Block]:
    """Versions, seed, command, and what could not be read."""
    versions = ", ".join(f"{name} {version}" for name, version in evaluation.versions.items())
    blocks = [page.text(f"Versions: {versions}. Seed of the intervals: {evaluation.seed}.")]
    if evaluation.command is not None:
        blocks.append(page.code(evaluation.command))
    for name, files in evaluation.skipped.items():
        listed = "; ".join(f"{path} ({reason})" for path, reason in files[:20])
        more = f"; and {len(files) - 20} more" if len(files) > 20 else ""
        blocks.append(page.text(f"{len(files)} files of {name} could not be read: {listed}{more}."))
    return blocks


def _summary(evaluation: Evaluation) -> str:
    accuracies = ", ".join(
        f"{model} {'unknown' if value is None else f'{100 * value:.1f} %'}"
        for model, value in evaluation.id["accuracy_by_model"].items()
    )
    return (
        f"Accuracy on the {evaluation.id['count']:,} in-distribution (ID) examples, on the same "
        f"pixels as the scores: {accuracies}. If that is not the accuracy you know, the "
        "preprocessing differs, and no other figure is worth reading."
    )


def _results(evaluation: Evaluation) -> Block:
    rows = evaluation.rows
    return page.table(
        "AUROC and FPR95 in per cent with 95 % intervals; FPR95 with ID positive. The best of each "
        "out-of-distribution (OOD) set is marked.",
        (_named(evaluation), "OOD set", "examples", "AUROC", "FPR95", "AUPR in", "AUPR out"),
        [
            (
                _name(evaluation, row),
                row["ood"],
                f"{row['count']:,}",
                _with_interval(row, "auroc"),
                _with_interval(row, "fpr95"),
                f"{100 * row['aupr_in']:.1f}",
                f"{100 * row['aupr_out']:.1f}",
            )
            for row in rows
        ],
        [
            *_best(rows, "ood", "auroc", max, 3),
            *_best(rows, "ood", "fpr95", min, 4),
        ],
    )


def _named(evaluation: Evaluation) -> str:
    """What `_name` gives the name of."""
    return "model and detector" if len(evaluation.id["accuracy_by_model"]) > 1 else "detector"


def _name(evaluation: Evaluation, row: dict[str, Any]) -> str:
    """A row's detector, with its model where there are several."""
    several = len(evaluation.id["accuracy_by_model"]) > 1
    return f"{row['model']} / {row['detector']}" if several else row["detector"]


def _best(
    rows: list[dict[str, Any]],
    group: str,
    figure: str,
    choose: Callable[[list[float]], float],
    column: int,
) -> list[tuple[int, int]]:
    """Places of a group's best figures, ties included; none where there is no choice."""
    found = []
    for name in dict.fromkeys(row[group] for row in rows):
        own = [(number, row[figure]) for number, row in enumerate(rows) if row[group] == name]
        best = choose([value for _, value in own])
        found += [(number, column) for number, value in own if value == best and len(own) > 1]
    return found


def _with_interval(row: dict[str, Any], figure: str) -> str:
    low, high = row[f"{figure}_interval"]
    return f"{100 * row[figure]:.1f} ({100 * low:.1f} to {100 * high:.1f})"


def _means(evaluation: Evaluation) -> list[Block]:
    if not evaluation.means:
        return []
    return [
        page.table(
            "Plain means over the OOD sets, in per cent",
            (_named(evaluation), "sets", "AUROC", "FPR95", "detection error"),
            [
                (
                    _name(evaluation, row),
                    str(row["ood_sets"]),
                    *(f"{100 * row[name]:.1f}" for name in ("auroc", "fpr95", "detection_error")),
                )
                for row in evaluation.means
            ],
        )
    ]


def _threshold(evaluation: Evaluation) -> list[Block]:
    """What the calibrated thresholds promise, and what they keep here."""
    id_name = evaluation.id["name"]
    rows = []
    for detector, scores in evaluation.scores.items():
        id_scores = scores[id_name]
        here = threshold_at_tpr(id_scores, _TPR)
        given = evaluation.thresholds.get(detector)
        kept, promised, own = "", "", "not calibrated"
        if given is not None:
            own = f"{given['threshold']:.6g}"
            promised = "set by hand" if given["tpr"] is None else f"{100 * given['tpr']:.1f} %"
            kept = _share(1.0 - evaluation.flagged[detector][id_name], id_scores.size)
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
        *_flagged(evaluation),
        page.text(
            "A promise says how much of fresh data passes on average, of data like that which the "
            "detector was calibrated on: with n examples at least k = ceil(0.95 (n + 1)) of their "
            "scores lie above the threshold. ± is twice the standard error of a share. The plots "
            "below draw the last column, which saw the test data and is for reading them, not for "
            "use."
        ),
    ]


def _flagged(evaluation: Evaluation) -> list[Block]:
    """What each detector with a threshold of its own would say of each data set."""
    if not evaluation.flagged:
        return []
    counts = {row["ood"]: row["count"] for row in evaluation.rows}
    return [
        page.table(
            "In use: the share that a detector's own threshold calls out-of-distribution. Small is "
            f"good for {evaluation.id['name']}, large for the others.",
            ("detector", f"ID: {evaluation.id['name']}", *(f"OOD: {ood}" for ood in counts)),
            [
                (
                    detector,
                    _share(shares[evaluation.id["name"]], evaluation.id["count"]),
                    *(_share(shares[ood], count) for ood, count in counts.items()),
                )
                for detector, shares in evaluation.flagged.items()
            ],
        )
    ]


def _share(share: float, count: int) -> str:
    """In per cent, with twice its standard error."""
    return f"{100 * share:.1f} ± {196 * np.sqrt(share * (1.0 - share) / count):.1f} %"


def _against(evaluation: Evaluation, ood: str, plots: Mapping[str, bytes]) -> list[Block]:
    id_name = evaluation.id["name"]
    rows = {}
    for name, row in zip(
        [name for name in evaluation.scores for _ in range(_count_sets(evaluation))],
        evaluation.rows,
        strict=True,
    ):
        if row["ood"] == ood:
            rows[name] = row
    medians = "; ".join(
        f"{detector}: median {np.median(scores[id_name]):.4g} on ID, {np.median(scores[ood]):.4g} "
        f"on OOD, threshold {threshold_at_tpr(scores[id_name], _TPR):.4g}"
        for detector, scores in evaluation.scores.items()
    )
    figures = "; ".join(
        f"{detector}: AUROC {100 * row['auroc']:.1f} %, FPR95 {100 * row['fpr95']:.1f} %"
        for detector, row in rows.items()
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


def _count_sets(evaluation: Evaluation) -> int:
    return len(evaluation.rows) // len(evaluation.scores)


def _surprises(evaluation: Evaluation, oods: list[str]) -> list[Block]:
    blocks = []
    for detector, sets in evaluation.extremes.items():
        for name in (evaluation.id["name"], *oods):
            examples = sets.get(name, [])
            if not examples:
                continue
            is_id = name not in oods
            kind = "lowest-scoring ID" if is_id else "highest-scoring OOD"
            blocks.append(
                page.pictures(
                    f"{detector}: {kind} images, {name}",
                    [
                        (
                            pixels,
                            f"Example {number} of {name}, score {score:.4g}",
                            f"#{number}: {score:.4g}",
                        )
                        for score, number, pixels in examples
                    ],
                )
            )
    return blocks
