"""`keras-lodin`: parses, calls the library, prints. No logic lives here."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shlex
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

_SPECIFICATIONS = """\b
Data is named by a specification:
  digits[:CLASSES]        scikit-learn's handwritten digits, e.g. digits:0-6
  photos[:COUNT]          patches of scikit-learn's two sample photographs
  noise:uniform[:COUNT], noise:gaussian[:COUNT]
  tfds:NAME[:SPLIT]       a TensorFlow dataset, e.g. tfds:cifar10 or tfds:cifar10:test[:50%]
  dir:PATH                a folder of images, or of one folder per class; dir:PATH[:80%]
  npz:PATH                arrays x and, optionally, y; npz:PATH[80%:]"""

# What cannot be written to is said at once, and not after hours of work.
_FOLDER = click.Path(file_okay=False, writable=True)
_FILE = click.Path(dir_okay=False, writable=True)
# Paths are long, and are there to be copied.
_NO_LIMIT = 100_000


class _Command(click.Command):
    """A command whose user's mistakes end in one sentence and exit code 2, never a traceback."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        with _names_shown_as_text():
            return super().parse_args(ctx, args)

    def invoke(self, context: click.Context) -> Any:
        try:
            _import_tensorflow_quietly()
            _print_every_name()
            with _names_shown_as_text(), _warnings_as_sentences():
                return super().invoke(context)
        except BrokenPipeError:
            raise
        except (ValueError, OSError, TypeError, ImportError) as error:
            if os.environ.get("KERAS_LODIN_TRACEBACK"):
                raise
            raise click.UsageError(_one_line(str(error)) or type(error).__name__) from error


@contextlib.contextmanager
def _names_shown_as_text() -> Iterator[None]:
    """Click repeats what it was given: without what a terminal would obey."""
    try:
        yield
    except click.UsageError as error:
        message = " ".join(error.format_message().split())
        if message.isprintable():
            raise
        raise click.UsageError(_one_line(message), error.ctx) from error


def _one_line(message: str) -> str:
    line = " ".join(message.split())
    if line.isprintable():
        return line
    # Here, and not above: it imports TensorFlow, and few messages need it.
    from keras_lodin.utils.foreign_text import shown

    return shown(line)


def _print_every_name() -> None:
    """Lets letters that the terminal's encoding lacks be printed as escapes, not end the answer."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _import_tensorflow_quietly() -> None:
    """Imports TensorFlow without the notes on itself that would bury the command's answer.

    It writes some of them before any setting of its own can stop it, so standard error is closed
    for the moment of the import. A failing import still raises its own error.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    kept = os.dup(2)
    silence = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(silence, 2)
        import tensorflow
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(silence)
    tensorflow.get_logger().setLevel("ERROR")


@contextlib.contextmanager
def _warnings_as_sentences() -> Iterator[None]:
    """Prints what the library warns a user of without the place in its code."""
    with warnings.catch_warnings():
        show = warnings.showwarning

        def say(message: Any, category: type[Warning], *place: Any, **more: Any) -> None:
            if category is UserWarning:
                click.echo(f"Warning: {_one_line(str(message))}", err=True)
            else:
                show(message, category, *place, **more)

        warnings.showwarning = say
        yield


class _Group(click.Group):
    command_class = _Command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        with _names_shown_as_text():
            return super().resolve_command(ctx, args)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        with _names_shown_as_text():
            return super().parse_args(ctx, args)


@click.group(
    cls=_Group,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Example: keras-lodin quickstart",
)
@click.version_option(version("keras-lodin"), prog_name="keras-lodin")
def main() -> None:
    """Teach a classifier to know when it does not know, measure it, and ship it in one file.

    Set KERAS_LODIN_TRACEBACK=1 to see where an error comes from.
    """


def _options(*decorators: Callable[..., Any]) -> Callable[..., Any]:
    def decorate(function: Any) -> Any:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


_id = click.option("--id", "id", required=True, metavar="SPEC", help="In-distribution data.")
_data_dir = click.option(
    "--data-dir", metavar="PATH", help="Folder of the TensorFlow datasets.", default=None
)
_input_range = click.option(
    "--input-range",
    nargs=2,
    type=float,
    metavar="LO HI",
    default=None,
    help="Range of the classifier's inputs. By default what its first layers or the data show, "
    "else 0 1, which is then said.",
)
_json = click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print JSON, for machines, and everything else to standard error.",
)
_batch_size = click.option("--batch-size", type=click.IntRange(1), default=128, show_default=True)


