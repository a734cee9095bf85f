"""KL-Matching against scipy's divergence, in float64."""

import keras
import numpy as np
from scipy.special import softmax
from scipy.stats import entropy

import keras_lodin
from tests.detectors import heads_and_data as small


def expected(training, logits):
    probabilities, predicted = softmax(training, axis=-1), training.argmax(axis=-1)
    means = [probabilities[predicted == number].mean(axis=0) for number in np.unique(predicted)]
    return [
        -min(entropy(p, np.maximum(mean, np.finfo("float32").tiny)) for mean in means)
        for p in softmax(logits, axis=-1)
    ]


def test_score_is_that_of_scipy_and_labels_do_not_matter():
    detector = keras_lodin.KLMatchingDetector(small.classifier())
    x, y = small.data()
    # Which is said to be of another class, is of the one that is predicted.
    for data in ((x,), (x, np.roll(y, 1))):
        detector.adapt(*data)
        _, training, *_ = small.in_float64(x)
        _, logits, *_ = small.in_float64(small.mixed_inputs())
        found = small.scores(detector)
        np.testing.assert_allclose(found, expected(training, logits), rtol=1e-5, atol=2e-6)
        assert found.max() < 1e-6


def logits_classifier(classes=4):
    inputs = keras.Input((classes,))
    dense = keras.layers.Dense(classes, use_bias=False, kernel_initializer="identity")
    model = keras.Model(inputs, dense(inputs))
    return keras_lodin.KLMatchingDetector(model, from_logits=True, input_range=(-300, 300))


def test_a_class_that_is_never_predicted_is_no_candidate_and_sure_samples_are_finite():
    detector = logits_classifier()
    rng = np.random.default_rng(0)
    training = rng.normal(size=(40, 4)).astype("float32")
    training[:, 3] = -200.0
    training[0, :3] = 200.0, -200.0, -200.0
    detector.adapt(training)
    tested = np.concatenate([training[:5], [[-200.0, -200.0, -200.0, 200.0], [0.0] * 4]])
    found = small.scores(detector, tested.astype("float32"))
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found, expected(training.astype("float64"), tested), rtol=1e-5)


def test_classes_may_stand_in_any_order():
    order = [2, 0, 3, 1]
    training = np.random.default_rng(0).normal(size=(40, 4)).astype("float32")
    found = []
    for data in (training, training[:, order]):
        detector = logits_classifier()
        detector.adapt(data)
        found.append(small.scores(detector, data))
    np.testing.assert_allclose(*found, rtol=1e-5, atol=1e-6)
