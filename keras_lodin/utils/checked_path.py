"""The one check that a path is one."""

from __future__ import annotations

import os
from pathlib import Path


def checked_path(name: str, value: object) -> Path:
    """A path that a user gave as an argument.

    Raises:
        TypeError: for what is no path, such as None or a list of paths.
        ValueError: for an empty path, which `Path` takes for the working folder, and for one with a
            zero byte, which no system has.
    """
    if not isinstance(value, (str, os.PathLike)):
        raise TypeError(f"`{name}` must be a path. Received: {name}={value!r:.200}")
    if not os.fspath(value) or "\0" in str(value):
        raise ValueError(f"`{name}` must be the path of something. Received: {name}={value!r}")
    return Path(value)
