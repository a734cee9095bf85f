"""Commands about trained networks: `tune`, `evaluate`, `features`, `export` and more."""

from __future__ import annotations

from typing import Any

import click

from keras_lodin_cli.group import main
from keras_lodin_cli.options import (
    FILE,
    FOLDER,
    NameOption,
    batch_size_option,
    data_dir_option,
    id_option,
    input_range_option,
    json_option,
    ood_option,
    options,
    statistics_option,
)
from keras_lodin_cli.printing import command_line, say, show
from keras_lodin_cli.quotient_options import quotient_options


@main.command(
    epilog="""{sources}

Example: keras-lodin tune runs/model.keras --id digits:0-6 --output detector.keras"""
)
@click.argument("model")
@options(id_option, data_dir_option, input_range_option, batch_size_option)
@click.option(
    "--output", type=FILE, required=True, metavar="FILE.keras", help="The detector to write."
)
@click.option(
    "--detector",
    cls=NameOption,
    kind="detectors",
    help="What to wrap a classifier in, odin by default.",
)
@click.option(
    "--ood", metavar="SPEC", default=None, help="For odin: validation OOD data, if you have any."
)
@statistics_option
@click.option("--tpr", type=float, default=0.95, show_default=True, help="ID data to let pass.")
@click.option(
    "--confidence",
    type=float,
    default=None,
    metavar="FRACTION",
    help="In how many of all calibration sets so much passes, as 0.9; on average by default.",
)
def tune(model: str, id: str, output: str, **settings: Any) -> None:
    """Choose T, epsilon and the threshold from in-distribution data, and save the detector."""
    from keras_lodin import workflows

    detector, tuning = workflows.tune_model(model, id, output, **settings)
    if tuning is not None:
        click.echo(tuning.summary())
    click.echo(detector.promise())
    say(f"The detector is in {output}")


@main.command(
    epilog="""{sources}

Example: keras-lodin choose runs/model.keras --id digits:0-6 --output chosen"""
)
@click.argument("model")
@options(id_option, data_dir_option, input_range_option, batch_size_option)
@click.option(
    "--output", type=FOLDER, required=True, metavar="DIR", help="For the page and the detector."
)
@click.option(
    "--train",
    metavar="SPEC",
    default=None,
    help="Training data for detectors with statistics. The train part of --id by default.",
)
@click.option("--ood", metavar="SPEC", default=None, help="Validation OOD data, if you have any.")
@click.option(
    "--detector",
    "detectors",
    cls=NameOption,
    kind="detectors",
    multiple=True,
    metavar="NAME",
    help="Repeat. All that apply by default.",
)
@click.option("--tpr", type=float, default=0.95, show_default=True, help="ID data to let pass.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of what is drawn.")
@json_option
def choose(
    model: str,
    id: str,
    output: str,
    as_json: bool,
    detectors: tuple[str, ...],
    **settings: Any,
) -> None:
    """Try every detector on a model, recommend one, and save it, tuned and calibrated."""
    from keras_lodin import workflows

    with workflows.results_folder(output, id, settings["train"], settings["ood"]):
        choice = workflows.choose_detector(
            model, id, output, detectors=detectors or None, command=command_line(), **settings
        )
    show(choice.table(), choice.to_dict(), as_json)
    say(choice.reason, err=as_json)
    say(choice.detector.promise(), err=as_json)
    say(f"In {output}: choice.html, choice.json, detector.keras", err=as_json)


@main.command(
    epilog="""{sources}

{figures}

\b
Example: keras-lodin evaluate model.keras --id tfds:cifar10 --ood tfds:svhn_cropped \\
             --ood noise:uniform --output results"""
)
@click.argument("models", nargs=-1, required=True, metavar="MODEL...")
@options(id_option, data_dir_option, input_range_option, batch_size_option)
@click.option("--ood", multiple=True, metavar="SPEC", help="OOD data; repeat.")
@click.option("--near", multiple=True, metavar="SPEC", help="OOD data of the group near; repeat.")
@click.option("--far", multiple=True, metavar="SPEC", help="OOD data of the group far; repeat.")
@click.option(
    "--shifted",
    multiple=True,
    metavar="SPEC",
    help="Known classes under other conditions, which count as ID; repeat.",
)
@click.option(
    "--detector",
    "detectors",
    cls=NameOption,
    kind="detectors",
    multiple=True,
    metavar="NAME",
    help="Repeat; `all` for every one. By default those that every evaluation has.",
)
@statistics_option
@click.option(
    "--output", type=FOLDER, metavar="DIR", default=None, help="Folder for tables and plots."
)
@click.option("--resamples", type=int, default=1000, show_default=True, help="Of the bootstrap.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the bootstrap.")
@json_option
def evaluate(
    models: tuple[str, ...],
    id: str,
    ood: tuple[str, ...],
    near: tuple[str, ...],
    far: tuple[str, ...],
    shifted: tuple[str, ...],
    output: str | None,
    as_json: bool,
    **settings: Any,
) -> None:
    """Measure how well models tell in-distribution from out-of-distribution data.

    Killed and started again with the same --output, it goes on with the next data set.
    """
    from keras_lodin import workflows

    names = (id, *ood, *near, *far, *shifted, settings["statistics"])
    with workflows.evaluation_folder(output, *names):
        evaluation = workflows.evaluate_models(
            *(models, id, ood),
            groups={"near": near, "far": far},
            shifted=shifted,
            command=command_line(),
            output=output,
            **settings,
        )
        # Before they are saved: figures that are on the screen are not lost to a full disk.
        show(evaluation.table(), evaluation.to_dict(), as_json)
        if output is not None:
            evaluation.save(output)
    if output is not None:
        say(
            f"Results are in {output}: report.html, results.json, results.csv, scores.npz, plots/",
            err=as_json,
        )


