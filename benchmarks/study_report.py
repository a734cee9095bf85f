"""Figures and tables of docs/study.md from the study's CSV files, and from nothing else.

    python benchmarks/study_report.py

Writes to docs/results/study: `TASK.md` (every candidate and detector), `summary.csv` (what the
selection rule chose, and its regret), `against.csv` (GQ against the best alternative),
`increments.csv` (what GQ adds to the same loss), `changed.csv` (what the right second derivative
changed; `wrong_gradient` has the rows from before), and PNG figures. Then
`python benchmarks/tables.py` fills the tables of docs/study.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

import matplotlib.pyplot as plt
import study
from csv_rows import read_csv, write_csv

from keras_lodin.metrics.over_seeds import Spread, paired_difference, spread
from keras_lodin.report.plot_style import COLOURS
from keras_lodin.utils.files import atomic_write
from keras_lodin.workflows.sweeps import Candidate, Recommendation, recommend

PRIMARY = "odin"
# Rows from before the second derivatives of BatchNormalization were mended: what they trained, and
# the controls.
WRONG = study.RESULTS / "wrong_gradient"


@dataclass(frozen=True)
class Results:
    """The rows of one task.

    Attributes:
        task: what was run.
        rows: (candidate, seed, detector) -> row of the CSV.
        names: candidates that have every seed that the control has, and never diverged.
        incomplete: name -> why it is not among them.
    """

    task: study.Task
    rows: dict[tuple[str, int, str], dict[str, str]]
    names: list[str]
    incomplete: dict[str, str]

    def values(self, name: str, figure: str, detector: str = PRIMARY) -> dict[int, float]:
        """Seed -> value. `test_auroc` and the like are means over the OOD sets."""
        found = {}
        for (candidate, seed, scored_by), row in self.rows.items():
            if (candidate, scored_by) == (name, detector):
                cells = [
                    float(value)
                    for column, value in row.items()
                    if (column == figure or column.startswith(f"{figure}:")) and value
                ]
                found[seed] = fmean(cells) if cells else math.nan
        return found

    def cost(self, name: str) -> float:
        """Plain steps per step."""
        classes = 7 if self.task.name.startswith("digits") else 10
        return next(c for c in self.task.candidates if c.name == name).cost(classes)

    def gain(self, name: str, figure: str, detector: str = PRIMARY) -> Spread:
        """Paired difference to the control."""
        return paired_difference(
            self.values(name, figure, detector), self.values("off", figure, detector)
        )

    def admitted(self, name: str) -> bool:
        """As the selection rule sees it, without its condition on the separation."""
        return self.gain(name, "validation_accuracy").mean >= -0.005 - 1e-12

    def best(self, names: Iterable[str], figure: str, detector: str) -> str | None:
        """Of the admitted, the one with the largest mean; None if there is none."""
        admitted = [name for name in names if name == "off" or self.admitted(name)]
        if not admitted:
            return None
        return max(admitted, key=lambda n: fmean(self.values(n, figure, detector).values()))


def load(task: study.Task, folder: Path = study.RESULTS) -> Results | None:
    """The committed rows of a task, or None if it has not run."""
    path = folder / f"{task.name}.csv"
    if not path.exists():
        return None
    rows = {(r["candidate"], int(r["seed"]), r["detector"]): r for r in read_csv(path)}
    seeds = {seed for name, seed, _ in rows if name == "off"}
    names, incomplete = [], {}
    for name in dict.fromkeys(name for name, _, _ in rows):
        own = {seed: row for (n, seed, _), row in rows.items() if n == name}
        diverged = sum(row["diverged"] == "True" for row in own.values())
        if diverged:
            incomplete[name] = f"diverged with {diverged} of {len(own)} seeds"
        elif own.keys() < seeds:
            incomplete[name] = f"ran with {len(own)} of {len(seeds)} seeds"
        else:
            names.append(name)
    return Results(task, rows, names, incomplete)


def is_gq(name: str) -> bool:
    return "gq " in name


def alternatives(names: Iterable[str]) -> list[str]:
    """Ways to train without GQ other than the control."""
    return [name for name in names if name != "off" and not is_gq(name)]


def families(names: Iterable[str]) -> dict[str, list[str]]:
    """Names by what kind of training they are, in the order of the tables."""
    kinds: dict[str, Callable[[str], bool]] = {
        "plain": lambda n: n == "off",
        "GQ": lambda n: n.startswith("gq "),
        "GQ on another loss": lambda n: "+ gq" in n,
        "LogitNorm": lambda n: n.startswith("logit_norm") and not is_gq(n),
        "label smoothing": lambda n: n.startswith("label_smoothing") and not is_gq(n),
        "gradient penalty": lambda n: n.startswith("gradient_penalty"),
    }
    names = list(names)
    found = {kind: [name for name in names if fits(name)] for kind, fits in kinds.items()}
    return {kind: members for kind, members in found.items() if members}


def rule(results: Results, names: Iterable[str], detector: str) -> Recommendation:
    """What the selection rule says, among some of the candidates."""
    taken = ["off", *(name for name in names if name != "off")]
    return recommend(
        {name: results.values(name, "validation_auroc", detector) for name in taken},
        {name: results.values(name, "validation_accuracy", detector) for name in taken},
    )


def text(value: Spread, sign: str = "", digits: int = 2) -> str:
    half = "" if value.half_width is None else f" ± {100 * value.half_width:.{digits}f}"
    return f"{100 * value.mean:{sign}.{digits}f}{half}"


def task_page(results: Results) -> str:
    """Every candidate and detector of a task, as Markdown."""
    task = results.task
    sets = ", ".join(study.short(name) for name in task.test_ood)
    lines = [
        f"# Study: {task.name}",
        "",
        f"Trained on `{task.train}`, tested on `{task.test[0]}` against {sets}. AUROC and FPR95 "
        "(ID positive) are means over these sets, per cent; ± is the half-width of Student's 95 % "
        f"interval over {len(results.values('off', 'test_auroc'))} seeds. Differences are paired "
        "by seed with plain training (off). Cost: plain steps per step, the floor. "
        "[The design](../../study.md).",
        "",
        "| training | cost | ID accuracy | calibration error | quotient | detector | AUROC "
        "| AUROC - off | FPR95 | FPR95 - off |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name in results.names:
        for place, detector in enumerate(study.DETECTORS):
            accuracy = text(spread(results.values(name, "test_accuracy")), digits=1)
            error = text(spread(results.values(name, "calibration_error")), digits=1)
            quotient = fmean(results.values(name, "quotient").values())
            first = (
                *(name, f"{results.cost(name):g}", accuracy, error),
                "" if math.isnan(quotient) else f"{quotient:.3f}",
            )
            cells = [*(first if place == 0 else [""] * 5), detector]
            for figure in ("test_auroc", "test_fpr95"):
                cells.append(text(spread(results.values(name, figure, detector))))
                gain = "" if name == "off" else text(results.gain(name, figure, detector), "+")
                cells.append(gain)
            lines.append(f"| {' | '.join(cells)} |")
    lines.append("")
    lines += [f"{name}: {why}.\n" for name, why in results.incomplete.items()]
    return "\n".join(lines).rstrip() + "\n"


def summary_rows(results: Results) -> list[dict[str, object]]:
    """What the rule chose for each detector, of GQ alone and of everything, and its regret."""
    rows = []
    for detector in study.DETECTORS:
        for among, names in (
            ("GQ", [n for n in results.names if is_gq(n)]),
            ("all", [n for n in results.names if n != "off"]),
        ):
            choice = rule(results, names, detector).choice
            hindsight = results.best(["off", *names], "test_auroc", detector) or "off"
            regret = paired_difference(
                results.values(hindsight, "test_auroc", detector),
                results.values(choice, "test_auroc", detector),
            )
            gain = results.gain(choice, "test_auroc", detector)
            rows.append(
                {
                    "task": results.task.name,
                    "detector": detector,
                    "among": among,
                    "choice": choice,
                    "choice_gain": text(gain, "+") if choice != "off" else "0",
                    "hindsight": hindsight,
                    "hindsight_gain": text(results.gain(hindsight, "test_auroc", detector), "+")
                    if hindsight != "off"
                    else "0",
                    "regret": f"{100 * regret.mean:.2f}",
                }
            )
    return rows


def against_rows(results: Results) -> list[dict[str, object]]:
    """The best GQ of hindsight against the best alternative of hindsight, detector by detector."""
    rows = []
    gq_names = [name for name in results.names if is_gq(name)]
    others = alternatives(results.names)
    if not others:
        return []
    for detector in study.DETECTORS:
        alternative = results.best(["off", *others], "test_auroc", detector) or "off"
        chosen = rule(results, gq_names, detector).choice
        best = results.best(gq_names, "test_auroc", detector)
        for how, name in (("chosen by the rule", chosen), ("best in hindsight", best)):
            if name is None:
                continue
            difference = paired_difference(
                results.values(name, "test_auroc", detector),
                results.values(alternative, "test_auroc", detector),
            )
            rows.append(
                {
                    "task": results.task.name,
                    "detector": detector,
                    "gq": name,
                    "how": how,
                    "alternative": alternative,
                    "difference": text(difference, "+"),
                    "accuracy_gain": "0"
                    if name == "off"
                    else text(results.gain(name, "test_accuracy"), "+"),
                }
            )
    return rows


def increment_rows(results: Results) -> list[dict[str, object]]:
    """What GQ adds to the loss it is on top of, candidate by candidate."""
    rows = []
    for candidate in results.task.candidates:
        base = replace(Candidate(), loss=candidate.loss).name
        if not candidate.gq_weight or not {candidate.name, base} <= set(results.names):
            continue
        row: dict[str, object] = {
            "task": results.task.name,
            "gq": candidate.name,
            "base": base,
            "accuracy": text(_difference(results, candidate.name, base, "test_accuracy"), "+"),
        }
        for detector in study.DETECTORS:
            row[detector] = text(
                _difference(results, candidate.name, base, "test_auroc", detector), "+"
            )
        rows.append(row)
    return rows


def _difference(
    results: Results, first: str, second: str, figure: str, detector: str = PRIMARY
) -> Spread:
    return paired_difference(
        results.values(first, figure, detector), results.values(second, figure, detector)
    )


def method_rows(results: Results) -> list[dict[str, object]]:
    """Each family's setting of the best validation figures for ODIN, seen by every detector."""
    rows = []
    for family, members in families(results.names).items():
        name = results.best(members, "validation_auroc", PRIMARY)
        row: dict[str, object] = {
            "task": results.task.name,
            "method": family,
            "setting": name or "each costs more than 0.5 points of accuracy",
        }
        if name is not None:
            row |= {
                "cost": f"{results.cost(name):g}",
                "id_accuracy": text(spread(results.values(name, "test_accuracy")), digits=1),
                "calibration_error": text(
                    spread(results.values(name, "calibration_error")), digits=1
                ),
            }
            for detector in study.DETECTORS:
                for figure in ("auroc", "fpr95"):
                    values = results.values(name, f"test_{figure}", detector)
                    row[f"{detector}_{figure}"] = text(spread(values), digits=1)
        rows.append(row)
    return rows


