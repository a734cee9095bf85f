"""The one check of scores, before anything is concluded from them."""

from __future__ import annotations

import numpy as np


def check_scores(name: str, scores: np.ndarray, first: int = 0) -> None:
    """Raises ValueError unless all scores are finite.

    Args:
        name: of the detector, for the message.
        scores: shape `(batch,)`.
        first: the number of their first example within the data.
    """
    wrong = np.flatnonzero(~np.isfinite(scores))
    if wrong.size:
        raise ValueError(
            f"The scores of detector {name!r} must be finite. Look for NaN and infinite values in "
            "the classifier's weights, then in its logits. "
            f"Received: score={scores[wrong[0]]} for example {first + wrong[0]}"
        )
