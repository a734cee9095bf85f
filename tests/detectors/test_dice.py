"""DICE against NumPy, in float64."""

import numpy as np
import pytest
from scipy.special import logsumexp

import keras_lodin
from tests import networks
from tests.detectors import heads_and_data as small


@pytest.fixture(scope="module")
def detector():
    made = keras_lodin.DICEDetector(small.classifier())
    made.adapt(small.data()[0])
    return made


@pytest.mark.parametrize("percentile", [*keras_lodin.DICEDetector.percentile.candidates, 0.333])
def test_score_is_that_of_numpy_for_every_candidate_after_one_adapt(detector, percentile):
    training, *_ = small.in_float64(small.data()[0])
    features, _, kernel, bias = small.in_float64(small.mixed_inputs())
    contributions = training.mean(axis=0)[:, None] * kernel
    kept = contributions > np.percentile(contributions, 100 * percentile)
    expected = features @ (kernel * (kept if percentile else 1.0)) + bias
    detector.percentile = percentile
    found = small.scores(detector)
    np.testing.assert_allclose(found, logsumexp(expected, axis=-1), rtol=1e-5, atol=1e-5)


def test_parts_that_are_merged_give_the_same(detector):
    features, logits, *_ = (value.astype("float32") for value in small.in_float64(small.data()[0]))
    before = np.asarray(detector._thresholds)
    first, second = detector.new_statistics(), detector.new_statistics()
    detector.observe(first, [features[:90]], logits[:90], small.data()[1][:90])
    detector.observe(second, [features[90:]], logits[90:], small.data()[1][90:])
    first["all"].merge(second["all"])
    detector.adapt_from(first)
    np.testing.assert_allclose(detector._thresholds, before, rtol=1e-6)


def test_signed_features_contribute_too(rng):
    classifier, inputs = networks.dense(), rng.uniform(size=(20, 10)).astype("float32")
    detector = keras_lodin.DICEDetector(classifier, percentile=0.5)
    detector.adapt(inputs)
    assert np.isfinite(small.scores(detector, inputs)).all()


def test_what_is_no_percentile_is_refused():
    with pytest.raises(ValueError, match=r"`percentile` must be .*Received: percentile=90"):
        keras_lodin.DICEDetector(small.classifier(), percentile=90)