_statistics = click.option(
    "--statistics",
    metavar="SPEC",
    default=None,
    help="Training data for the statistics of mahalanobis and mood. The train part of --id by "
    "default.",
)


def _show(table: Any, document: Any, as_json: bool) -> None:
    """Prints what a command found, for a person or for a machine."""
    if as_json:
        from keras_lodin.utils.foreign_text import encodable, json_value

        text = json.dumps(
            encodable(json_value(document)), indent=2, ensure_ascii=False, allow_nan=False
        )
        click.echo(text)
    else:
        _print(table)


def _print(*parts: Any) -> None:
    """Prints tables: to the width of a terminal, and without any limit into a pipe or a file."""
    console = Console() if sys.stdout.isatty() else Console(width=_NO_LIMIT)
    console.print(*parts)


def _say(text: str, err: bool = False) -> None:
    """Prints a line in which names stay names."""
    from keras_lodin.utils.foreign_text import shown

    click.echo(shown(text), err=err)


@main.command(epilog="Example: keras-lodin quickstart --output quickstart")
@click.option(
    "--output", type=_FOLDER, default="quickstart", show_default=True, help="Folder for everything."
)
@click.option("--seed", type=int, default=0, show_default=True)
def quickstart(output: str, seed: int) -> None:
    """Train, evaluate, export and score on real digits: offline, under two minutes."""
    from keras_lodin import workflows

    evaluation = workflows.quickstart(output, seed=seed, report=_say)
    _print(evaluation.table())
    _say(f"Everything is in {output}: results/report.html, results/plots, saved_model.")


@main.command(
    epilog=f"""{_SPECIFICATIONS}

\b
Example: keras-lodin train --id digits:0-6 --model small_convnet \\
             --gq-weight 0 --gq-weight 0.1 --output runs"""
)
@_options(_id, _data_dir, _input_range)
@click.option(
    "--model", required=True, metavar="NAME|PATH", help="Network by name, or .keras to fine-tune."
)
@click.option(
    "--gq-weight",
    "gq_weights",
    type=float,
    multiple=True,
    metavar="W",
    help="Weight of the Gradient Quotient; none or 0 is plain cross-entropy. Repeat for more runs.",
)
@click.option(
    "--form", default="softmax", show_default=True, help="softmax, logits, share or pooled."
)
@click.option(
    "--estimator", default="exact", show_default=True, help="exact, sampled or projected."
)
@click.option(
    "--samples", type=int, default=1, show_default=True, help="Draws of sampled or projected."
)
@click.option(
    "--every", type=int, default=1, show_default=True, help="Compute GQ on every k-th step."
)
@click.option(
    "--temperature", type=float, default=1.0, show_default=True, help="Of the softmax form."
)
@click.option(
    "--loss",
    default="cross_entropy",
    show_default=True,
    metavar="NAME[:VALUE]",
    help="Or logit_norm[:TEMPERATURE], label_smoothing[:SMOOTHING].",
)
@click.option(
    "--gradient-penalty",
    type=float,
    default=0.0,
    metavar="W",
    help="Weight of a penalty on the loss's input gradient, instead of GQ.",
)
@click.option("--output", type=_FOLDER, required=True, metavar="RUN", help="Folder of the run.")
@click.option("--epochs", type=int, default=20, show_default=True)
@click.option("--batch-size", type=int, default=64, show_default=True)
@click.option("--learning-rate", type=float, default=0.1, show_default=True)
@click.option("--weight-decay", type=float, default=5e-4, show_default=True)
@click.option("--augment", default=None, metavar="crop-flip", help="Random crops and flips.")
@click.option(
    "--loss-weight",
    "loss_weights",
    type=float,
    multiple=True,
    default=(1.0,),
    metavar="W",
    help="Weight of the cross-entropy; 0 trains with GQ alone. Repeat: one for each exit.",
)
@click.option(
    "--freeze-batch-norm", is_flag=True, help="Keep BatchNormalization as it is (fine-tuning)."
)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--validation", metavar="SPEC", default=None, help="Labelled data to watch.")
def train(gq_weights: tuple[float, ...], output: str, **settings: Any) -> None:
    """Train a classifier, with or without GQ. Started again, it goes on where it was stopped."""
    from keras_lodin.workflows.train_network import train_each

    runs = train_each(gq_weights, output, **settings)
    _say("Trained: " + ", ".join(f"{run}/model.keras" for run in runs))


