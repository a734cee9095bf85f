"""Options that several commands have."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import click

from keras_lodin_cli.registered import registered

# What cannot be written to is said at once, and not after hours of work.
FOLDER = click.Path(file_okay=False, writable=True)
FILE = click.Path(dir_okay=False, writable=True)


class NameOption(click.Option):
    """An option that takes the name of something registered; its help lists the names.

    Args:
        kind: of what, see `registered`.
    """

    def __init__(self, *declarations: Any, kind: str, **settings: Any) -> None:
        super().__init__(*declarations, **settings)
        self._kind = kind

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """With the names, which are looked for only when somebody reads them."""
        # A description that begins with the name says how it is written.
        names = [
            description if description.startswith(name) else name
            for name, description in registered(self._kind).items()
        ]
        shown = copy.copy(self)
        shown.help = f"{self.help} There are {', '.join(names)}."
        return click.Option.get_help_record(shown, ctx)


def options(*decorators: Callable[..., Any]) -> Callable[..., Any]:
    """Several options as one decorator, the first of them first in the help."""

    def decorate(function: Any) -> Any:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


id_option = click.option("--id", "id", required=True, metavar="SPEC", help="In-distribution data.")
data_dir_option = click.option(
    "--data-dir",
    metavar="PATH",
    help="Folder of the TensorFlow datasets, or of OpenOOD's data.",
    default=None,
)
input_range_option = click.option(
    "--input-range",
    nargs=2,
    type=float,
    metavar="LO HI",
    default=None,
    help="Range of the classifier's inputs. By default what its first layers or the data show, "
    "else 0 1, which is then said.",
)
model_option = click.option(
    "--model",
    cls=NameOption,
    kind="networks",
    required=True,
    metavar="NAME|PATH",
    help="Network by name, or .keras to fine-tune.",
)
ood_option = click.option(
    "--ood", multiple=True, required=True, metavar="SPEC", help="OOD data; repeat."
)
json_option = click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print JSON, for machines, and everything else to standard error.",
)
batch_size_option = click.option(
    "--batch-size", type=click.IntRange(1), default=128, show_default=True
)
statistics_option = click.option(
    "--statistics",
    metavar="SPEC",
    default=None,
    help="Training data for detectors with statistics. The train part of --id by default.",
)
