"""Whether data are there, asked before the long work that needs them."""

from __future__ import annotations

import os
from pathlib import Path

from keras_lodin.data.sources.tfds import find_builder
from keras_lodin.data.specification import parse


def missing(specification: str, data_dir: str | os.PathLike[str] | None = None) -> str | None:
    """What stands in the way of loading a data source.

    Args:
        specification: in the language that `keras_lodin.data.SOURCES` describes.
        data_dir: folder of the TensorFlow datasets.

    Returns:
        None if the data are there, are made on the spot, or will be downloaded when they are
        loaded; else a sentence that says what is missing.

    Raises:
        ValueError: if the specification is not in the language.
    """
    spec = parse(specification)
    if spec.kind in ("dir", "npz"):
        path = Path(spec.options["path"])
        return None if path.exists() else f"there is nothing at {path}"
    if spec.kind != "tfds":
        return None
    try:
        builder = find_builder(specification, spec.options["dataset"], data_dir)
    except (ValueError, OSError) as error:
        return str(error)
    instructions = builder.MANUAL_DOWNLOAD_INSTRUCTIONS
    if not builder.info.splits and instructions:
        return (
            f"TensorFlow Datasets cannot download {spec.options['dataset']!r} by itself: "
            f"{' '.join(instructions.split())}"
        )
    return None
