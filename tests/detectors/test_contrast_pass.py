"""How well every candidate tells data from made-up ones, in one pass."""

import numpy as np
import pytest
from keras import ops

from keras_lodin.detectors.contrast_pass import separations
from keras_lodin.detectors.msp import MSPDetector
from tests.detectors import heads_and_data as small


@pytest.mark.parametrize("data", ["id", "ood"])
def test_a_candidate_that_has_no_score_is_told_of(data):
    """Whichever of the candidates it is."""
    x, _ = small.data(30, seed=3)
    far = x + np.float32(100.0 if data == "ood" else 0.0)

    def scores(inputs):
        sums = ops.sum(inputs, axis=-1)
        wrong = sums > 300.0 if data == "ood" else sums > float(np.sort(x.sum(-1))[-2])
        return [ops.stack([sums, ops.where(wrong, np.float32("nan"), sums)], axis=-1)]

    detector = MSPDetector(small.classifier())
    with pytest.raises(ValueError, match=r"Received: score=nan"):
        separations([detector], scores, x, far, "Trying", 16, 0)
