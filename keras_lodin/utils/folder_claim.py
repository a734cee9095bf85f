"""One run at a time in a folder."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path

from keras_lodin.utils.files import OWN_PREFIX, check_fillable, has_locks, locked

_NAME = f"{OWN_PREFIX}.lock"
# Folder -> the thread of this process that has claimed it. The system tells processes apart only.
_claimed: dict[str, int] = {}
_guard = threading.Lock()


@contextlib.contextmanager
def claimed(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Claims a folder for one run, from before its work to the end of it.

    The claim is a lock of the operating system on the file `.keras-lodin.lock`, which says who has
    it. It ends with the process, however that ends: a killed run blocks nobody. The same thread may
    claim a folder again while it has it. Where there are no such locks (Windows, some network
    disks) a warning says so, and the run goes on.

    What killed processes left in the folder is cleared up. A folder that was made for the claim and
    stayed empty is removed at the end.

    Args:
        folder: the folder, which need not be there yet.

    Raises:
        ValueError: if another run has it, with who that is.
        OSError: if nothing can be written there.
    """
    folder = Path(os.path.realpath(folder))
    key, thread = str(folder), threading.get_ident()
    with _guard:
        holder = _claimed.get(key)
        if holder is None:
            _claimed[key] = thread
    if holder == thread:
        yield
        return
    if holder is not None:
        raise _in_use(folder, {"pid": os.getpid()})
    try:
        check_fillable(folder)
        missing = [place for place in (folder, *folder.parents) if not place.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with _locked(folder):
                yield
        finally:
            for place in missing:
                with contextlib.suppress(OSError):
                    place.rmdir()
    finally:
        with _guard:
            del _claimed[key]


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    if not has_locks():
        _warn_of_no_locks(folder)
        yield
        return
    path = folder / _NAME
    descriptor = _open_locked(path)
    try:
        holder = {"pid": os.getpid(), "host": platform.node(), "since": int(time.time())}
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(holder).encode(), 0)
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def _open_locked(path: Path) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        ours = locked(descriptor)
        if ours is None:
            _warn_of_no_locks(path.parent)
            return descriptor
        if not ours:
            os.close(descriptor)
            raise _in_use(path.parent, _read_holder(path))
        # The holder before may have removed the file after it was opened here.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                return descriptor
        os.close(descriptor)


def _read_holder(path: Path) -> dict[str, object]:
    try:
        holder = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # It is only just being written, or removed.
        return {}
    return holder if isinstance(holder, dict) else {}


def _in_use(folder: Path, holder: Mapping[str, object]) -> ValueError:
    who = f"process {holder['pid']}" if "pid" in holder else "another process"
    if holder.get("host", platform.node()) != platform.node():
        who += f" on {holder['host']}"
    since = holder.get("since")
    if isinstance(since, int):
        who += time.strftime(" since %Y-%m-%d %H:%M:%S", time.localtime(since))
    return ValueError(
        f"Another run is at work in the folder: {who}. Wait for its end, or choose another folder. "
        f"Received: output={str(folder)!r}"
    )


def _warn_of_no_locks(folder: Path) -> None:
    warnings.warn(
        "This system or disk has no locks on files, so that a second run in the same folder would "
        f"not be noticed. Take care to start only one. Received: output={str(folder)!r}",
        RuntimeWarning,
        stacklevel=5,
    )
