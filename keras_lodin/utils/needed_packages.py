"""Packages that only some of the work needs, imported where it is done."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from importlib.util import find_spec


@contextlib.contextmanager
def imported_for(work: str) -> Iterator[None]:
    """Turns a missing package into a sentence that says what to install.

    What only exports need is imported in their functions: nobody else waits for it, and everything
    else works where it is missing.

    Args:
        work: what needs the packages that are imported within, the beginning of a sentence.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = str(error.name).partition(".")[0]
        raise ImportError(
            f"{work} needs the package {package}, which is not installed here. Expected it beside "
            f"keras-lodin: pip install {package}. Received: {error}"
        ) from error


def has_tensorflow() -> bool:
    """Whether TensorFlow is installed, which Keras's backend may be or not. It is not imported."""
    return find_spec("tensorflow") is not None
