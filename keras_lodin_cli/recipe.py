"""Commands of the poster: `recipe list`, `run`, `compare`."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import Any

import click

from keras_lodin_cli.group import Group, main
from keras_lodin_cli.options import FOLDER, data_dir_option, json_option
from keras_lodin_cli.printing import command_line, print_tables, say, show


@main.group(cls=Group)
def recipe() -> None:
    """Run the rows of the Learning ODIN poster, at its scale or at a smaller one."""


@recipe.command(name="list", epilog="Example: keras-lodin recipe list")
@json_option
def list_recipes(as_json: bool) -> None:
    """Show the poster's table: every row, its published figures, and where it can run."""
    from keras_lodin.workflows.recipes import RECIPES, SCALES
    from keras_lodin.workflows.recipes.tables import recipes_tables, scales_text

    if as_json:
        scales = {scale.name: scale.description for scale in SCALES.values()}
        show(None, {"recipes": [asdict(r) for r in RECIPES.values()], "scales": scales}, as_json)
        return
    print_tables(*recipes_tables())
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
    "--output", type=FOLDER, default="recipes", show_default=True, help="Folder of all recipes."
)
@data_dir_option
@click.option("--pretrained", metavar="FILE.keras", default=None, help="For the imagenet recipes.")
@click.option("--skip-missing", is_flag=True, help="Leave out OOD sets that are missing.")
@json_option
def run(names: tuple[str, ...], output: str, as_json: bool, **settings: Any) -> None:
    """Run recipes. Started again, they go on where they were stopped."""
    from keras_lodin import workflows
    from keras_lodin.workflows.recipes.run import check_recipe
    from keras_lodin.workflows.recipes.tables import summary_table

    # All of them, before hours of the first one.
    for name in names:
        told = ("scale", "data_dir", "pretrained", "skip_missing")
        check_recipe(name, **{option: settings[option] for option in told})
    tell = partial(say, err=as_json)
    summaries = []
    for name in names:
        summaries.append(
            workflows.run_recipe(name, output, command=command_line(), report=tell, **settings)
        )
        if not as_json:
            print_tables(summary_table(summaries[-1]))
        tell(f"The summary is in {output}/{name}.html and .json, the networks in {output}/runs")
    if as_json:
        show(None, summaries, as_json)


@recipe.command(epilog="Example: keras-lodin recipe compare odin-gq-resnet18 odin-resnet18")
@click.argument("first")
@click.argument("second")
@click.option("--output", default="recipes", show_default=True, help="Folder that they ran in.")
@json_option
def compare(first: str, second: str, output: str, as_json: bool) -> None:
    """Show the difference FIRST - SECOND, paired by seed, with its 95 % interval."""
    from keras_lodin import workflows
    from keras_lodin.workflows.recipes.tables import differences_table

    differences = workflows.compare_recipes(first, second, output)
    document = {figure: asdict(difference) for figure, difference in differences.items()}
    show(differences_table(first, second, differences), document, as_json)
