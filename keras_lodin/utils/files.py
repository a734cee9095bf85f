"""Files appear whole or not at all: written beside their place, then moved into it.

What is being written lies in a hidden folder `.keras-lodin-XXXXXXXX` beside its place, which its
writer holds a lock on. The lock ends with the process, so the folder of a killed one is known, and
the next that writes there clears up after it: `clear_leftovers`.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import json
import os
import re
import shutil
import stat
import sys
import tempfile
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from keras_lodin.utils.foreign_text import encodable

try:
    import fcntl
except ImportError:  # Windows: `clear_leftovers` then goes by age.
    fcntl = None  # type: ignore[assignment]

# What this module makes for itself, and nobody else's file is called.
OWN_PREFIX = ".keras-lodin"
_WORKSPACE = re.compile(r"\.keras-lodin-[0-9a-f]{8}")
# Where no lock says whose a workspace is, one untouched for so long is nobody's.
_ABANDONED_SECONDS = 24 * 3600
_PROBE_BYTES = 4096

# Parts of a workspace: being written; stepped aside; a set being written; a set complete, and
# from then on to be moved into place whatever happens; what that set makes out of date.
_NEW, _OLD, _SET, _READY, _STALE = "new", "old", "set", "ready", "stale.json"


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Gives a path beside `path` to write to, and moves it into place at the end.

    A reader never sees half a file: not after a full disk, an exception or a killed process.
    The path in between has the same name in another folder, because Keras and numpy choose the
    format by the suffix.

    A symbolic link stays, and what it points to is replaced. A device, a pipe or a standard stream
    (`/dev/stdout`) is written to as a stream.

    On Linux a folder changes places with the new one in one step, where the file system can do
    that. Elsewhere it steps aside first; after a kill in between, `clear_leftovers` puts it back.

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
    if is_stream(path):
        with tempfile.TemporaryDirectory() as folder:
            temporary = Path(folder) / Path(path).name
            yield temporary
            _check_written(temporary, path)
            with _opened_stream(path) as stream, temporary.open("rb") as content:
                shutil.copyfileobj(content, stream)
        return
    target = Path(os.path.realpath(path))
    _make_folder(target.parent)
    with _workspace(target.parent) as workspace:
        temporary = workspace / _NEW / target.name
        temporary.parent.mkdir()
        yield temporary
        _check_written(temporary, path)
        _move_into_place(temporary, target, workspace / _OLD / target.name)


@contextlib.contextmanager
def write_together(
    folder: str | os.PathLike[str], last: str, stale: Iterable[str] = ()
) -> Iterator[Path]:
    """Gives a folder to write several files in, and moves them into place together at the end.

    Nothing in `folder` changes before all files are written. They are then moved one by one, the
    most telling one last. After a kill amid the moves `clear_leftovers` finishes them, so that the
    same command, started again, finds all files new. Other files in the folder are left alone.

    Args:
        folder: where the files belong; made if missing.
        last: the name of the file that is moved last.
        stale: names of files in `folder` that belong to the set before and not to this one; they
            are removed.

    Yields:
        the folder to write the files in, in sub-folders if they belong there.

    Raises:
        OSError: if a file cannot be written. What stood in `folder` before still stands there.

    Example:
    ```python
    with write_together("results", last="results.json") as temporary:
        (temporary / "scores.csv").write_text("")
        (temporary / "results.json").write_text("{}")
    ```
    """
    target = Path(os.path.realpath(folder))
    _make_folder(target)
    with _workspace(target) as workspace:
        written = workspace / _SET
        written.mkdir()
        try:
            yield written
        except OSError as error:
            _name_final_place(error, written, Path(folder))
            raise
        _check_written(written / last, Path(folder) / last)
        for file in _files_in(written):
            _check_takes_file(target / file.relative_to(written))
        (workspace / _STALE).write_text(json.dumps(list(stale)), encoding="utf-8")
        os.replace(written, workspace / _READY)
        _finish_moves(workspace, target, last)


def write_file(path: str | os.PathLike[str], content: bytes) -> None:
    """Writes a file whole or not at all, and its missing folders.

    Raises:
        OSError: if it cannot be written; the message names `path`, not a temporary file.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(
            errno.EISDIR, "Expected the name of a file, not a folder", str(path)
        )
    try:
        with atomic_write(path) as temporary:
            temporary.write_bytes(content)
    except NotADirectoryError:
        raise
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def write_json(document: Mapping[str, object], path: str | os.PathLike[str]) -> None:
    """Writes a document as strict JSON in UTF-8.

    Args:
        document: dictionaries, lists, text and numbers. Names that UTF-8 cannot hold are made to
            fit, see `keras_lodin.utils.foreign_text.encodable`.
        path: the file to write or replace.

    Raises:
        ValueError: for NaN or infinity, which JSON does not have.
        OSError: if it cannot be written.
    """
    # Strict JSON: what other languages cannot read must fail here, not there.
    text = json.dumps(encodable(document), indent=2, ensure_ascii=False, allow_nan=False)
    write_file(path, f"{text}\n".encode())


