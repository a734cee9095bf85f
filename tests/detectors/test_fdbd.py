"""The distance to decision boundaries against a loop in float64."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_lodin
from tests.detectors import heads_and_data as small


def distances_to_boundaries(features, logits, kernel, mean):
    found = []
    for h, z in zip(features, logits, strict=True):
        y = z.argmax()
        pairs = [
            (z[y] - z[c]) / np.linalg.norm(kernel[:, y] - kernel[:, c])
            for c in range(len(z))
            if c != y and not np.array_equal(kernel[:, y], kernel[:, c])
        ]
        found.append(np.mean(pairs) / np.linalg.norm(h - mean))
    return np.array(found)


def test_score_is_the_mean_distance_by_that_to_the_mean():
    detector = keras_lodin.FDBDDetector(small.classifier())
    detector.adapt(small.data()[0])
    features, logits, kernel, _ = small.in_float64(small.mixed_inputs())
    mean = small.in_float64(small.data()[0])[0].mean(axis=0)
    expected = distances_to_boundaries(features, logits, kernel, mean)
    np.testing.assert_allclose(small.scores(detector), expected, rtol=1e-5)


def linear(kernel, bias):
    model = keras.Sequential([keras.Input((len(kernel),)), layers.Dense(len(bias))])
    model.set_weights([np.float32(kernel), np.float32(bias)])
    return model


def test_classes_of_equal_rows_have_no_boundary(rng):
    kernel = rng.normal(size=(6, 4)).astype("float32")
    kernel[:, 2] = kernel[:, 1]
    bias = np.array([0.1, -0.7, 3.3, 0.2], "float32")
    x = rng.normal(size=(50, 6)).astype("float32")
    detector = keras_lodin.FDBDDetector(linear(kernel, bias))
    detector.adapt(x)
    features, kernel = np.float64(x), np.float64(kernel)
    expected = distances_to_boundaries(
        features, features @ kernel + bias, kernel, features.mean(axis=0)
    )
    np.testing.assert_allclose(small.scores(detector, x), expected, rtol=1e-5)
    equal = keras_lodin.FDBDDetector(linear(np.ones((6, 4)), bias))
    with pytest.raises(ValueError, match=r"tell classes apart.*Received: 4 classes of equal rows"):
        equal.adapt(x)


def test_order_of_classes_does_not_matter(rng):
    kernel, bias = rng.normal(size=(6, 5)), rng.normal(size=5)
    order, x = rng.permutation(5), rng.normal(size=(40, 6)).astype("float32")
    found = []
    for weights in ((kernel, bias), (kernel[:, order], bias[order])):
        detector = keras_lodin.FDBDDetector(linear(*weights))
        detector.adapt(x)
        found.append(small.scores(detector, x))
    np.testing.assert_allclose(*found, rtol=1e-5)


def test_features_at_the_mean_and_at_zero_have_a_score(rng):
    x = np.ones((40, 6), "float32")
    detector = keras_lodin.FDBDDetector(linear(rng.normal(size=(6, 5)), rng.normal(size=5)))
    detector.adapt(x)
    assert np.isfinite(small.scores(detector, np.float32([6 * [1.0], 6 * [0.0]]))).all()
