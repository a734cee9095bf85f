"""Whether to switch GQ on, and how, found out on the user's own data."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from keras_lodin import data, models
from keras_lodin.data.specification import parse
from keras_lodin.data.value_range import Bounds
from keras_lodin.detectors import DETECTORS, registry
from keras_lodin.models.head import find_head
from keras_lodin.quotient.settings import check_count
from keras_lodin.report import page
from keras_lodin.utils.checked_path import checked_path
from keras_lodin.utils.files import atomic_write, file_digests, write_file, write_together
from keras_lodin.utils.foreign_text import csv_cell, csv_text, encodable
from keras_lodin.utils.numbers import check_whole, checked_number
from keras_lodin.utils.versions import package_versions
from keras_lodin.workflows.loading import adapted, load_detectors, recorded_range
from keras_lodin.workflows.option_checks import (
    check_data_dir,
    check_ood,
    check_validation,
    warn_of_unreadable,
)
from keras_lodin.workflows.run_folder import JobFolder, results_folder
from keras_lodin.workflows.sweeps import Candidate, Recommendation, recommend
from keras_lodin.workflows.sweeps.halving import Plan, Rung, plan
from keras_lodin.workflows.sweeps.page import Figure, TrainingRow, sweep_report
from keras_lodin.workflows.sweeps.recommendation import SCREENING_ALLOWANCE
from keras_lodin.workflows.sweeps.separation import (
    SCRAMBLED,
    Measured,
    mean_separation,
    measure,
    validation_specifications,
    with_scrambled,
)
from keras_lodin.workflows.train_network import (
    DivergenceError,
    check_class_count,
    checked_settings,
    count_classes,
    train,
)

OFF = Candidate()
# The most promising first: what gained on a network that had learned its task (docs/full_scale.md),
# and what the study (docs/study.md) left over, of the alternatives and of GQ.
CANDIDATES = tuple(
    Candidate.parse(name)
    for name in (
        "logit_norm:0.04",
        "logit_norm:1",
        "label_smoothing:0.1",
        "logit_norm:0.3",
        "gq logits sampled 1",
        "label_smoothing:0.1 + gq logits sampled 1",
        "gq pooled exact 0.1",
        "gradient_penalty 0.01",
        "gq softmax exact 0.1",
        "gq share exact -1",
    )
)
_DEAREST = 20.0


def usual_candidates(num_classes: int) -> list[Candidate]:
    """Those of `CANDIDATES` that a classifier can be trained with at a bearable price.

    Args:
        num_classes: of the classifier. With two the softmax form carries no signal; with many
            the exact estimator costs more than 20 plain steps.
    """
    return [
        candidate
        for candidate in CANDIDATES
        if candidate.cost(num_classes) <= _DEAREST
        and not (num_classes == 2 and candidate.gq_weight and candidate.form == "softmax")
    ]


@dataclass(frozen=True)
class Sweep:
    """What a sweep found.

    Attributes:
        recommendation: what the selection rule says of the last rung.
        choice: the recommended way to train; plain training if nothing is better.
        plan: the rungs, and what they cost.
        rows: one for each training: `rung`, `epochs`, `candidate`, `seed`, `id_accuracy`,
            `separation`, and `auroc` by OOD set; or `diverged`.
        report: what `report.html` says, as Markdown.
        summary: what `sweep.json` holds.
    """

    recommendation: Recommendation
    choice: Candidate
    plan: Plan
    rows: list[TrainingRow] = field(repr=False)
    report: str = field(repr=False)
    summary: dict[str, Any] = field(repr=False)


def sweep(
    id: str,
    model: str,
    output: str | os.PathLike[str] = "sweep",
    *,
    budget: float = 40.0,
    candidates: Sequence[Candidate] | None = None,
    detector: str = "odin",
    seeds: int = 5,
    epochs: int = 20,
    batch_size: int = 64,
    learning_rate: float = 0.1,
    weight_decay: float = 5e-4,
    augment: str | None = None,
    freeze_batch_norm: bool = False,
    validation: str | None = None,
    ood: Sequence[str] = (),
    count: int = 500,
    input_range: Bounds | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    command: str | None = None,
    report: Callable[[str], None] = print,
    verbose: int | str = 0,
) -> Sweep:
    """Searches for a way to train that helps on one's own data, or finds that none does.

    No out-of-distribution data is needed. Ways to train are compared by how well a detector tells
    ID validation data from made-up data: noise, patches of photographs, and copies of the
    validation data whose blocks changed places. Many candidates are trained briefly, the best of
    them longer, the last two at full length with every seed, beside plain training with the same
    seeds; then `recommend` speaks. Test data is not touched.

    It can be killed at any moment and goes on when it is started again. The folder holds
    `report.html`, `sweep.json`, `sweep.csv` and every trained network in `runs`.

    Args:
        id: specification of the in-distribution data: its "train" part is trained on.
        model: name of a network, or path of a `.keras` file to fine-tune.
        output: folder of the sweep.
        budget: how much to train at most, in plain trainings of `epochs` epochs, by the floor of
            each candidate's cost. Candidates that it does not allow are left out, and said so.
        candidates: ways to train, the most promising first; None for
            `usual_candidates`, GQ of both signs in several forms and the alternatives to it.
        detector: name of the detector that the classifier is to be wrapped in.
        seeds: of the last rung, two or more.
        epochs: length of a full training; so for all that follow, see `train`.
        batch_size: samples per step.
        learning_rate: the highest, at the start.
        weight_decay: L2 penalty.
        augment: None or "crop-flip".
        freeze_batch_norm: whether BatchNormalization stays as it is.
        validation: specification of labelled ID data to validate on; None for the "calibration"
            part of `id`, where it has one.
        ood: specifications of further OOD validation data, their "calibration" part. Never the
            data that will be reported on.
        count: examples of each made-up OOD set.
        input_range: range of the classifier's inputs; by default judged by its first layers.
        data_dir: folder of the TensorFlow datasets.
        command: the command line to record.
        report: is given a line of text before each training and at the end of each rung.
        verbose: of each training: 0 for silence, 1 for a progress bar, "auto" for a bar on a
            terminal and a line per epoch elsewhere.

    Returns:
        a `Sweep`.

    Raises:
        ValueError: for a budget too small, settings that do not go together, a folder that holds
            another sweep, or data without a part to validate on.

    Example:
    ```python
    found = keras_lodin.sweep("tfds:cifar10", "resnet20", "sweep", epochs=10)
    print(found.report)
    keras_lodin.workflows.train("tfds:cifar10", "resnet20", "run", **found.choice.settings)
    ```
    """
    DETECTORS.find(detector)
    if validation is None and not parse(id).has_parts:
        raise ValueError(
            f"All of {id!r} is trained on, so nothing is left to validate on. Name labelled data "
            "of the same kind as `validation` (--validation SPEC). Received: validation=None"
        )
    check_validation(id, validation)
    check_count("count", count)
    check_whole("seeds", seeds, "2 or more: one training each decides nothing")
    checked_number("budget", budget, lambda value: value > 0.0, "a finite number above 0")
    chosen = None if candidates is None else list(candidates)
    _check_candidates(chosen or [])
    settings: dict[str, Any] = {
        "id": id,
        "model": str(checked_path("model", model)),
        "budget": budget,
        "candidates": None if chosen is None else [candidate.name for candidate in chosen],
        "detector": detector,
        "seeds": seeds,
        "validation": validation,
        "ood": list(ood),
        "count": count,
    }
    training = {
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "weight_decay": weight_decay,
        "augment": augment,
        "freeze_batch_norm": freeze_batch_norm,
        "input_range": input_range,
    }
    checked_settings(
        {"id": id, "loss_weights": (1.0,), "seed": 0, "validation": validation}
        | OFF.settings
        | training
    )
    # What is made up takes part anyway.
    check_ood(id, (*validation_specifications((1, 1, 1), count), *ood))
    check_data_dir(data_dir, id, validation, *ood)
    folder = checked_path("output", output)
    with results_folder(output, id, validation, *ood):
        return _Runner(folder, settings, training, data_dir, report, verbose).sweep(chosen, command)


@dataclass
class _Runner:
    """Trains and measures in a folder; what is there already is not repeated."""

    _folder: Path
    _settings: dict[str, Any]
    _training: dict[str, Any]
    _data_dir: str | os.PathLike[str] | None
    _report: Callable[[str], None]
    _verbose: int | str
    _validation_data: tuple[object, dict[str, object]] | None = None
    _said_assumption: bool = False

    def sweep(self, chosen: list[Candidate] | None, command: str | None) -> Sweep:
        """Begins or goes on in a folder that no other run is at work in."""
        settings, training, seeds = self._settings, self._training, self._settings["seeds"]
        classes = self._check_and_count_classes(chosen or [])
        if chosen is None:
            chosen = usual_candidates(classes)
        costs = [candidate.cost(classes) for candidate in chosen]
        made = plan(costs, training["epochs"], settings["budget"], seeds)
        self._check_same_sweep()
        self._report(_plan_text(made, chosen))

        entered, rows = chosen[: made.candidates], []
        for number, rung in enumerate(made.rungs, start=1):
            found = self._rung(number, len(made.rungs), rung, [OFF, *entered])
            rows += found
            if number < len(made.rungs):
                kept = _best(found, entered)[: made.rungs[number].candidates]
                self._report(
                    f"Rung {number}: {', '.join(c.name for c in kept) or 'nothing'} goes on."
                )
                entered = kept
        recommendation = _recommendation(found, seeds)
        choice = {c.name: c for c in (OFF, *chosen)}[recommendation.choice]
        versions = package_versions()
        written = sweep_report(
            settings | training,
            *(made, rows, recommendation, choice, chosen[made.candidates :], versions, command),
        )
        summary = {
            "recommendation": recommendation.choice,
            "reason": recommendation.reason,
            "settings": settings | training,
            "cost": made.cost,
            "rows": rows,
            "versions": versions,
            "command": command,
        }
        _write(self._folder, summary, rows, page.page(*written))
        return Sweep(recommendation, choice, made, rows, page.markdown(*written), summary)

    def _check_and_count_classes(self, candidates: list[Candidate]) -> int:
        """Builds the classifier once: what is wrong with it is said before anything is trained."""
        model = self._settings["model"]
        if Path(model).suffix == ".keras":
            classifier = models.load(model)
        else:
            source = data.load(self._settings["id"], part="train", data_dir=self._data_dir)
            if not source.labelled:
                raise ValueError(
                    "A sweep needs labelled data. "
                    f"Received: id={self._settings['id']!r}, which has no labels"
                )
            classes = count_classes(source)
            check_class_count(classes, self._settings["id"])
            classifier = models.build(model, classes, source.shape)
        head = find_head(classifier, None)
        registry.build(self._settings["detector"], classifier, self._training["input_range"])
        for candidate in candidates:
            if candidate.gq_weight:
                candidate.check_classifier(head)
        return head.num_classes

    def _check_same_sweep(self) -> None:
        """Records what this sweep is; raises ValueError if the folder holds another."""
        settings, job = self._settings | self._training, JobFolder(self._folder, "sweep")
        named = [settings["id"], settings["validation"], *settings["ood"]]
        # Figures that were found on other data must not stand beside new ones.
        files = {
            name: digest
            for name in named
            if name is not None and (digest := data.files_identity(name)) is not None
        }
        before = job.earlier_state("settings.json")
        if before is None:
            job.check_begins()
            job.record("settings.json", {**settings, "data": files})
            return
        known, now = (
            {name: {"files": digest} for name, digest in digests.items()}
            for digests in (before.pop("data", {}), files)
        )
        job.check_same_settings(before, settings)
        job.check_same_data(known, now)

    def _rung(
        self, number: int, rungs: int, rung: Rung, candidates: list[Candidate]
    ) -> list[TrainingRow]:
        """Every training of one rung, seed by seed."""
        jobs = [(candidate, seed) for seed in range(rung.seeds) for candidate in candidates]
        rows = []
        for place, (candidate, seed) in enumerate(jobs, start=1):
            self._report(
                f"Rung {number} of {rungs}, training {place} of {len(jobs)}: {candidate.name}, "
                f"{rung.epochs} epochs, seed {seed}"
            )
            figures = self._figures(candidate, seed, rung.epochs)
            row: TrainingRow = {
                "rung": number,
                "epochs": rung.epochs,
                "candidate": candidate.name,
                "seed": seed,
                "diverged": "diverged" in figures,
            }
            if not row["diverged"]:
                detector = self._settings["detector"]
                row["id_accuracy"] = figures["id_accuracy"]
                row["separation"] = mean_separation(figures, detector)
                row["auroc"] = figures["auroc"][detector]
            rows.append(row)
        return rows

    def _figures(self, candidate: Candidate, seed: int, epochs: int) -> Measured:
        run = self._folder / "runs" / f"{epochs}-epochs" / candidate.folder / f"seed{seed}"
        cached = run.parent / f"seed{seed}.json"
        if cached.exists():
            figures: Measured = json.loads(cached.read_text(encoding="utf-8"))
            return figures
        try:
            with warnings.catch_warnings():
                # The short trainings of the first rungs may know little; the report has what.
                warnings.filterwarnings("ignore", ".* no better than chance", UserWarning)
                train(
                    self._settings["id"],
                    self._settings["model"],
                    run,
                    seed=seed,
                    validation=self._settings["validation"],
                    data_dir=self._data_dir,
                    verbose=self._verbose,
                    **(self._training | candidate.settings | {"epochs": epochs}),
                )
        except DivergenceError as error:
            figures = {"diverged": str(error)}
        else:
            figures = self._measured(run)
        with atomic_write(cached) as temporary:
            temporary.write_text(json.dumps(figures), encoding="utf-8")
        return figures

    def _say_assumption(self, run: Path) -> None:
        """Says once what the trainings assume of their inputs' range."""
        facts = json.loads((run / "run.json").read_text(encoding="utf-8"))
        found = recorded_range(facts)
        if found and found.assumption and not self._said_assumption:
            self._report(found.assumption)
        self._said_assumption = True

    def _measured(self, run: Path) -> Measured:
        self._say_assumption(run)
        wrapped, inputs = load_detectors(
            *(run, [self._settings["detector"]], self._training["input_range"], self._data_dir)
        )
        wrapped = adapted(
            wrapped,
            inputs,
            self._settings["id"],
            None if parse(self._settings["id"]).has_parts else self._settings["id"],
            named=True,
            batch_size=128,
            verbose=0,
        )
        if self._validation_data is None:
            validation = self._settings["validation"] or self._settings["id"]
            source = inputs.load(validation, "calibration")
            id_data, scrambled = with_scrambled(source.with_labels_of(inputs.class_names))
            warn_of_unreadable(source)
            made_up = validation_specifications(source.shape, self._settings["count"])
            others = {
                name: inputs.load(name, "calibration")
                for name in (*made_up, *self._settings["ood"])
            }
            self._validation_data = id_data, {**others, SCRAMBLED: scrambled}
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".* no better than chance", UserWarning)
            return measure(wrapped, *self._validation_data)