def file_digest(path: str | os.PathLike[str]) -> str:
    """The SHA-256 digest of a file, read piece by piece."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while piece := file.read(2**20):
            digest.update(piece)
    return digest.hexdigest()


def file_digests(folder: Path) -> dict[str, str]:
    """The SHA-256 digests of all files in a folder, by their names from there.

    Written into the file that is moved into place last, they tell a reader which files belong
    together.
    """
    return {
        path.relative_to(folder).as_posix(): file_digest(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def check_replaceable(path: str | os.PathLike[str], *, folder: bool = False) -> None:
    """Finds out before the work whether `atomic_write` can write a file, or a folder, after it.

    Clears up after killed processes there, see `clear_leftovers`.

    Raises:
        OSError: if it cannot, with `path` in the message: no permission, a full disk, a name that
            is too long, a file in place of a folder or a folder in place of a file.
    """
    if is_stream(path):
        if folder:
            raise NotADirectoryError(
                errno.ENOTDIR, "Expected the name of a folder, not a device", str(path)
            )
        if not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return
    target = Path(os.path.realpath(path))
    if target.exists() and target.is_dir() != folder:
        kind = ("a folder", "a file") if folder else ("a file", "a folder")
        raise (NotADirectoryError if folder else IsADirectoryError)(
            errno.ENOTDIR if folder else errno.EISDIR,
            f"Expected the name of {kind[0]}, not {kind[1]}",
            str(path),
        )
    _probe(target.parent, target.name, path)


def check_fillable(folder: str | os.PathLike[str]) -> None:
    """Finds out before the work whether files can be written into a folder after it.

    Clears up after killed processes there, see `clear_leftovers`. The folder need not be there yet.

    Raises:
        OSError: if they cannot, with `folder` in the message.
    """
    _probe(Path(os.path.realpath(folder)), "probe", folder)


def check_no_input(
    output: str | os.PathLike[str], inputs: Iterable[str | os.PathLike[str]]
) -> None:
    """Refuses an output that would replace what the work reads, or land inside it.

    Raises:
        ValueError: if the output is one of the files or folders that are read, or lies in one of
            them, by whatever name.
    """
    place = Path(os.path.realpath(output))
    above = [folder.stat() for folder in (place, *place.parents) if folder.exists()]
    for given in inputs:
        try:
            known = os.stat(given)
        except OSError:
            continue  # What is not there cannot be damaged.
        # By number, not by name: a link is another name.
        if any(os.path.samestat(known, status) for status in above):
            raise ValueError(
                "The output is also an input, or lies inside one, which it would damage. Choose "
                f"another place. Received: output={str(output)!r}, input {str(given)!r}"
            )


def clear_leftovers(folder: str | os.PathLike[str]) -> None:
    """Clears up in a folder after processes that were killed while they wrote there.

    Sets of files that were complete are moved into place, folders that had stepped aside come back
    if nothing took their place, and the rest is removed. What a living process is writing is left
    alone, and so is a folder that is not there.
    """
    folder = Path(os.path.realpath(folder))
    with contextlib.suppress(OSError):
        names = [name for name in os.listdir(folder) if _WORKSPACE.fullmatch(name)]
        for name in names:
            # What cannot be cleared up, in a folder that may not be written to, does no harm.
            with contextlib.suppress(OSError):
                _clear_leftover(folder / name)


def holds_others(folder: str | os.PathLike[str]) -> bool:
    """Whether a folder holds anything but what this package makes for itself."""
    return any(not name.startswith(OWN_PREFIX) for name in os.listdir(folder))


def is_stream(path: str | os.PathLike[str]) -> bool:
    """Whether a path is to be written to as a stream: a device, a pipe, `/dev/stdout`."""
    if _own_descriptor(path) is not None:
        return True
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _own_descriptor(path: str | os.PathLike[str]) -> int | None:
    """The open file of this process that a path such as `/dev/stdout` stands for."""
    current = os.path.abspath(path)
    for _ in range(10):
        parent, name = os.path.split(current)
        # Not the file behind it: a shell that sent the output there keeps writing to that one.
        if name.isdigit() and re.fullmatch(
            rf"/proc/({os.getpid()}|self)(/task/\d+)?/fd", os.path.realpath(parent)
        ):
            return int(name)
        if not os.path.islink(current):
            return None
        current = os.path.normpath(os.path.join(parent, os.readlink(current)))
    return None


@contextlib.contextmanager
def _opened_stream(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    own = _own_descriptor(path)
    if own is None:
        with open(path, "wb") as stream:
            yield stream
        return
    # What was printed before comes first.
    sys.stdout.flush()
    with os.fdopen(os.dup(own), "wb") as stream:
        yield stream


def _check_written(temporary: Path, path: str | os.PathLike[str]) -> None:
    if not temporary.exists():
        raise OSError(f"Nothing was written to replace the file. Received: path={path}")


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise _file_in_the_way(folder) from None


def _file_in_the_way(folder: str | os.PathLike[str]) -> OSError:
    return NotADirectoryError(
        errno.ENOTDIR, "Expected a folder to write to, and a file has its name", str(folder)
    )


def _probe(folder: Path, name: str, path: str | os.PathLike[str]) -> None:
    """Writes a little where a file is to go, its missing folders and its own name included."""
    clear_leftovers(folder)
    existing = folder
    while not existing.exists():
        existing = existing.parent
    if not existing.is_dir():
        raise _file_in_the_way(folder)
    try:
        with _workspace(existing) as workspace:
            place = workspace / folder.relative_to(existing)
            place.mkdir(parents=True, exist_ok=True)
            (place / name).write_bytes(bytes(_PROBE_BYTES))
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


@contextlib.contextmanager
def _workspace(folder: Path) -> Iterator[Path]:
    """A new hidden folder in `folder`, ours until the end and then removed."""
    while True:
        workspace = folder / f"{OWN_PREFIX}-{uuid.uuid4().hex[:8]}"
        workspace.mkdir()
        with contextlib.ExitStack() as stack:
            stack.callback(_remove, workspace)
            try:
                ours = stack.enter_context(_lock(workspace))
            except FileNotFoundError:
                continue
            # Between the two steps it was nobody's, and may have been cleared up.
            if ours is not False and workspace.exists():
                yield workspace
                return


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[bool | None]:
    """`locked` on a folder itself, which needs no file."""
    if not has_locks():  # nor can a folder be opened there
        yield None
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        yield locked(descriptor)
    finally:
        os.close(descriptor)


def has_locks() -> bool:
    """Whether the system has locks on open files: all but Windows."""
    return fcntl is not None


def locked(descriptor: int) -> bool | None:
    """Locks an open file or folder until it is closed, as the end of the process does too.

    Returns:
        whether it is locked now: False if another has it; None on a disk without such locks.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _clear_leftover(workspace: Path) -> None:
    with _lock(workspace) as ours:
        if ours is None:
            ours = time.time() - workspace.stat().st_mtime > _ABANDONED_SECONDS
        if not ours:
            return
        if (workspace / _READY).exists():
            _finish_moves(workspace, workspace.parent)
        elif (workspace / _OLD).exists():
            for stepped_aside in (workspace / _OLD).iterdir():
                target = workspace.parent / stepped_aside.name
                if not target.exists():
                    os.replace(stepped_aside, target)
        _remove(workspace)


