"""Parquet files, opened with words for what may be wrong with them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

from keras_lodin.utils.needed_packages import imported_for

_BUFFER_BYTES = 2**20


@contextlib.contextmanager
def parquet_file(path: str | os.PathLike[str]) -> Iterator[Any]:
    """A `pyarrow.parquet.ParquetFile`, of which little is read ahead.

    Raises:
        ValueError: if it is damaged, also where that shows while it is read.
        ImportError: without pyarrow.
        OSError: if it cannot be read.
    """
    with imported_for("Reading Parquet files"):
        import pyarrow
        import pyarrow.parquet
    try:
        with pyarrow.parquet.ParquetFile(path, buffer_size=_BUFFER_BYTES) as file:
            yield file
    except (pyarrow.ArrowInvalid, pyarrow.ArrowNotImplementedError) as error:
        raise ValueError(
            "Expected a whole Parquet file; write or copy it again. "
            f"Received: path={os.fspath(path)!r}, {error}"
        ) from None
