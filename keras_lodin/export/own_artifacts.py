"""An export replaces what an export wrote, and nothing else."""

from __future__ import annotations

import json
import mmap
import re
from pathlib import Path

from keras_lodin.export.metadata import METADATA_FILE, METADATA_KEY
from keras_lodin.utils.files import check_replaceable

# What `tf.saved_model.save` and `export_saved_model` write.
_SAVED_MODEL_FILES = re.compile(
    r"saved_model\.pb|fingerprint\.pb|variables/variables\.(index|data-\d{5}-of-\d{5})|"
    + re.escape(METADATA_FILE.as_posix())
)
_SAVED_MODEL_FOLDERS = ("assets", "variables", METADATA_FILE.parent.as_posix())
_REPORT_FIELDS = {"file", "opset", "parity", "metadata"}


def check_folder_is_own(path: Path) -> None:
    """Refuses to replace a folder with anything in it but an exported SavedModel.

    Raises:
        ValueError: if it holds something else, which is named.
        OSError: if no folder can be moved there.
    """
    if path.is_dir() and any(path.iterdir()):
        entries = (_foreign(path, entry) for entry in sorted(path.rglob("*")))
        foreign = next(filter(None, entries), None)
        if foreign is None and not (path / METADATA_FILE).is_file():
            foreign = "a SavedModel without the file " + METADATA_FILE.as_posix()
        if foreign is not None:
            raise ValueError(
                "The folder holds something else than a SavedModel that was exported by this "
                "package, which would be lost. Expected a new path, an empty folder or an old "
                f"export; move away what is yours. Received: path={path}, with {foreign}"
            )
    check_replaceable(path, folder=True)


def check_file_is_own(path: Path, suffix: str, kind: str) -> None:
    """Refuses a path that an artifact which is a file cannot be written to.

    Raises:
        ValueError: for a name that does not end in the suffix, a folder, or a file that is no
            artifact of this package; an empty one is nobody's.
        OSError: if no file can be moved there.
    """
    if path.suffix != suffix:
        raise ValueError(f"{kind} file's name must end in {suffix}. Received: path={path}")
    if path.is_dir():
        raise ValueError(
            f"{kind} artifact is a file, and there is a folder of that name. Received: path={path}"
        )
    if path.is_file() and path.stat().st_size and not _names_this_package(path):
        raise ValueError(
            "There is a file of that name which was not exported by this package, and would be "
            f"lost. Choose another name, or move the file away. Received: path={path}"
        )
    check_replaceable(path)


def check_report_is_own(path: Path) -> None:
    """Refuses to replace a file that is no report of an export.

    Raises:
        ValueError: if there is a file of somebody else's.
        OSError: if no file can be moved there.
    """
    if path.is_file() and path.stat().st_size:
        try:
            report = json.loads(path.read_bytes())
        except ValueError:
            report = None
        if not isinstance(report, dict) or not report.keys() >= _REPORT_FIELDS:
            raise ValueError(
                "The export writes its report beside the file, and another file has that name, "
                "which would be lost. Choose another name for the artifact, or move the file away. "
                f"Received: {path}"
            )
    check_replaceable(path)


def _foreign(folder: Path, entry: Path) -> str | None:
    """The name of an entry that no export writes."""
    name = entry.relative_to(folder).as_posix()
    if entry.is_symlink():
        return name
    if entry.is_dir():
        return None if name in _SAVED_MODEL_FOLDERS else f"{name}/"
    return None if entry.is_file() and _SAVED_MODEL_FILES.fullmatch(name) else name


def _names_this_package(path: Path) -> bool:
    """Whether the metadata's key is in the file: it need not be whole to be ours."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(METADATA_KEY.encode()) >= 0
