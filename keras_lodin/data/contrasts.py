"""Data made of in-distribution data that stand for what is out-of-distribution."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from keras_lodin.data.scrambled import scrambled

# By name, each from `(batch, ...)`, channels last, to the same shape and dtype.
CONTRASTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {"scrambled": scrambled}