@main.command(
    epilog=f"""{_SPECIFICATIONS}

Example: keras-lodin tune runs/model.keras --id digits:0-6 --output detector.keras"""
)
@click.argument("model")
@_options(_id, _data_dir, _input_range, _batch_size)
@click.option(
    "--output", type=_FILE, required=True, metavar="FILE.keras", help="The detector to write."
)
@click.option("--detector", default=None, help="What to wrap a classifier in.  [default: odin]")
@click.option(
    "--ood", metavar="SPEC", default=None, help="For odin: validation OOD data, if you have any."
)
@_statistics
@click.option("--tpr", type=float, default=0.95, show_default=True, help="ID data to let pass.")
def tune(model: str, id: str, output: str, **settings: Any) -> None:
    """Choose T, epsilon and the threshold from in-distribution data, and save the detector."""
    from keras_lodin import workflows

    detector, tuning = workflows.tune_model(model, id, output, **settings)
    if tuning is not None:
        click.echo(tuning.summary())
    click.echo(detector.promise())
    _say(f"The detector is in {output}")


@main.command(
    epilog=f"""{_SPECIFICATIONS}

\b
Example: keras-lodin evaluate model.keras --id tfds:cifar10 --ood tfds:svhn_cropped \\
             --ood noise:uniform --output results"""
)
@click.argument("models", nargs=-1, required=True, metavar="MODEL...")
@_options(_id, _data_dir, _input_range, _batch_size)
@click.option("--ood", multiple=True, required=True, metavar="SPEC", help="OOD data; repeat.")
@click.option(
    "--detector",
    "detectors",
    multiple=True,
    metavar="NAME",
    help="msp, max_logit, energy, odin, mahalanobis or mood; repeat. All that apply by default.",
)
@_statistics
@click.option(
    "--output", type=_FOLDER, metavar="DIR", default=None, help="Folder for tables and plots."
)
@click.option("--resamples", type=int, default=1000, show_default=True, help="Of the bootstrap.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the bootstrap.")
@_json
def evaluate(
    models: tuple[str, ...],
    id: str,
    ood: tuple[str, ...],
    output: str | None,
    as_json: bool,
    **settings: Any,
) -> None:
    """Measure how well models tell in-distribution from out-of-distribution data."""
    from keras_lodin import workflows

    command = shlex.join(["keras-lodin", *sys.argv[1:]])
    with workflows.results_folder(output, id, *ood, settings["statistics"]):
        evaluation = workflows.evaluate_models(models, id, ood, command=command, **settings)
        # Before they are saved: figures that are on the screen are not lost to a full disk.
        _show(evaluation.table(), evaluation.to_dict(), as_json)
        if output is not None:
            evaluation.save(output)
    if output is not None:
        _say(
            f"Results are in {output}: report.html, results.json, results.csv, scores.npz, plots/",
            err=as_json,
        )


@main.command(
    epilog=f"""{_SPECIFICATIONS}

\b
Example: keras-lodin gradients cross-entropy gq --id digits:0-6 --ood digits:7-9 \\
             --ood noise:uniform --output gradients"""
)
@click.argument("models", nargs=-1, required=True, metavar="MODEL...")
@_options(_id, _data_dir, _input_range)
@click.option("--ood", multiple=True, required=True, metavar="SPEC", help="OOD data; repeat.")
@click.option(
    "--output",
    type=_FOLDER,
    required=True,
    metavar="DIR",
    help="Folder for the figure and numbers.",
)
@click.option("--form", default="softmax", show_default=True, help="softmax or logits.")
@click.option(
    "--estimator", default="exact", show_default=True, help="exact, sampled or projected."
)
@click.option("--samples", type=int, default=1, show_default=True, help="Draws of an estimator.")
@click.option("--norm", default=None, metavar="l1|l2", help="By default l1; l2 for projected.")
@click.option("--limit", type=int, default=None, metavar="N", help="At most N samples of a set.")
@click.option("--batch-size", type=click.IntRange(1), default=32, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True, help="Of all that is drawn.")
@_json
def gradients(
    models: tuple[str, ...],
    id: str,
    ood: tuple[str, ...],
    output: str,
    as_json: bool,
    **settings: Any,
) -> None:
    """Draw the distributions of gradient norms and of their quotient, ID against OOD."""
    from keras_lodin import workflows

    command = shlex.join(["keras-lodin", *sys.argv[1:]])
    comparison = workflows.gradients(models, id, ood, output, command=command, **settings)
    _show(comparison.table(), comparison.to_dict(), as_json)
    _say(f"Results are in {output}: gradients.png, gradients.json, gradients.csv", err=as_json)


