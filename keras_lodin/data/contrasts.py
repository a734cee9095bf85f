"""Data made of in-distribution data that stand for what is out-of-distribution."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from keras_lodin.data.clouds import clouds
from keras_lodin.data.mirrored import mirrored
from keras_lodin.data.scrambled import scrambled

# Three that fail in different ways, so that a setting which is good against all of them is seldom
# far off (docs/results/contrasts.md): blocks that change places keep parts of objects and add
# edges, a mirrored part adds none and keeps a texture, clouds keep nothing.
# By name, each from `(batch, ...)`, channels last, to the same shape and dtype.
CONTRASTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "scrambled": scrambled,
    "mirrored": mirrored,
    "clouds": clouds,
}