def _finish_moves(workspace: Path, folder: Path, last: str | None = None) -> None:
    ready = workspace / _READY
    for file in sorted(_files_in(ready), key=lambda file: file == ready / (last or "")):
        target = Path(os.path.realpath(folder / file.relative_to(ready)))
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            _keep_mode(file, target)
            os.replace(file, target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            # A link to a file on another disk.
            with atomic_write(target) as temporary:
                shutil.copyfile(file, temporary)
    # Not there once the clearing up has begun.
    with contextlib.suppress(FileNotFoundError):
        for name in json.loads((workspace / _STALE).read_text(encoding="utf-8")):
            (folder / name).unlink(missing_ok=True)


def _files_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if not path.is_dir())


def _check_takes_file(target: Path) -> None:
    if target.exists() and not target.is_file():
        raise IsADirectoryError(
            errno.EISDIR, "Expected a file to replace, and something else has its name", str(target)
        )
    for parent in target.parents:
        if parent.exists():
            if not parent.is_dir():
                raise _file_in_the_way(parent)
            return


def _name_final_place(error: OSError, written: Path, folder: Path) -> None:
    """A message names where a file belongs, not where it was being written."""
    if isinstance(error.filename, str) and written in Path(error.filename).parents:
        error.filename = str(folder / Path(error.filename).relative_to(written))


def _move_into_place(source: Path, target: Path, aside: Path) -> None:
    if target.is_dir() and not source.is_dir():
        raise IsADirectoryError(
            f"A folder stands where the file should go. Received: path={target}"
        )
    if not source.is_dir():
        _keep_mode(source, target)
        os.replace(source, target)
        return
    if target.is_dir() and _exchange(source, target):
        return
    # A folder with content cannot be replaced in one call: it steps aside first, and comes
    # back if the new one does not arrive.
    aside.parent.mkdir()
    while True:
        if target.is_dir():
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
        return


_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


def _exchange(first: Path, second: Path) -> bool:
    """Lets two folders change places in one step; False where that cannot be done."""
    if not sys.platform.startswith("linux"):
        return False
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    places = (_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second))
    # Whatever goes wrong, the two steps that follow will meet it again, and say what it is.
    return bool(rename(*places, _RENAME_EXCHANGE) == 0)


def _keep_mode(source: Path, target: Path) -> None:
    """Who may read the old file may read the new one, and nobody else."""
    with contextlib.suppress(OSError):
        source.chmod(stat.S_IMODE(target.stat().st_mode))


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