@main.command(
    epilog="""{sources}

\b
Example: keras-lodin features model.keras --data tfds:cifar10 --output id.npz --head head.keras
         keras-lodin features model.keras --data tfds:svhn_cropped --output svhn.npz
         keras-lodin evaluate head.keras --id npz:id.npz --ood npz:svhn.npz --detector energy"""
)
@click.argument("model")
@click.option("--data", required=True, metavar="SPEC", help="The data, of any kind.")
@click.option(
    "--part",
    type=click.Choice(["train", "calibration", "test", "all"]),
    default="test",
    show_default=True,
    help="Of data that have parts.",
)
@options(data_dir_option, input_range_option, batch_size_option)
@click.option(
    "--output", type=FILE, required=True, metavar="FILE.npz", help="Features, logits and labels."
)
@click.option(
    "--head",
    type=FILE,
    default=None,
    metavar="FILE.keras",
    help="Write the last layer too, as a classifier of features.",
)
def features(model: str, data: str, output: str, **settings: Any) -> None:
    """Store what enters a network's last layer, so that a study need not run the network again."""
    from keras_lodin import workflows

    count, size, labelled = workflows.write_features(model, data, output, **settings)
    labels = "with labels" if labelled else "without labels"
    say(f"{size} features of each of {count:,} examples, {labels}, are in {output}")
    if settings["head"] is not None:
        say(f"The classifier of features is in {settings['head']}")


@main.command(
    epilog="""{sources}

\b
Example: keras-lodin gradients cross-entropy gq --id digits:0-6 --ood digits:7-9 \\
             --ood noise:uniform --output gradients"""
)
@click.argument("models", nargs=-1, required=True, metavar="MODEL...")
@options(id_option, data_dir_option, input_range_option, ood_option)
@click.option(
    "--output",
    type=FOLDER,
    required=True,
    metavar="DIR",
    help="Folder for the figure and numbers.",
)
@quotient_options("form", "estimator", "samples", "norm")
@click.option("--limit", type=int, default=None, metavar="N", help="At most N samples of a set.")
@click.option("--batch-size", type=click.IntRange(1), default=32, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True, help="Of all that is drawn.")
@json_option
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

    comparison = workflows.gradients(models, id, ood, output, command=command_line(), **settings)
    show(comparison.table(), comparison.to_dict(), as_json)
    say(f"Results are in {output}: gradients.png, gradients.json, gradients.csv", err=as_json)


@main.command(
    epilog="Example: keras-lodin export detector.keras --format onnx --output detector.onnx"
)
@click.argument("model", metavar="MODEL_OR_DETECTOR")
@click.option(
    "--format",
    cls=NameOption,
    kind="formats",
    default="tf_saved_model",
    show_default=True,
    help="What to write.",
)
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
    say(f"The artifact is in {output}")


@main.command(
    epilog="Example: keras-lodin monitor scores.csv --reference detector.keras --output monitoring"
)
@click.argument("scores")
@click.option(
    "--reference", required=True, metavar="FILE.keras", help="The detector that gave the scores."
)
@click.option(
    "--window", type=click.IntRange(1), default=1000, show_default=True, help="Inputs in a window."
)
@click.option(
    "--time", metavar="COLUMN", default=None, help="Make windows by the times in this column."
)
@click.option(
    "--every",
    type=click.Choice(["hour", "day", "week", "month"]),
    default="day",
    show_default=True,
    help="How long a window is, with --time.",
)
@click.option(
    "--false-alarm-rate",
    type=float,
    default=0.01,
    show_default=True,
    help="Probability that traffic like the calibration data ever raises an alarm.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of lots that break ties.")
@click.option(
    "--output", type=FOLDER, metavar="DIR", default=None, help="Folder for the page and JSON."
)
@json_option
def monitor(scores: str, output: str | None, as_json: bool, **settings: Any) -> None:
    """Watch logged scores for drift: has traffic changed since the calibration?

    SCORES is what `score --output` wrote, or a folder of such CSV or Parquet files, in the order of
    traffic. The alarm has a stated false-alarm rate, however long one watches.
    """
    from keras_lodin import workflows

    found = workflows.monitor_scores(scores, **settings)
    show(found.table(), found.to_dict(), as_json)
    say(found.verdict, err=as_json)
    if output is not None:
        found.save(output, command_line())
        say(f"In {output}: monitoring.html, monitoring.json", err=as_json)
