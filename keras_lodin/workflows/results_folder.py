"""The folder that a job puts its results in."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from keras_lodin.data.specification import parse
from keras_lodin.utils.files import check_no_input
from keras_lodin.utils.folder_claim import claimed


@contextlib.contextmanager
def results_folder(
    output: str | os.PathLike[str] | None, *specifications: str | None
) -> Iterator[None]:
    """Claims the folder for a job, before its work: what cannot be written is said then.

    Args:
        output: the folder; None for a job that writes nothing.
        specifications: of the data that the job reads.

    Raises:
        ValueError: if another run is at work in the folder, or it is a folder of the data or lies
            in one, where plots would become images of it.
        OSError: if nothing can be written there.
    """
    if output is None:
        yield
        return
    folders = [parse(text).source.folder for text in specifications if text is not None]
    check_no_input(output, [folder for folder in folders if folder is not None])
    with claimed(output):
        yield