def _check_candidates(candidates: list[Candidate]) -> None:
    names = [candidate.name for candidate in candidates]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated or OFF.name in names:
        raise ValueError(
            "Each candidate must be given once, and plain training not at all: it takes part "
            f"anyway. Received: {', '.join(repeated or [OFF.name])}"
        )


def _best(rows: list[TrainingRow], candidates: list[Candidate]) -> list[Candidate]:
    """Those of a screening rung that did not diverge: the accurate first, by separation."""
    found = _recommendation(rows, 1)

    def rank(candidate: Candidate) -> tuple[bool, float]:
        admitted = found.admits(candidate.name, SCREENING_ALLOWANCE)
        return admitted, found.separation[candidate.name].mean

    return sorted((c for c in candidates if c.name in found.separation), key=rank, reverse=True)


def _recommendation(rows: list[TrainingRow], seeds: int) -> Recommendation:
    """What the rule says of the rows of one rung."""
    by_candidate: dict[str, list[TrainingRow]] = {}
    for row in rows:
        if not row["diverged"]:
            by_candidate.setdefault(row["candidate"], []).append(row)
    # One that diverges with some seeds is not to be recommended for the others.
    whole = {name: found for name, found in by_candidate.items() if len(found) == seeds}
    if OFF.name not in whole:
        raise ValueError(
            "Plain training diverged, so there is nothing to compare with. Lower the learning "
            "rate. Received: a loss of plain training that is no finite number"
        )

    def by_seed(figure: Figure) -> dict[str, dict[int, float]]:
        return {name: {row["seed"]: row[figure] for row in found} for name, found in whole.items()}

    return recommend(by_seed("separation"), by_seed("id_accuracy"))


