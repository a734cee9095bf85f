"""The command `score`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from keras_lodin_cli.group import Command, main
from keras_lodin_cli.options import (
    batch_size_option,
    data_dir_option,
    input_range_option,
    json_option,
    options,
)
from keras_lodin_cli.printing import say, show
from keras_lodin_cli.without_keras import can_score, leave_out_keras

# What follows `--` with a runner.
_BEAM_OPTIONS = "keras_lodin.beam_options"


class _ScoreCommand(Command):
    """With a runner, what follows `--` are options of Beam, and otherwise inputs."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """With the options of Beam set aside."""
        if "--" in args:
            place = args.index("--")
            own = args[:place]
            if any(one == "--runner" or one.startswith("--runner=") for one in own):
                ctx.meta[_BEAM_OPTIONS] = args[place + 1 :]
                args = own
        return super().parse_args(ctx, args)

    def prepare(self, context: click.Context) -> None:
        """Without Keras, where that is enough."""
        if can_score(context.params["artifact"], context.params["output"]):
            leave_out_keras()
        else:
            super().prepare(context)


@main.command(
    cls=_ScoreCommand,
    epilog="""{sources}

\b
Example: keras-lodin score artifact photo.png folder --output scores.csv
         keras-lodin score detector.onnx photos a.parquet tfds:cifar10:test --output scores/
         keras-lodin score detector.onnx photos --output scores/ --runner DirectRunner -- \\
             --direct_running_mode=multi_processing --direct_num_workers=4""",
)
@click.argument("artifact")
@click.argument("images", nargs=-1, required=True, metavar="INPUT...")
@click.option(
    "--output",
    type=click.Path(writable=True),
    metavar="FILE.csv|DIR/",
    default=None,
    help="CSV file to write; or, with a slash at its end or if it is there, a folder.",
)
@options(input_range_option, batch_size_option)
@click.option(
    "--shard-size",
    type=click.IntRange(1),
    default=None,
    help="With DIR/: images in a file at most, 10000 by default. A kill costs one shard's work.",
)
@click.option(
    "--format",
    type=click.Choice(["parquet", "csv"]),
    default=None,
    help="With DIR/: of the files of rows, parquet by default.",
)
@click.option(
    "--image-column",
    metavar="NAME",
    default=None,
    help="With DIR/: column of encoded images in Parquet and TFRecord files, if it is not clear.",
)
@click.option(
    "--key-column", metavar="NAME", default=None, help="With DIR/: column that names the images."
)
@click.option(
    "--runner",
    metavar="NAME",
    default=None,
    help="With DIR/: of Apache Beam, as DirectRunner or DaskRunner; its options follow behind --.",
)
@options(data_dir_option, json_option)
def score(
    artifact: str,
    images: tuple[str, ...],
    output: str | None,
    as_json: bool,
    input_range: tuple[float, float] | None,
    batch_size: int,
    **of_folders: Any,
) -> None:
    """Score images with an exported artifact or a .keras detector.

    An INPUT is an image file or a folder of them. With --output DIR/ it may also be a TFRecord or
    Parquet file, a folder of such files, or data by name. Rows then go to files in the folder, one
    for each shard, and a summary is printed. Any number of images is scored in the same memory, and
    a run that was killed goes on when the same command is started again.

    A SavedModel is a program, which runs as you do. One that reads or writes files, opens
    connections or runs Python is refused; still, score only what comes from people whom you trust.
    Every artifact is compared with the digest that its export wrote into it, so damaged and edited
    files are refused. That is no signature.

    Images that cannot be read are named and skipped. The exit code is 1 if one of them, or a folder
    without images, was named itself, or no image could be read, else 0.
    """
    # Not from `workflows`, which is not filled where Keras is left out.
    from keras_lodin.workflows.score import score_images
    from keras_lodin.workflows.scoring import names_folder, score_to_folder

    settings: dict[str, Any] = {"input_range": input_range, "batch_size": batch_size}
    given = {name: value for name, value in of_folders.items() if value is not None}
    if output is not None and names_folder(output):
        to_folder: Any = score_to_folder
        if "runner" in given:
            from keras_lodin.workflows.beam import score_on_beam as to_folder

            given["options"] = click.get_current_context().meta.get(_BEAM_OPTIONS, ())
        summary = to_folder(artifact, images, output, **settings, **given)
        show(summary.table(), summary.to_dict(), as_json)
        say(f"The scores are in {output}: manifest.json, scores/", err=as_json)
        if summary.unreadable_inputs or not summary.scored:
            click.get_current_context().exit(1)
        return
    if given:
        option = f"--{next(iter(given)).replace('_', '-')}"
        raise click.UsageError(f"{option} needs a folder to write: --output DIR/")
    rows, unreadable = score_images(artifact, images, output=output, **settings)
    _print_rows(rows, unreadable, output, as_json)
    named = {str(Path(image)) for image in images}
    if any(path in named for path, _ in unreadable):
        click.get_current_context().exit(1)


def _print_rows(
    rows: list[dict[str, Any]],
    unreadable: list[tuple[str, str]],
    output: str | None,
    as_json: bool,
) -> None:
    from keras_lodin.utils.foreign_text import shown

    table = Table("image", "class", "score", "p-value", "verdict", box=None)
    for column in table.columns:
        column.overflow = "fold"
    for row in rows:
        verdict = "out-of-distribution" if row["is_ood"] else "in-distribution"
        names = (shown(row["path"]), shown(row["class_name"] or str(row["class"])))
        rare = "" if row["p_value"] is None else f"{row['p_value']:.3g}"
        table.add_row(*map(Text, names), f"{row['score']:.6g}", rare, verdict)
    document = {
        "images": rows,
        "skipped": [{"path": path, "reason": reason} for path, reason in unreadable],
    }
    show(table, document, as_json)
    for path, reason in unreadable:
        say(f"Skipped {path}: {reason}", err=True)
    flagged = sum(row["is_ood"] for row in rows)
    say(
        f"{len(rows)} images scored, {flagged} out-of-distribution, {len(unreadable)} skipped."
        + (f" The scores are in {output}" if output else ""),
        err=as_json,
    )
