"""The one check of features before they are counted."""

from __future__ import annotations

import numpy as np


def checked_features(features: np.ndarray) -> np.ndarray:
    """Features in double precision.

    Raises:
        ValueError: if one is not finite.
    """
    features = np.asarray(features, "float64")
    finite = np.isfinite(features)
    if not finite.all():
        raise ValueError(
            "The features must be finite. Look for NaN and infinite values in the classifier's "
            "weights. Received: "
            f"{int((~finite).sum())} of {features.size} features that are not"
        )
    return features