def changed_rows(before: Results, after: Results) -> list[dict[str, object]]:
    """Gains over the control with the wrong second derivative and with the right one.

    Of the seeds that ran with both, two or more.
    """
    rows = []
    for candidate in after.task.candidates:
        name = candidate.name
        if candidate == study.OFF or not (name in before.names and name in after.names):
            continue
        seeds = set.intersection(
            *(
                set(results.values(who, "test_accuracy"))
                for results in (before, after)
                for who in (name, "off")
            )
        )
        if len(seeds) < 2:
            continue
        row: dict[str, object] = {"task": after.task.name, "training": name, "seeds": len(seeds)}
        for detector, figure in (
            *(("odin", "test_auroc"), ("msp", "test_auroc"), ("energy", "test_auroc")),
            ("odin", "test_accuracy"),
        ):
            for when, results in (("before", before), ("after", after)):
                own, control = (
                    {s: v for s, v in results.values(who, figure, detector).items() if s in seeds}
                    for who in (name, "off")
                )
                column = "accuracy" if figure == "test_accuracy" else detector
                row[f"{column} {when}"] = text(paired_difference(own, control), "+")
        rows.append(row)
    return rows


def plot_weights(results: Results, path: Path) -> None:
    """Gain over plain training against the weight, form by form."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), constrained_layout=True)
    for axis, (column, label) in zip(
        axes,
        (
            ("test_auroc", "ODIN AUROC - off, points"),
            ("test_accuracy", "ID accuracy - off, points"),
        ),
        strict=True,
    ):
        for colour, form in zip(COLOURS, ("softmax", "logits", "pooled"), strict=False):
            points = [
                (candidate.gq_weight, results.gain(candidate.name, column))
                for candidate in results.task.candidates
                if candidate.form == form
                and candidate.estimator == "exact"
                and candidate.gq_weight
                and candidate.loss == "cross_entropy"
                and candidate.temperature == 1.0
                and candidate.name in results.names
            ]
            points.sort(key=lambda point: point[0])
            axis.errorbar(
                [weight for weight, _ in points],
                [100 * gain.mean for _, gain in points],
                [100 * (gain.half_width or 0.0) for _, gain in points],
                marker="o",
                capsize=3,
                color=colour,
                label=form,
            )
        axis.axhline(0.0, color="0.5", linewidth=0.8)
        axis.set_xscale("symlog", linthresh=1e-6)
        axis.set_xticks([-10, -0.1, -1e-3, 0, 1e-3, 0.1, 10])
        axis.set_xlabel("GQ weight")
        axis.set_ylabel(label)
        axis.set_yscale("symlog", linthresh=1.0)
    axes[0].legend(title="form, exact")
    figure.suptitle(f"{results.task.name}: the weight's size and sign")
    save(figure, path)


def plot_candidates(results: Results, path: Path) -> None:
    """Every candidate's gain in the primary outcome, best first."""
    names = [name for name in results.names if name != "off"]
    names.sort(key=lambda name: results.gain(name, "test_auroc").mean)
    figure, axis = plt.subplots(figsize=(8, 0.2 * len(names) + 1.5), constrained_layout=True)
    for height, name in enumerate(names):
        gain = results.gain(name, "test_auroc")
        axis.errorbar(
            100 * gain.mean,
            height,
            xerr=100 * (gain.half_width or 0.0),
            marker="o" if results.admitted(name) else "x",
            color=COLOURS[0] if is_gq(name) else COLOURS[1],
            capsize=2,
            markersize=4,
            linewidth=1,
        )
    axis.axvline(0.0, color="0.5", linewidth=0.8)
    axis.set_yticks(range(len(names)), names, fontsize=7)
    axis.set_ylim(-1, len(names))
    axis.set_xscale("symlog", linthresh=2.0)
    axis.set_xlabel("ODIN AUROC - off, points, with 95 % intervals over seeds", fontsize=8)
    axis.set_title(
        f"{results.task.name}: with GQ in blue, without in orange; crosses cost accuracy",
        fontsize=9,
    )
    save(figure, path)


