"""What commands found, for a person or for a machine."""

from __future__ import annotations

import json
import shlex
import sys
from typing import Any

import click
from rich.console import Console

# Paths are long, and are there to be copied.
_NO_LIMIT = 100_000


def command_line() -> str:
    """The command as it was given, for results to record."""
    return shlex.join(["keras-lodin", *sys.argv[1:]])


def show(table: Any, document: Any, as_json: bool) -> None:
    """Prints what a command found, for a person or for a machine."""
    if as_json:
        from keras_lodin.utils.foreign_text import encodable, json_value

        document = encodable(json_value(document))
        text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
        try:
            text.encode(sys.stdout.encoding or "utf-8")
        except UnicodeEncodeError:
            # The stream would escape what it cannot write as Python does, which is no JSON.
            text = json.dumps(document, indent=2, allow_nan=False)
        click.echo(text)
    else:
        print_tables(table)


def print_tables(*parts: Any) -> None:
    """Prints tables: to the width of a terminal, and without any limit into a pipe or a file."""
    console = Console() if sys.stdout.isatty() else Console(width=_NO_LIMIT)
    console.print(*parts)


def say(text: str, err: bool = False) -> None:
    """Prints a line in which names stay names."""
    from keras_lodin.utils.foreign_text import shown

    click.echo(shown(text), err=err)
