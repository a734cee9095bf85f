"""What an export tells the person who asked for it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from rich.console import Console

from keras_lodin.metrics.scores import promised
from keras_lodin.utils.foreign_text import shown


def _promise(metadata: dict[str, Any]) -> str:
    names = ("tpr", "calibration_count", "confidence")
    return promised(*(metadata[name] for name in names))


def announce(
    metadata: dict[str, Any], kind: str, path: str | os.PathLike[str], more: Sequence[str] = ()
) -> None:
    """Prints what an artifact is, where it went, and what it cannot do yet."""
    shape = tuple("free" if size is None else size for size in metadata["input_shape"])
    lines = [
        f"{kind} of {metadata['detector']}: {path}",
        f"  input   {metadata['input_name']} float32 ({', '.join(map(str, shape))})",
        *(f"  input   {name} float32 (free)" for name in metadata["side_inputs"]),
        f"  outputs {', '.join(metadata['output_names'])}",
    ]
    if metadata["calibrated"]:
        lines.append(f"  threshold {metadata['threshold']:.6g}: is_ood is score <= threshold")
        if metadata["tpr"] is not None:
            lines.append(f"  promise   {_promise(metadata)}")
    else:
        lines.append(
            "  Note: the detector has no threshold, so `is_ood` is always False. Run `calibrate` "
            "(`keras-lodin tune`) on in-distribution data and export again, or pass a threshold "
            "when scoring."
        )
    lines.extend(more)
    # Not wrapped: paths are there to be copied.
    Console().print("\n".join(map(shown, lines)), soft_wrap=True, highlight=False, markup=False)