@main.command(
    epilog="Example: keras-lodin export detector.keras --format onnx --output detector.onnx"
)
@click.argument("model", metavar="MODEL_OR_DETECTOR")
@click.option("--format", default="tf_saved_model", show_default=True, help="Or onnx, litert.")
@click.option("--output", required=True, metavar="PATH", help="Folder or file to write.")
@click.option(
    "--data-format",
    default=None,
    metavar="channels_first",
    help="ONNX only: an input of (batch, channels, height, width).",
)
@click.option(
    "--input-range",
    nargs=2,
    type=float,
    metavar="LO HI",
    default=None,
    help="Range of a classifier's inputs, as of `tune`. A detector has its own.",
)
def export(model: str, output: str, data_format: str | None, **settings: Any) -> None:
    """Write one artifact that holds classifier, perturbation, score and threshold."""
    from keras_lodin import workflows

    if data_format is not None:
        settings["data_format"] = data_format
    workflows.export_model(model, output, **settings)
    _say(f"The artifact is in {output}")


@main.command(epilog="Example: keras-lodin score artifact photo.png folder --output scores.csv")
@click.argument("artifact")
@click.argument("images", nargs=-1, required=True, metavar="IMAGE_OR_FOLDER...")
@click.option("--output", type=_FILE, metavar="FILE.csv", default=None, help="CSV file to write.")
@_options(_input_range, _batch_size, _json)
def score(
    artifact: str, images: tuple[str, ...], output: str | None, as_json: bool, **settings: Any
) -> None:
    """Score images with an exported artifact or a .keras detector.

    A SavedModel is a program, which runs as you do. One that reads or writes files, opens
    connections or runs Python is refused; still, score only what comes from people whom you trust.
    Every artifact is compared with the digest that its export wrote into it, so damaged and edited
    files are refused. That is no signature.

    Images that cannot be read are named and skipped. The exit code is 1 if one of them, or a folder
    without images, was named itself, else 0.
    """
    from keras_lodin import workflows
    from keras_lodin.utils.foreign_text import shown

    rows, unreadable = workflows.score_images(artifact, images, output=output, **settings)
    table = Table("image", "class", "score", "verdict", box=None)
    for column in table.columns:
        column.overflow = "fold"
    for row in rows:
        verdict = "out-of-distribution" if row["is_ood"] else "in-distribution"
        names = (shown(row["path"]), shown(row["class_name"] or str(row["class"])))
        table.add_row(*map(Text, names), f"{row['score']:.6g}", verdict)
    document = {
        "images": rows,
        "skipped": [{"path": path, "reason": reason} for path, reason in unreadable],
    }
    _show(table, document, as_json)
    for path, reason in unreadable:
        _say(f"Skipped {path}: {reason}", err=True)
    flagged = sum(row["is_ood"] for row in rows)
    _say(
        f"{len(rows)} images scored, {flagged} out-of-distribution, {len(unreadable)} skipped."
        + (f" The scores are in {output}" if output else ""),
        err=as_json,
    )
    named = {str(Path(image)) for image in images}
    if any(path in named for path, _ in unreadable):
        click.get_current_context().exit(1)


