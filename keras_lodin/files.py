"""Files appear whole or not at all: written beside their place, then moved into it."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Gives a path beside `path` to write to, and moves it into place at the end.

    A reader never sees half a file: not after a full disk, an exception or a killed process.
    The name in between keeps the suffix, because Keras and numpy choose the format by it.

    Args:
        path: the file or folder to make or replace. Missing parent folders are made.

    Yields:
        the path to write a file, or to make a folder, at.

    Raises:
        OSError: if the folder cannot be written to or the disk is full. Nothing is left behind,
            and what stood at `path` before still stands there.

    Example:
    ```python
    with atomic_write("results.json") as temporary:
        temporary.write_text("{}")
    ```
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise NotADirectoryError(
            errno.ENOTDIR,
            "Expected a folder to write to, and a file has its name",
            str(path.parent),
        ) from None
    # The process number keeps two runs that write the same file out of each other's way.
    temporary = path.with_name(f".{path.stem}.{os.getpid()}-{uuid.uuid4().hex[:8]}{path.suffix}")
    try:
        yield temporary
        if not temporary.exists():
            raise OSError(f"Nothing was written to replace the file. Received: path={path}")
        _move_into_place(temporary, path)
    finally:
        _remove(temporary)


def _move_into_place(source: Path, target: Path) -> None:
    if target.is_dir() and not target.is_symlink() and not source.is_dir():
        raise IsADirectoryError(
            f"A folder stands where the file should go. Received: path={target}"
        )
    if not source.is_dir():
        os.replace(source, target)
        return
    # A folder with content cannot be replaced in one call: it steps aside first, and comes
    # back if the new one does not arrive.
    aside = source.with_name(source.name + ".old")
    while True:
        if target.is_dir() and not target.is_symlink():
            with contextlib.suppress(FileNotFoundError):
                os.replace(target, aside)
        try:
            os.replace(source, target)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                _remove(aside)  # Another writer's folder came in between: it steps aside too.
                continue
            if aside.exists():
                os.replace(aside, target)
            raise
        _remove(aside)
        return


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
