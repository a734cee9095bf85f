"""Commands that train: `quickstart`, `train`, `sweep`."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

import click
from rich.text import Text

from keras_lodin_cli.group import main
from keras_lodin_cli.options import (
    FOLDER,
    NameOption,
    data_dir_option,
    id_option,
    input_range_option,
    json_option,
    model_option,
    options,
)
from keras_lodin_cli.printing import command_line, print_tables, say, show
from keras_lodin_cli.quotient_options import quotient_options

_recipe_options = options(
    click.option("--batch-size", type=int, default=64, show_default=True),
    click.option("--learning-rate", type=float, default=0.1, show_default=True),
    click.option("--weight-decay", type=float, default=5e-4, show_default=True),
    click.option("--augment", default=None, metavar="crop-flip", help="Random crops and flips."),
)
_freeze_option = click.option(
    "--freeze-batch-norm", is_flag=True, help="Keep BatchNormalization as it is (fine-tuning)."
)


@main.command(epilog="Example: keras-lodin quickstart --output quickstart")
@click.option(
    "--output", type=FOLDER, default="quickstart", show_default=True, help="Folder for everything."
)
@click.option("--seed", type=int, default=0, show_default=True)
def quickstart(output: str, seed: int) -> None:
    """Train, evaluate, export and score on real digits: offline, under two minutes."""
    from keras_lodin import workflows

    evaluation = workflows.quickstart(output, seed=seed, report=say)
    print_tables(evaluation.table())
    made = ("results/report.html", "results/plots", "saved_model")
    say(f"Everything is in {output}: {', '.join(x for x in made if Path(output, x).exists())}.")


@main.command(
    epilog="""{sources}

\b
Example: keras-lodin train --id digits:0-6 --model small_convnet \\
             --gq-weight 0 --gq-weight 0.1 --output runs"""
)
@options(id_option, data_dir_option, input_range_option, model_option)
@click.option(
    "--gq-weight",
    "gq_weights",
    type=float,
    multiple=True,
    metavar="W",
    help="Weight of the Gradient Quotient; none or 0 is plain cross-entropy. Repeat for more runs.",
)
@quotient_options()
@click.option(
    "--loss",
    cls=NameOption,
    kind="losses",
    default="cross_entropy",
    show_default=True,
    metavar="NAME[:VALUE]",
    help="Instead of the cross-entropy.",
)
@click.option(
    "--gradient-penalty",
    type=float,
    default=0.0,
    metavar="W",
    help="Weight of a penalty on the loss's input gradient, instead of GQ.",
)
@click.option("--output", type=FOLDER, required=True, metavar="RUN", help="Folder of the run.")
@click.option("--epochs", type=int, default=20, show_default=True)
@_recipe_options
@click.option(
    "--loss-weight",
    "loss_weights",
    type=float,
    multiple=True,
    default=(1.0,),
    metavar="W",
    help="Weight of the cross-entropy; 0 trains with GQ alone. Repeat: one for each exit.",
)
@_freeze_option
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--validation", metavar="SPEC", default=None, help="Labelled data to watch.")
@click.option(
    "--strategy",
    type=click.Choice(["mirrored", "multi-worker"]),
    default=None,
    help="Train on all devices of this machine, or on those of all hosts in TF_CONFIG.",
)
def train(gq_weights: tuple[float, ...], output: str, **settings: Any) -> None:
    """Train a classifier, with or without GQ. Started again, it goes on where it was stopped."""
    from keras_lodin.workflows.train_network import train_each

    runs = train_each(gq_weights, output, **settings)
    say("Trained: " + ", ".join(f"{run}/model.keras" for run in runs))


@main.command(
    epilog="""{sources}

\b
Example: keras-lodin sweep --id digits:0-6 --model small_convnet --epochs 20 \\
             --budget 40 --output sweep"""
)
@options(id_option, data_dir_option, input_range_option, model_option)
@click.option(
    "--output", type=FOLDER, default="sweep", show_default=True, help="Folder of the sweep."
)
@click.option(
    "--budget",
    type=float,
    default=40.0,
    show_default=True,
    help="Train at most as much as so many plain trainings.",
)
@click.option(
    "--detector",
    cls=NameOption,
    kind="detectors",
    default="odin",
    show_default=True,
    help="What it is chosen for.",
)
@click.option(
    "--candidate",
    "candidates",
    multiple=True,
    metavar="NAME",
    help="A way to train: 'gq FORM ESTIMATOR WEIGHT', 'gradient_penalty WEIGHT', a loss such as "
    "label_smoothing:0.1, or 'LOSS + gq ...'. Repeat, the most promising first. By default "
    "LogitNorm, label smoothing, GQ of both signs in several forms, and a gradient penalty.",
)
@click.option("--seeds", type=int, default=5, show_default=True, help="Of the last rung.")
@click.option("--epochs", type=int, default=20, show_default=True, help="Of a full training.")
@_recipe_options
@_freeze_option
@click.option("--validation", metavar="SPEC", default=None, help="Labelled ID validation data.")
@click.option(
    "--ood", multiple=True, metavar="SPEC", help="OOD validation data, if you have any; repeat."
)
@click.option(
    "--count", type=click.IntRange(1), default=500, show_default=True, help="Of each made-up set."
)
@json_option
def sweep(candidates: tuple[str, ...], output: str, as_json: bool, **settings: Any) -> None:
    """Find out on your own data whether to train with GQ, and how. No OOD data is needed.

    Started again, it goes on where it was stopped.
    """
    from rich.markdown import Markdown

    from keras_lodin import Candidate, workflows

    found = workflows.sweep(
        output=output,
        candidates=[Candidate.parse(name) for name in candidates] or None,
        command=command_line(),
        report=partial(say, err=as_json),
        **settings,
    )
    # Drawn for a terminal, and as it is for whatever reads it otherwise.
    report = Markdown(found.report) if sys.stdout.isatty() else Text(found.report)
    show(report, found.summary, as_json)
    say(f"Results are in {output}: report.html, sweep.json, sweep.csv, runs/", err=as_json)
