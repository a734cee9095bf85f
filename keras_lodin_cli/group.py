"""What all commands have in common: their mistakes are sentences, and their answers come alone."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import warnings
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import click

from keras_lodin_cli.keras_quietly import import_keras_quietly
from keras_lodin_cli.registered import with_listings


class Command(click.Command):
    """A command whose user's mistakes end in one sentence and exit code 2, never a traceback."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """With mistakes shown as text."""
        with _names_shown_as_text():
            return super().parse_args(ctx, args)

    def invoke(self, context: click.Context) -> Any:
        """With Keras's backend there, and nothing of it on the screen."""
        try:
            self.prepare(context)
            _print_every_name()
            with _names_shown_as_text(), _warnings_as_sentences():
                return super().invoke(context)
        except BrokenPipeError:
            raise
        except (ValueError, OSError, TypeError, ImportError) as error:
            if os.environ.get("KERAS_LODIN_TRACEBACK"):
                raise
            raise click.UsageError(_one_line(str(error)) or type(error).__name__) from error

    def prepare(self, context: click.Context) -> None:
        """Brings what the command needs, whose import takes long: Keras with its backend."""
        import_keras_quietly()

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """With the lists that it asks for, which are made only when somebody reads them."""
        if self.epilog:
            formatter.write_paragraph()
            with formatter.indentation():
                formatter.write_text(with_listings(self.epilog))


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
    # Here, and not above: it imports Keras and its backend, and few messages need it.
    from keras_lodin.utils.foreign_text import shown

    return shown(line)


def _print_every_name() -> None:
    """Lets letters that the terminal's encoding lacks be printed as escapes, not end the answer."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


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


class Group(click.Group):
    """A group of such commands."""

    command_class = Command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """With mistakes shown as text."""
        with _names_shown_as_text():
            return super().resolve_command(ctx, args)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """With mistakes shown as text."""
        with _names_shown_as_text():
            return super().parse_args(ctx, args)


@click.group(
    cls=Group,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Example: keras-lodin quickstart",
)
@click.version_option(version("keras-lodin"), prog_name="keras-lodin")
def main() -> None:
    """Teach a classifier to know when it does not know, measure it, and ship it in one file.

    Set KERAS_BACKEND=jax or KERAS_BACKEND=torch to run on that backend of Keras instead of
    TensorFlow, and KERAS_LODIN_TRACEBACK=1 to see where an error comes from.
    """
