r"""Writes what the recipes gave at the small scale, beside the poster's figures.

    NAMES=$(python benchmarks/poster.py --names cifar10)
    keras-lodin recipe run $NAMES --scale small --seeds 3 --output runs/poster \
        --data-dir ../shared/data/tfds
    python benchmarks/poster.py --runs runs/poster

Writes docs/results/poster.csv (every seed) and docs/results/poster.md. The names of the other tasks
are those of `--names cifar100` and `--names imagenet`; the latter need
`--pretrained ../shared/data/models/imagenet_efficientnet_lite0.keras`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from csv_rows import write_csv

from keras_lodin.metrics.over_seeds import paired_difference
from keras_lodin.utils.files import atomic_write
from keras_lodin.workflows.recipes import RECIPES, SCALES
from keras_lodin.workflows.recipes.recipe import Recipe
from keras_lodin.workflows.recipes.run import compare_recipes, read_summary

RESULTS = Path(__file__).parents[1] / "docs" / "results"
TASKS = {
    "cifar10": "CIFAR-10",
    "cifar100": "In the place of CIFAR-100: 170 classes of Tiny ImageNet",
    "imagenet": "In the place of ImageNet: photographs of 410 of its classes, 224 pixels",
}
FIGURES = ("auroc", "fpr95", "id_accuracy")
COMPARED = (("odin-gq-madry", "odin-madry"), ("odin-gq-resnet18", "odin-resnet18"))
COMPARED += (("odin-gq-resnet34", "odin-resnet34"), ("mood", "energy-msdnet"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", default="runs/poster")
    parser.add_argument("--names", choices=TASKS, help="print the names of a task's recipes")
    options = parser.parse_args()
    if options.names:
        print(" ".join(name for name, recipe in RECIPES.items() if recipe.id == options.names))
        return
    recipes = [
        recipe for name, recipe in RECIPES.items() if (Path(options.runs) / f"{name}.json").exists()
    ]
    rows = [row for recipe in recipes for row in every_seed(recipe, options.runs)]
    write_csv(RESULTS / "poster.csv", rows)
    with atomic_write(RESULTS / "poster.md") as temporary:
        temporary.write_text(page(recipes, options.runs), encoding="utf-8")


def every_seed(recipe: Recipe, runs: str) -> list[dict]:
    """A line for each seed and detector: means over the OOD sets, fractions."""
    summary = read_summary(recipe.name, runs)
    return [
        {
            "recipe": recipe.name,
            "scale": summary["settings"]["scale"],
            "network": summary["settings"]["network"],
            "detector": detector,
            "seed": seed,
            **{name: f"{figures[name]['values'][str(seed)]:.5f}" for name in FIGURES},
            "seconds": summary["seconds"][str(seed)],
        }
        for detector, figures in summary["figures"].items()
        for seed in summary["seeds"]
    ]


def page(recipes: list[Recipe], runs: str) -> str:
    text = [
        "# The poster's rows, at the small scale",
        "",
        "Made by `python benchmarks/poster.py`, whose first lines say how the recipes were run.",
        "",
        "**These figures cannot be compared with the poster's**, which stand beside them: the "
        f"scale differs. {SCALES['small'].description} What can be compared is one row with "
        "another of the same table. The accuracy column says how little the networks have learned "
        "at this scale; with 170 classes, next to nothing: those rows show that the recipes run.",
        "",
        "AUROC / FPR95 (ID positive) / ID accuracy in per cent, means over the OOD sets and the "
        "seeds; ± is half of the 95 % t-interval over seeds. Every row has true ODIN (T = 1000, "
        "epsilon = 0.0014) and the maximum logit beside its own detector. Rows of one network "
        "share its training, so their seconds are those of the same run: training and evaluation "
        "of one seed on two cores, with other work beside it.",
    ]
    for task, title in TASKS.items():
        own = [recipe for recipe in recipes if recipe.id == task]
        if own:
            text += ["", f"## {title}", "", *table(own, runs)]
    text += ["", "## Differences, paired by seed", "", *differences(runs)]
    text += ["", "## Commands", "", *commands(recipes, runs)]
    return "\n".join(text) + "\n"


def table(recipes: list[Recipe], runs: str) -> list[str]:
    lines = [
        "| recipe | network | seeds | AUROC | FPR95 | accuracy | ODIN AUROC | max logit AUROC "
        "| seconds a seed | poster, full scale |",
        "|" + "---|" * 10,
    ]
    for recipe in recipes:
        summary = read_summary(recipe.name, runs)
        figures = summary["figures"]
        own = figures[recipe.detector]
        published = recipe.published
        seconds = summary["seconds"].values()
        cells = [
            recipe.name,
            summary["settings"]["network"],
            len(summary["seeds"]),
            *(mean(own[name]) for name in FIGURES),
            mean(figures["odin"]["auroc"]),
            mean(figures["max_logit"]["auroc"]),
            f"{sum(seconds) / len(seconds):.0f}",
            "-"
            if published is None
            else f"{published.auroc:.2f} / {published.fpr95:.2f} / {published.accuracy:.2f}",
        ]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    sets = ", ".join(f"`{ood}`" for ood in summary["settings"]["ood"])
    training = summary["settings"]["train"]
    return [*lines, "", f"Trained on `{training}`; OOD sets: {sets}."]


def differences(runs: str) -> list[str]:
    lines = ["| difference | seeds | AUROC | FPR95 | accuracy |", "|" + "---|" * 5]
    for first, second in (
        *COMPARED,
        *((f"{first}-cifar100", f"{second}-cifar100") for first, second in COMPARED),
        ("odin-gq-imagenet", "odin-imagenet"),
    ):
        if not all((Path(runs) / f"{name}.json").exists() for name in (first, second)):
            continue
        found = compare_recipes(first, second, runs)
        cells = [f"{first} - {second}", len(found["auroc"].values)]
        for name in FIGURES:
            half = found[name].half_width
            spread = "" if half is None else f" ± {100 * half:.2f}"
            word = " (inconclusive)" if found[name].inconclusive else ""
            cells.append(f"{100 * found[name].mean:+.2f}{spread}{word}")
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    lines += ["", "ODIN minus the maximum logit on the same networks, paired by seed:", ""]
    lines += ["| recipe | seeds | AUROC |", "|---|---|---|"]
    for name in dict.fromkeys(name for pair in COMPARED[:3] for name in pair[::-1]):
        if not (Path(runs) / f"{name}.json").exists():
            continue
        figures = read_summary(name, runs)["figures"]
        found = paired_difference(
            *({int(s): v for s, v in figures[d]["auroc"]["values"].items()} for d in figures)
        )
        half = "" if found.half_width is None else f" ± {100 * found.half_width:.2f}"
        word = " (inconclusive)" if found.inconclusive else ""
        lines.append(f"| {name} | {len(found.values)} | {100 * found.mean:+.2f}{half}{word} |")
    return lines


def commands(recipes: list[Recipe], runs: str) -> list[str]:
    found = dict.fromkeys(read_summary(recipe.name, runs)["command"] for recipe in recipes)
    return ["```sh", *filter(None, found), "```"]


def mean(figure: dict) -> str:
    text = f"{100 * figure['mean']:.1f}"
    if figure["interval"] is not None:
        text += f" ± {100 * (figure['interval'][1] - figure['mean']):.1f}"
    return text


if __name__ == "__main__":
    main()
