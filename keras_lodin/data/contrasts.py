"""Data made of in-distribution data that stand for what is out-of-distribution."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from keras_lodin.data.mirrored import mirrored
from keras_lodin.data.scrambled import scrambled

# Two that fail in different ways: blocks that change places keep parts of objects and add edges, a
# mirrored part adds none and keeps a texture (docs/results/contrasts.md has what each was worth).
# By name, each from `(batch, ...)`, channels last, to the same shape and dtype.
CONTRASTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "scrambled": scrambled,
    "mirrored": mirrored,
}