def _plan_text(made: Plan, candidates: list[Candidate]) -> str:
    rungs = "; ".join(
        f"{rung.candidates} candidates for {rung.epochs} epochs"
        + (f" with {rung.seeds} seeds" if rung.seeds > 1 else "")
        for rung in made.rungs
    )
    left_out = [candidate.name for candidate in candidates[made.candidates :]]
    return (
        f"Plan: {rungs}; plain training beside each. At most {made.cost:.1f} plain trainings."
        + (f" The budget leaves out: {', '.join(left_out)}." if left_out else "")
    )


def _write(folder: Path, summary: dict[str, Any], rows: list[TrainingRow], html: str) -> None:
    sets = list(dict.fromkeys(name for row in rows for name in row.get("auroc", ())))
    names = ["rung", "epochs", "candidate", "seed", "diverged", "id_accuracy", "separation", *sets]
    flat = ({**row, **row.get("auroc", {})} for row in rows)
    cells = ([csv_cell(row.get(name, "")) for name in names] for row in flat)
    with write_together(folder, "sweep.json") as written:
        write_file(written / "sweep.csv", csv_text(map(csv_cell, names), cells).encode())
        (written / "report.html").write_text(html, encoding="utf-8")
        document = {**encodable(summary), "files": file_digests(written)}
        text = json.dumps(document, indent=2)
        (written / "sweep.json").write_text(f"{text}\n", encoding="utf-8")
