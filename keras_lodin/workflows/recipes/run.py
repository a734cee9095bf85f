"""Runs rows of the poster, on several seeds, and compares them."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import keras

from keras_lodin import data
from keras_lodin.evaluation.document import Results, Row
from keras_lodin.metrics.over_seeds import FIGURES, Spread, over_ood_sets, paired_difference, spread
from keras_lodin.utils.files import atomic_write, check_fillable, write_together
from keras_lodin.utils.folder_claim import claimed
from keras_lodin.utils.numbers import check_whole
from keras_lodin.workflows.evaluate import evaluate_models
from keras_lodin.workflows.recipes import RECIPES, SCALES, Recipe
from keras_lodin.workflows.recipes.page import recipe_page
from keras_lodin.workflows.recipes.recipe import PRETRAINED, Mean, Training
from keras_lodin.workflows.recipes.scales import Data, OODSet, Scale
from keras_lodin.workflows.run_folder import JobFolder
from keras_lodin.workflows.train_network import train

# Beside a row's own detector: what the poster's "ODIN" was in print, and what it was in code.
BESIDE = ("odin", "max_logit")


def run_recipe(
    name: str,
    output: str | os.PathLike[str] = "recipes",
    *,
    scale: str = "full",
    seeds: int = 1,
    data_dir: str | os.PathLike[str] | None = None,
    pretrained: str | os.PathLike[str] | None = None,
    skip_missing: bool = False,
    resamples: int = 1000,
    command: str | None = None,
    report: Callable[[str], None] = print,
    verbose: int | str = "auto",
) -> dict[str, Any]:
    """Runs one row: data, network, training, detector, evaluation, report, for each seed.

    It can be killed at any moment and goes on when it is started again. Rows that share a trained
    network share its folder in `output/runs`: it is trained and evaluated once, with every
    detector that can wrap it.

    Args:
        name: of the recipe, a key of `keras_lodin.workflows.recipes.RECIPES`.
        output: folder of all recipes. `NAME.json` in it is the row's summary, `NAME.html` the same
            as a page.
        scale: a key of `keras_lodin.workflows.recipes.SCALES`.
        seeds: number of seeds: 0, 1, ...
        data_dir: folder of the TensorFlow datasets, and of the folders of images that TensorFlow
            Datasets does not have.
        pretrained: a `.keras` file, for the recipes that begin with a trained classifier.
        skip_missing: whether to leave out OOD sets that are missing, instead of stopping.
        resamples: number of bootstrap resamples behind the intervals of each evaluation.
        command: the command line to record in the summary.
        report: is given a line of text before each part of the work.
        verbose: 0 for silence, 1 for progress bars, "auto" for them on a terminal.

    Returns:
        the summary, as in `NAME.json`.

    Raises:
        ValueError: for unknown names, a scale that the recipe has not, missing data (all of it is
            named), or an output folder that holds the recipe with other settings.
    """
    recipe, chosen = RECIPES.find(name), SCALES.find(scale, "scale")
    check_whole("seeds", seeds, "1 or more")
    task = _data(recipe, chosen, data_dir, pretrained, skip_missing)
    row = _Row(recipe, chosen, task, pretrained, data_dir, resamples, command, report, verbose)
    job = JobFolder(Path(output), "run of this recipe")
    before = job.earlier_state(f"{name}.json", settings=dict)
    if before is not None:
        job.check_same_settings(before["settings"], row.settings)
    check_fillable(output)
    rows: dict[int, list[Row]] = {}
    seconds: dict[int, float] = {}
    for seed in range(seeds):
        folder = Path(output) / "runs" / row.folder / f"seed{seed}"
        # Rows that share a network share its folder: another one may be training it.
        with claimed(folder):
            results = row.evaluated(row.trained(folder, seed), folder)
        rows[seed] = results["results"]
        seconds[seed] = sum(json.loads((folder / "seconds.json").read_text()).values())
    summary = {
        "recipe": name,
        "settings": row.settings,
        "scale": chosen.description,
        "note": recipe.note,
        "published": None if recipe.published is None else asdict(recipe.published),
        "seeds": list(rows),
        "figures": _figures(rows, recipe.detector),
        "by_ood_set": _by_ood_set(rows, recipe.detector),
        "definitions": results["definitions"],
        "versions": results["versions"],
        "seconds": seconds,
        "command": command,
    }
    text = json.dumps(summary, indent=2, allow_nan=False)
    with write_together(output, f"{name}.json") as written:
        (written / f"{name}.json").write_text(f"{text}\n", encoding="utf-8")
        # As it will be read back: JSON has no numbers as keys.
        html = recipe_page(json.loads(text))
        (written / f"{name}.html").write_text(html, encoding="utf-8")
    return read_summary(name, output)


def check_recipe(
    name: str,
    *,
    scale: str = "full",
    data_dir: str | os.PathLike[str] | None = None,
    pretrained: str | os.PathLike[str] | None = None,
    skip_missing: bool = False,
) -> None:
    """Raises ValueError where `run_recipe` would with the same arguments, before any work.

    Args:
        name: see `run_recipe`, as for the others.
    """
    recipe, chosen = RECIPES.find(name), SCALES.find(scale, "scale")
    _data(recipe, chosen, data_dir, pretrained, skip_missing)


def compare_recipes(
    first: str, second: str, output: str | os.PathLike[str] = "recipes"
) -> dict[str, Spread]:
    """The paired difference of two rows that have run: first minus second, seed by seed.

    Args:
        first: name of a recipe.
        second: name of another.
        output: the folder that they ran in.

    Returns:
        `auroc`, `fpr95` (means over the OOD sets) and `id_accuracy` of each row's own detector,
        fractions.

    Raises:
        FileNotFoundError: if one of them has not run.
        ValueError: if they ran at different scales or data, or share no seed.
    """
    if first == second:
        raise ValueError(f"Two different recipes can be compared. Received: first=second={first!r}")
    summaries = [read_summary(name, output) for name in (first, second)]
    told_apart = [
        {key: summary["settings"][key] for key in ("scale", "test", "ood")} for summary in summaries
    ]
    if told_apart[0] != told_apart[1]:
        raise ValueError(
            "Only recipes of the same scale, on the same test data, can be compared. "
            f"Received: {first!r} with {told_apart[0]}, {second!r} with {told_apart[1]}"
        )
    values = [
        {
            # JSON has no numbers as keys.
            figure: {int(seed): value for seed, value in figures[figure]["values"].items()}
            for figure in FIGURES
        }
        for figures in (one["figures"][one["settings"]["detector"]] for one in summaries)
    ]
    return {figure: paired_difference(values[0][figure], values[1][figure]) for figure in FIGURES}


def read_summary(name: str, output: str | os.PathLike[str] = "recipes") -> dict[str, Any]:
    """The summary of a recipe that has run in a folder.

    Raises:
        FileNotFoundError: if it has not run there.
        ValueError: for an unknown name, or a file that is damaged.
    """
    RECIPES.find(name)
    job = JobFolder(Path(output), "run of this recipe")
    summary = job.earlier_state(f"{name}.json", settings=dict, figures=dict)
    if summary is None:
        raise FileNotFoundError(
            f"The recipe has not run: `keras-lodin recipe run {name}` comes first. "
            f"Received: name={name!r}, output={str(output)!r}"
        )
    return summary


def _data(
    recipe: Recipe,
    scale: Scale,
    data_dir: str | os.PathLike[str] | None,
    pretrained: str | os.PathLike[str] | None,
    skip_missing: bool,
) -> Data:
    """The data, without OOD sets that are missing if that is allowed; raises ValueError else."""
    if recipe.id not in scale.data:
        having = [other.name for other in SCALES.values() if recipe.id in other.data]
        raise ValueError(
            f"The recipe {recipe.name!r} can be run at scale {' or '.join(having)}. "
            f"Received: scale={scale.name!r}"
        )
    if pretrained is not None and recipe.network != PRETRAINED:
        raise ValueError(
            "The recipe begins with an untrained network: leave out `pretrained` (--pretrained). "
            f"Received: name={recipe.name!r}, pretrained={str(pretrained)!r}"
        )
    problems = []
    if recipe.network == PRETRAINED and (pretrained is None or not Path(pretrained).exists()):
        problems.append(
            "a trained classifier (`pretrained`, --pretrained FILE.keras): " + str(pretrained)
        )
    task = scale.data[recipe.id]
    folder = Path("~/tensorflow_datasets").expanduser() if data_dir is None else Path(data_dir)
    placed = [
        replace(ood, specification=ood.specification.replace("{data}", str(folder)))
        for ood in task.ood
    ]
    needed = [OODSet(task.test), OODSet(task.train)]
    present = []
    for source in (*needed, *placed):
        problem = data.missing(source.specification, data_dir)
        if problem is None:
            present.append(source)
        elif source in needed or not skip_missing:
            download = f" Download {source.download}." if source.download else ""
            problems.append(f"{source.specification}: {problem}.{download}")
    kept = tuple(ood for ood in placed if ood in present)
    if not kept and not problems:
        problems.append("every out-of-distribution set")
    if problems:
        raise ValueError(
            f"{len(problems)} of the things that the recipe needs are missing. "
            + " | ".join(problems)
            + " | OOD sets may be left out with `skip_missing` (--skip-missing). "
            f"Received: name={recipe.name!r}"
        )
    return replace(task, ood=kept)


@dataclass(frozen=True)
class _Row:
    """A recipe at a scale, on data that are there."""

    recipe: Recipe
    scale: Scale
    task: Data
    pretrained: str | os.PathLike[str] | None
    data_dir: str | os.PathLike[str] | None
    resamples: int
    command: str | None
    report: Callable[[str], None]
    verbose: int | str

    @property
    def network(self) -> str:
        return self.scale.networks.get(self.recipe.network, self.recipe.network)

    @property
    def training(self) -> Training | None:
        if self.recipe.training is None:
            return None
        return replace(self.recipe.training, **self.scale.training.get(self.recipe.id, {}))

    @property
    def settings(self) -> dict[str, Any]:
        """What rows of a folder must have in common with those that ran there before."""
        begins_trained = self.recipe.network == PRETRAINED
        return {
            "scale": self.scale.name,
            "network": self.network,
            "detector": self.recipe.detector,
            "pretrained": str(self.pretrained) if begins_trained else None,
            "training": None if self.training is None else self.training.settings,
            "train": self.task.train,
            "test": self.task.test,
            "ood": [ood.specification for ood in self.task.ood],
            "resamples": self.resamples,
        }

    @property
    def folder(self) -> str:
        """The name of the folder of its network."""
        parts = [self.scale.name, self.recipe.id, self.network]
        if self.training is not None and self.training.gq_weight:
            parts.append(f"gq{self.training.gq_weight:g}")
        elif self.pretrained is not None and self.recipe.network == PRETRAINED:
            # Nothing is trained that would know one file from another.
            parts.append(f"as-it-is-{Path(self.pretrained).stem}")
        return "-".join(parts)

    def trained(self, folder: Path, seed: int) -> Path:
        """The file of the trained network."""
        if self.training is None:
            assert self.pretrained is not None  # `_data` has seen to it
            return Path(self.pretrained)
        self.report(
            f"{self.recipe.name}, seed {seed}: training {self.network} on {self.task.train}"
        )
        with _timed(folder, "training"):
            run = train(
                self.task.train,
                str(self.pretrained) if self.network == PRETRAINED else self.network,
                folder / "training",
                **self.training.settings,
                seed=seed,
                validation=self.task.validation,
                data_dir=self.data_dir,
                verbose=self.verbose,
            )
        return run / "model.keras"

    def evaluated(self, model: Path, folder: Path) -> Results:
        """What `evaluation/results.json` holds, after measuring it if it is not there."""
        test, oods = self.task.test, [ood.specification for ood in self.task.ood]
        finished = folder / "evaluation" / "results.json"
        if finished.exists():
            results: Results = json.loads(finished.read_text(encoding="utf-8"))
            measured = list(dict.fromkeys(row["ood"] for row in results["results"]))
            same_data = measured == oods and results["id"]["name"] == test
            same_intervals = f" {self.resamples} resamples " in results["definitions"]["intervals"]
            if same_data and same_intervals:
                return results
        self.report(f"Evaluating {model}")
        # It is the folder that missing sets were looked for in as well.
        is_read = any(name.startswith("tfds:") for name in (test, self.task.train, *oods))
        with _timed(folder, "evaluation"):
            # Graphs of the networks before would add up over many seeds.
            keras.backend.clear_session()
            evaluation = evaluate_models(
                [model],
                test,
                oods,
                statistics=self.task.train,
                data_dir=self.data_dir if is_read else None,
                resamples=self.resamples,
                command=self.command,
                verbose=self.verbose,
            )
            with atomic_write(folder / "evaluation") as temporary:
                evaluation.save(temporary)
        return json.loads(finished.read_text(encoding="utf-8"))


@contextlib.contextmanager
def _timed(folder: Path, part: str) -> Iterator[None]:
    """Keeps the longest a part took: a part that is found finished takes no time."""
    start = time.perf_counter()
    yield
    path = folder / "seconds.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    known[part] = round(max(time.perf_counter() - start, known.get(part, 0.0)), 1)
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(known) + "\n", encoding="utf-8")


def _figures(rows: dict[int, list[Row]], own: str) -> dict[str, dict[str, Mean]]:
    """Means over the OOD sets, by detector and figure, over the seeds."""
    return {
        detector: _over_seeds(
            {seed: over_ood_sets(results, detector) for seed, results in rows.items()}, FIGURES
        )
        for detector in dict.fromkeys((own, *BESIDE))
    }


def _by_ood_set(rows: dict[int, list[Row]], own: str) -> dict[str, dict[str, Mean]]:
    """The row's own detector on each OOD set, over the seeds."""
    found: dict[str, dict[int, Row]] = {}
    for seed, results in rows.items():
        for row in results:
            if row["detector"] == own:
                found.setdefault(row["ood"], {})[seed] = row
    return {ood: _over_seeds(by_seed, ("auroc", "fpr95")) for ood, by_seed in found.items()}


def _over_seeds(
    by_seed: Mapping[int, Mapping[str, float]], figures: Sequence[str]
) -> dict[str, Mean]:
    """Mean, interval and values of each figure, as JSON has it."""
    found = {
        figure: spread({seed: values[figure] for seed, values in by_seed.items()})
        for figure in figures
    }
    return {
        figure: {"mean": one.mean, "interval": one.interval, "values": one.values}
        for figure, one in found.items()
    }
