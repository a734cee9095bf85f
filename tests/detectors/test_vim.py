"""ViM and its residual against NumPy in float64, from features in memory."""

import keras
import numpy as np
import pytest
from keras import layers
from scipy.special import logsumexp

import keras_lodin
from keras_lodin.detectors.residual import directions_left_out
from tests.detectors import heads_and_data as small


def reference(train, test, kernel, bias, dimension):
    """Residuals and scores of ViM; residuals alone of `W h + b` and the training features."""
    origin = -np.linalg.pinv(kernel.T) @ bias
    values, vectors = np.linalg.eigh((train - origin).T @ (train - origin) / len(train))
    rest = vectors[:, np.argsort(-values)[dimension:]]
    residuals = [np.linalg.norm((h - origin) @ rest, axis=-1) for h in (train, test)]
    scale = np.max(train @ kernel + bias, axis=-1).mean() / residuals[0].mean()
    return residuals[1], logsumexp(test @ kernel + bias, axis=-1) - scale * residuals[1]


def linear(kernel, bias=None):
    head = layers.Dense(kernel.shape[1], use_bias=bias is not None)
    model = keras.Sequential([keras.Input((len(kernel),)), head])
    model.set_weights([np.float32(kernel)] + ([] if bias is None else [np.float32(bias)]))
    return model


def test_scores_of_every_dimension_are_of_one_adapt():
    x, _ = small.data()
    train, _, kernel, bias = small.in_float64(x)
    test = small.in_float64(small.mixed_inputs())[0]
    residual = keras_lodin.ResidualDetector(small.classifier())
    vim = keras_lodin.VIMDetector(small.classifier())
    keras_lodin.detectors.statistics_detector.adapt_together([residual, vim], x)
    forward_pass = vim.forward_pass(small.mixed_inputs())
    for dimension, left_out in ((None, 6), (1, 1), (4, 4), (0.25, 3), (0.125, 2)):
        expected = reference(train, test, kernel, bias, left_out)
        settings = {"dimension": dimension}
        found = residual.score_with(forward_pass, settings)
        np.testing.assert_allclose(found, -expected[0], rtol=1e-5, atol=1e-5)
        found = vim.score_with(forward_pass, settings)
        np.testing.assert_allclose(
            found, expected[1], rtol=1e-5, atol=1e-5 * np.abs(expected[1]).max()
        )
    np.testing.assert_array_equal(small.scores(vim), vim.score_with(forward_pass, {"dimension": 6}))


def test_without_a_bias_the_origin_is_zero(rng):
    kernel, x = rng.normal(size=(6, 3)), rng.normal(size=(50, 6)).astype("float32")
    detector = keras_lodin.VIMDetector(linear(kernel), dimension=2)
    detector.adapt(x)
    expected = reference(np.float64(x), np.float64(x), np.float32(kernel), np.zeros(3), 2)[1]
    np.testing.assert_allclose(small.scores(detector, x), expected, rtol=1e-5, atol=1e-5)


def test_dead_units_leave_a_residual_to_measure(rng):
    """Three of eight features are 0, and five directions are to be left out, or more."""
    x = (rng.normal(size=(60, 8)) * [1, 1, 1, 1, 1, 0, 0, 0]).astype("float32")
    kernel, bias = rng.normal(size=(8, 4)), np.zeros(4)
    last = reference(np.float64(x), np.float64(x), np.float32(kernel), bias, 4)
    detector = keras_lodin.VIMDetector(linear(kernel, bias))
    detector.adapt(x)
    for dimension in (4, 5, 6, 0.9):
        detector.dimension = dimension
        found = small.scores(detector, x)
        np.testing.assert_allclose(found, last[1], rtol=1e-4, atol=1e-5)
    alive = x.copy()
    alive[:, 7] = 3.0
    assert np.all(small.scores(detector, alive) < found - 1.0 + (alive - x) @ kernel.max(axis=1))


def test_order_of_classes_and_of_samples_does_not_matter(rng):
    kernel, bias = rng.normal(size=(6, 5)), rng.normal(size=5)
    x, order = rng.normal(size=(50, 6)).astype("float32"), rng.permutation(5)
    found = []
    for weights, data in (((kernel, bias), x), ((kernel[:, order], bias[order]), x[::-1])):
        detector = keras_lodin.VIMDetector(linear(*weights))
        detector.adapt(data)
        found.append(small.scores(detector, x))
    np.testing.assert_allclose(*found, rtol=1e-4, atol=1e-5)


def test_the_scale_of_a_sample_is_near_that_of_all():
    x, y = small.data()
    every, some = (
        keras_lodin.VIMDetector(small.classifier(), sample_size=count) for count in (400, 100)
    )
    for detector in (every, some):
        detector.adapt(x, y)
    np.testing.assert_allclose(some._scales[3], every._scales[3], rtol=0.3)
    np.testing.assert_array_equal(some._directions, every._directions)


def test_a_sample_of_fewer_than_there_are_classes_has_a_scale():
    detector = keras_lodin.VIMDetector(small.classifier(), sample_size=small.CLASSES - 2)
    detector.adapt(*small.data())
    assert np.isfinite(small.scores(detector)).all()


def test_features_of_zero_have_a_score():
    detector = keras_lodin.VIMDetector(small.classifier())
    detector.adapt(small.data()[0])
    zeros = np.zeros((1, small.FEATURES), "float32")
    score = detector.head_score(zeros, np.zeros((1, small.CLASSES), "float32"), detector.settings)
    assert np.isfinite(score).all()


@pytest.mark.parametrize(
    ("size", "expected"), [(2048, 1000), (2047, 512), (768, 512), (767, 383), (64, 32)]
)
def test_the_papers_rule(size, expected):
    assert directions_left_out(None, size) == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dimension": 12}, r"below the number of features.*less than 12. Received: dimension=12"),
        ({"dimension": 2.5}, r"`dimension` must be a whole number.*Received: dimension=2.5"),
        ({"dimension": 0}, r"Received: dimension=0"),
        ({"sample_size": 0}, r"`sample_size` must be .*Received: sample_size=0"),
    ],
)
def test_impossible_settings_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        keras_lodin.VIMDetector(small.classifier(), **options)


def test_a_dimension_of_all_features_is_refused_when_it_is_set_and_nothing_changes():
    detector = keras_lodin.ResidualDetector(small.classifier(), dimension=3)
    detector.threshold = -0.5
    with pytest.raises(ValueError, match="below the number of features"):
        detector.dimension = 40
    assert (detector.dimension, detector.threshold) == (3, -0.5)


def test_logits_that_are_below_zero_and_features_that_are_the_origin_are_refused(rng):
    x = rng.normal(size=(50, 6)).astype("float32")
    below = keras_lodin.VIMDetector(linear(rng.normal(size=(6, 3)), np.full(3, -50.0)))
    with pytest.raises(ValueError, match=r"largest logit must be above 0.*Received: a mean of -4"):
        below.adapt(x)
    with pytest.raises(ValueError, match=r"must not all have logits of 0.*Received: 50 samples"):
        keras_lodin.VIMDetector(linear(rng.normal(size=(6, 3)))).adapt(0 * x)
