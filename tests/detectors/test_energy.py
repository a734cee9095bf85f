"""The energy of Liu et al. 2020, its sign turned so that higher is in-distribution."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.special import logsumexp

import keras_lodin


@pytest.mark.parametrize("temperature", [0.5, 1.0, 20.0])
def test_score_is_the_tempered_logsumexp(classifier, rng, temperature):
    logits = rng.normal(scale=5.0, size=(6, 7)).astype("float32")
    detector = keras_lodin.EnergyDetector(classifier, temperature=temperature)
    found = detector.score(SimpleNamespace(logits=logits))
    expected = temperature * logsumexp(logits / temperature, axis=-1)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
