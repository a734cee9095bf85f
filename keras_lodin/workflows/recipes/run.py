"""Runs rows of the poster, on several seeds, and compares them."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import keras

from keras_lodin import data
from keras_lodin.evaluation.results import Evaluation
from keras_lodin.metrics.over_seeds import FIGURES, Spread, over_ood_sets, paired_difference, spread
from keras_lodin.utils.files import atomic_write, check_fillable, write_together
from keras_lodin.utils.folder_claim import claimed
from keras_lodin.utils.numbers import check_whole
from keras_lodin.utils.registry import did_you_mean
from keras_lodin.workflows.evaluate import evaluate_models
from keras_lodin.workflows.recipes import RECIPES, SCALES, Recipe
from keras_lodin.workflows.recipes.page import recipe_page
from keras_lodin.workflows.recipes.recipe import PRETRAINED, Training
from keras_lodin.workflows.recipes.scales import Data, OODSet, Scale
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
        name: of the recipe, a key of `keras_lodin.recipes.RECIPES`.
        output: folder of all recipes. `NAME.json` in it is the row's summary, `NAME.html` the same
            as a page.
        scale: a key of `keras_lodin.recipes.SCALES`.
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
    recipe, chosen = _recipe(name), _scale(scale)
    check_whole("seeds", seeds, "1 or more")
    task = _data(recipe, chosen, data_dir)
    task = _checked(task, recipe, data_dir, pretrained, skip_missing)
    settings = _settings(recipe, chosen, task, pretrained, resamples)
    summary_path = Path(output) / f"{name}.json"
    _check_same(summary_path, settings)
    check_fillable(output)
    rows: dict[int, list[dict[str, Any]]] = {}
    seconds: dict[int, float] = {}
    for seed in range(seeds):
        folder = Path(output) / "runs" / _run_name(recipe, chosen, pretrained) / f"seed{seed}"
        # Rows that share a network share its folder: another one may be training it.
        with claimed(folder):
            model = _trained(
                *(recipe, chosen, task, folder, seed, pretrained, data_dir, report, verbose)
            )
            results = _evaluated(model, task, folder, data_dir, resamples, command, report, verbose)
        rows[seed] = results["results"]
        seconds[seed] = sum(json.loads((folder / "seconds.json").read_text()).values())
    summary = {
        "recipe": name,
        "settings": settings,
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
    with write_together(output, summary_path.name) as written:
        (written / summary_path.name).write_text(f"{text}\n", encoding="utf-8")
        # As it will be read back: JSON has no numbers as keys.
        html = recipe_page(json.loads(text))
        (written / f"{name}.html").write_text(html, encoding="utf-8")
    return read_summary(name, output)


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
            figure: _by_seed(summary["figures"][summary["settings"]["detector"]][figure]["values"])
            for figure in FIGURES
        }
        for summary in summaries
    ]
    return {figure: paired_difference(values[0][figure], values[1][figure]) for figure in FIGURES}


def read_summary(name: str, output: str | os.PathLike[str] = "recipes") -> dict[str, Any]:
    """The summary of a recipe that has run.

    Args:
        name: of the recipe.
        output: the folder that it ran in.

    Raises:
        FileNotFoundError: if it has not run there.
        ValueError: for an unknown name.
    """
    _recipe(name)
    path = Path(output) / f"{name}.json"
    if not path.exists():
        raise FileNotFoundError(
            f"The recipe has not run: `keras-lodin recipe run {name}` comes first. "
            f"Received: name={name!r}, output={str(output)!r}"
        )
    summary: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return summary


def _recipe(name: str) -> Recipe:
    if name not in RECIPES:
        raise ValueError(
            f"There is no recipe of that name; `keras-lodin recipe list` shows all."
            f"{did_you_mean(name, RECIPES)} Received: name={name!r}"
        )
    return RECIPES[name]


def _scale(name: str) -> Scale:
    if name not in SCALES:
        raise ValueError(f"The scale must be one of {', '.join(SCALES)}. Received: scale={name!r}")
    return SCALES[name]


def _data(recipe: Recipe, scale: Scale, data_dir: str | os.PathLike[str] | None) -> Data:
    if recipe.id not in scale.data:
        having = [other.name for other in SCALES.values() if recipe.id in other.data]
        raise ValueError(
            f"The recipe {recipe.name!r} can be run at scale {' or '.join(having)}. "
            f"Received: scale={scale.name!r}"
        )
    task = scale.data[recipe.id]
    folder = Path("~/tensorflow_datasets").expanduser() if data_dir is None else Path(data_dir)
    placed = tuple(
        replace(ood, specification=ood.specification.replace("{data}", str(folder)))
        for ood in task.ood
    )
    return replace(task, ood=placed)


def _checked(
    task: Data,
    recipe: Recipe,
    data_dir: str | os.PathLike[str] | None,
    pretrained: str | os.PathLike[str] | None,
    skip_missing: bool,
) -> Data:
    """The data, without OOD sets that are missing if that is allowed; raises ValueError else."""
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
    needed = [OODSet(task.test), OODSet(task.train)]
    present = []
    for source in (*needed, *task.ood):
        problem = data.missing(source.specification, data_dir)
        if problem is None:
            present.append(source)
        elif source in needed or not skip_missing:
            download = f" Download {source.download}." if source.download else ""
            problems.append(f"{source.specification}: {problem}.{download}")
    kept = tuple(ood for ood in task.ood if ood in present)
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


def _training(recipe: Recipe, scale: Scale) -> Training | None:
    if recipe.training is None:
        return None
    return replace(recipe.training, **scale.training.get(recipe.id, {}))


def _settings(
    recipe: Recipe,
    scale: Scale,
    task: Data,
    pretrained: str | os.PathLike[str] | None,
    resamples: int,
) -> dict[str, Any]:
    training = _training(recipe, scale)
    settings = {
        "scale": scale.name,
        "network": scale.networks.get(recipe.network, recipe.network),
        "detector": recipe.detector,
        "pretrained": None if recipe.network != PRETRAINED else str(pretrained),
        "training": None if training is None else training.settings,
        "train": task.train,
        "test": task.test,
        "ood": [ood.specification for ood in task.ood],
        "resamples": resamples,
    }
    # As it will be read back.
    plain: dict[str, Any] = json.loads(json.dumps(settings))
    return plain


def _check_same(path: Path, settings: dict[str, Any]) -> None:
    if not path.exists():
        return
    before = json.loads(path.read_text(encoding="utf-8"))["settings"]
    different = [key for key in settings if settings[key] != before.get(key)]
    if different:
        raise ValueError(
            "The output folder holds this recipe with other settings. Choose another folder "
            "(--output). "
            + "; ".join(f"{key} was {before.get(key)!r}" for key in different)
            + f". Received: output={str(path.parent)!r}"
        )


def _run_name(recipe: Recipe, scale: Scale, pretrained: str | os.PathLike[str] | None) -> str:
    training = _training(recipe, scale)
    network = scale.networks.get(recipe.network, recipe.network)
    parts = [scale.name, recipe.id, network]
    if training is not None and training.gq_weight:
        parts.append(f"gq{training.gq_weight:g}")
    elif pretrained is not None and recipe.network == PRETRAINED:
        # Nothing is trained that would know one file from another.
        parts.append(f"as-it-is-{Path(pretrained).stem}")
    return "-".join(parts)


def _trained(
    recipe: Recipe,
    scale: Scale,
    task: Data,
    folder: Path,
    seed: int,
    pretrained: str | os.PathLike[str] | None,
    data_dir: str | os.PathLike[str] | None,
    report: Callable[[str], None],
    verbose: int | str,
) -> Path:
    """The file of the trained network."""
    training = _training(recipe, scale)
    if training is None:
        assert pretrained is not None  # `_checked` has seen to it
        return Path(pretrained)
    network = scale.networks.get(recipe.network, recipe.network)
    report(f"{recipe.name}, seed {seed}: training {network} on {task.train}")
    start = time.perf_counter()
    run = train(
        task.train,
        str(pretrained) if network == PRETRAINED else network,
        folder / "training",
        **training.settings,
        seed=seed,
        validation=task.validation,
        data_dir=data_dir,
        verbose=verbose,
    )
    _add_seconds(folder, "training", time.perf_counter() - start)
    return run / "model.keras"


def _evaluated(
    model: Path,
    task: Data,
    folder: Path,
    data_dir: str | os.PathLike[str] | None,
    resamples: int,
    command: str | None,
    report: Callable[[str], None],
    verbose: int | str,
) -> dict[str, Any]:
    """What `evaluation/results.json` holds, after measuring it if it is not there."""
    oods = [ood.specification for ood in task.ood]
    finished = folder / "evaluation" / "results.json"
    if finished.exists():
        results: dict[str, Any] = json.loads(finished.read_text(encoding="utf-8"))
        measured = list(dict.fromkeys(row["ood"] for row in results["results"]))
        same_data = measured == oods and results["id"]["name"] == task.test
        same_intervals = f" {resamples} resamples " in results["definitions"]["intervals"]
        if same_data and same_intervals:
            return results
    report(f"Evaluating {model}")
    start = time.perf_counter()
    # Graphs of the networks before would add up over many seeds.
    keras.backend.clear_session()
    # It is the folder that missing sets were looked for in as well.
    is_read = any(name.startswith("tfds:") for name in (task.test, task.train, *oods))
    evaluation: Evaluation = evaluate_models(
        [model],
        task.test,
        oods,
        statistics=task.train,
        data_dir=data_dir if is_read else None,
        resamples=resamples,
        command=command,
        verbose=verbose,
    )
    with atomic_write(folder / "evaluation") as temporary:
        evaluation.save(temporary)
    _add_seconds(folder, "evaluation", time.perf_counter() - start)
    return json.loads(finished.read_text(encoding="utf-8"))


def _add_seconds(folder: Path, part: str, seconds: float) -> None:
    """Keeps the longest a part took: a part that is found finished takes no time."""
    path = folder / "seconds.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    known[part] = round(max(seconds, known.get(part, 0.0)), 1)
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(known) + "\n", encoding="utf-8")


def _figures(rows: dict[int, list[dict[str, Any]]], own: str) -> dict[str, Any]:
    """Means over the OOD sets, by detector and figure, over the seeds."""
    figures: dict[str, Any] = {}
    for detector in dict.fromkeys((own, *BESIDE)):
        by_seed = {seed: over_ood_sets(results, detector) for seed, results in rows.items()}
        figures[detector] = {
            figure: _plain(spread({seed: values[figure] for seed, values in by_seed.items()}))
            for figure in FIGURES
        }
    return figures


def _by_ood_set(rows: dict[int, list[dict[str, Any]]], own: str) -> dict[str, Any]:
    """The row's own detector on each OOD set, over the seeds."""
    sets = dict.fromkeys(row["ood"] for results in rows.values() for row in results)
    return {
        ood: {
            figure: _plain(
                spread(
                    {
                        seed: row[figure]
                        for seed, results in rows.items()
                        for row in results
                        if row["detector"] == own and row["ood"] == ood
                    }
                )
            )
            for figure in ("auroc", "fpr95")
        }
        for ood in sets
    }


def _plain(values: Spread) -> dict[str, Any]:
    interval = values.interval
    return {
        "mean": values.mean,
        "interval": None if interval is None else list(interval),
        "values": values.values,
    }


def _by_seed(values: dict[str, float]) -> dict[int, float]:
    """JSON has no numbers as keys."""
    return {int(seed): value for seed, value in values.items()}