@main.command(
    epilog=f"""{_SPECIFICATIONS}

\b
Example: keras-lodin sweep --id digits:0-6 --model small_convnet --epochs 20 \\
             --budget 40 --output sweep"""
)
@_options(_id, _data_dir, _input_range)
@click.option(
    "--model", required=True, metavar="NAME|PATH", help="Network by name, or .keras to fine-tune."
)
@click.option(
    "--output", type=_FOLDER, default="sweep", show_default=True, help="Folder of the sweep."
)
@click.option(
    "--budget",
    type=float,
    default=40.0,
    show_default=True,
    help="Train at most as much as so many plain trainings.",
)
@click.option("--detector", default="odin", show_default=True, help="What it is chosen for.")
@click.option(
    "--candidate",
    "candidates",
    multiple=True,
    metavar="NAME",
    help="A way to train: 'gq FORM ESTIMATOR WEIGHT', 'gradient_penalty WEIGHT', a loss such as "
    "label_smoothing:0.1, or 'LOSS + gq ...'. Repeat, the most promising first. By default GQ of "
    "both signs in several forms, and the usual alternatives.",
)
@click.option("--seeds", type=int, default=5, show_default=True, help="Of the last rung.")
@click.option("--epochs", type=int, default=20, show_default=True, help="Of a full training.")
@click.option("--batch-size", type=int, default=64, show_default=True)
@click.option("--learning-rate", type=float, default=0.1, show_default=True)
@click.option("--weight-decay", type=float, default=5e-4, show_default=True)
@click.option("--augment", default=None, metavar="crop-flip", help="Random crops and flips.")
@click.option(
    "--freeze-batch-norm", is_flag=True, help="Keep BatchNormalization as it is (fine-tuning)."
)
@click.option("--validation", metavar="SPEC", default=None, help="Labelled ID validation data.")
@click.option(
    "--ood", multiple=True, metavar="SPEC", help="OOD validation data, if you have any; repeat."
)
@click.option(
    "--count", type=click.IntRange(1), default=500, show_default=True, help="Of each made-up set."
)
@_json
def sweep(candidates: tuple[str, ...], output: str, as_json: bool, **settings: Any) -> None:
    """Find out on your own data whether to train with GQ, and how. No OOD data is needed.

    Started again, it goes on where it was stopped.
    """
    from rich.markdown import Markdown

    from keras_lodin import Candidate, workflows

    found = workflows.sweep(
        output=output,
        candidates=[Candidate.parse(name) for name in candidates] or None,
        command=shlex.join(["keras-lodin", *sys.argv[1:]]),
        report=partial(_say, err=as_json),
        **settings,
    )
    # Drawn for a terminal, and as it is for whatever reads it otherwise.
    report = Markdown(found.report) if sys.stdout.isatty() else Text(found.report)
    _show(report, found.summary, as_json)
    _say(f"Results are in {output}: report.html, sweep.json, sweep.csv, runs/", err=as_json)


@main.group(cls=_Group)
def recipe() -> None:
    """Run the rows of the Learning ODIN poster, at its scale or at a smaller one."""


@recipe.command(name="list", epilog="Example: keras-lodin recipe list")
@_json
def list_recipes(as_json: bool) -> None:
    """Show the poster's table: every row, its published figures, and where it can run."""
    from keras_lodin.workflows.recipes import RECIPES, SCALES
    from keras_lodin.workflows.recipes.tables import recipes_tables, scales_text

    if as_json:
        scales = {scale.name: scale.description for scale in SCALES.values()}
        _show(None, {"recipes": [asdict(r) for r in RECIPES.values()], "scales": scales}, as_json)
        return
    _print(*recipes_tables())
    click.echo(scales_text())


@recipe.command(
    epilog="""\b
Example: keras-lodin recipe run odin-resnet18 odin-gq-resnet18 --scale digits --seeds 2
         keras-lodin recipe compare odin-gq-resnet18 odin-resnet18"""
)
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--scale", default="full", show_default=True, help="full, small or digits.")
@click.option("--seeds", type=click.IntRange(1), default=1, show_default=True)
@click.option(
    "--output", type=_FOLDER, default="recipes", show_default=True, help="Folder of all recipes."
)
@_data_dir
@click.option("--pretrained", metavar="FILE.keras", default=None, help="For the imagenet recipes.")
@click.option("--skip-missing", is_flag=True, help="Leave out OOD sets that are missing.")
@_json
def run(names: tuple[str, ...], output: str, as_json: bool, **settings: Any) -> None:
    """Run recipes. Started again, they go on where they were stopped."""
    from keras_lodin import workflows
    from keras_lodin.workflows.recipes.tables import summary_table

    command = shlex.join(["keras-lodin", *sys.argv[1:]])
    say = partial(_say, err=as_json)
    summaries = []
    for name in names:
        summaries.append(
            workflows.run_recipe(name, output, command=command, report=say, **settings)
        )
        if not as_json:
            _print(summary_table(summaries[-1]))
        say(f"The summary is in {output}/{name}.html and .json, the networks in {output}/runs")
    if as_json:
        _show(None, summaries, as_json)


@recipe.command(epilog="Example: keras-lodin recipe compare odin-gq-resnet18 odin-resnet18")
@click.argument("first")
@click.argument("second")
@click.option("--output", default="recipes", show_default=True, help="Folder that they ran in.")
@_json
def compare(first: str, second: str, output: str, as_json: bool) -> None:
    """Show the difference FIRST - SECOND, paired by seed, with its 95 % interval."""
    from keras_lodin import workflows
    from keras_lodin.workflows.recipes.tables import differences_table

    differences = workflows.compare_recipes(first, second, output)
    document = {figure: asdict(difference) for figure, difference in differences.items()}
    _show(differences_table(first, second, differences), document, as_json)