def plot_rule(every: list[Results], path: Path) -> None:
    """Whether gains on made-up data are gains on test data."""
    figure, axis = plt.subplots(figsize=(6, 5), constrained_layout=True)
    for colour, results in zip(COLOURS, every, strict=False):
        names = [name for name in results.names if name != "off" and results.admitted(name)]
        axis.scatter(
            [100 * results.gain(name, "validation_auroc").mean for name in names],
            [100 * results.gain(name, "test_auroc").mean for name in names],
            color=colour,
            label=results.task.name,
            alpha=0.8,
        )
    for line in (axis.axhline, axis.axvline):
        line(0.0, color="0.5", linewidth=0.8)
    axis.set_xlabel("gain on made-up OOD data, points of ODIN AUROC")
    axis.set_ylabel("gain on the OOD test sets, points")
    axis.set_title("Each point: a way to train that keeps the accuracy")
    axis.legend()
    save(figure, path)


def save(figure: plt.Figure, path: Path) -> None:
    with atomic_write(path) as temporary:
        # The same file from the same data.
        figure.savefig(temporary, format="png", dpi=120, metadata={"Software": None})
    plt.close(figure)


def main() -> None:
    plt.switch_backend("agg")
    every = []
    for task in study.tasks(Path("."), Path(".")).values():
        results = load(task)
        if results is None:
            continue
        every.append(results)
        with atomic_write(study.RESULTS / f"{task.name}.md") as temporary:
            temporary.write_text(task_page(results), encoding="utf-8")
    by_task = {results.task.name: results for results in every}
    large = [results for results in every if alternatives(results.names)]
    write_csv(
        study.RESULTS / "methods.csv",
        [row for results in large for row in method_rows(results)],
    )
    write_csv(
        study.RESULTS / "summary.csv", [row for results in every for row in summary_rows(results)]
    )
    write_csv(
        study.RESULTS / "against.csv", [row for results in large for row in against_rows(results)]
    )
    write_csv(
        study.RESULTS / "increments.csv",
        [row for results in every for row in increment_rows(results)],
    )
    write_csv(
        study.RESULTS / "changed.csv",
        [
            row
            for results in every
            if (before := load(results.task, WRONG))
            for row in changed_rows(before, results)
        ],
    )
    plot_weights(by_task["digits"], study.RESULTS / "weights.png")
    for results in large:
        plot_candidates(results, study.RESULTS / f"{results.task.name}.png")
    plot_rule(large, study.RESULTS / "rule.png")


if __name__ == "__main__":
    main()
