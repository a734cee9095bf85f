"""OpenMax against its definition in NumPy, with Weibull distributions by scipy."""

import keras
import numpy as np
import pytest
from scipy.special import expit, softmax
from scipy.stats import weibull_min

import keras_lodin
from tests.detectors import heads_and_data as small


def unknown(training, labels, logits, alpha, tail_size):
    """The probability of the unknown class, sample by sample."""
    correct = training.argmax(axis=-1) == labels
    means, models = [], []
    for number in range(training.shape[1]):
        own = training[correct & (labels == number)]
        means.append(own.mean(axis=0))
        tail = np.sort(np.linalg.norm(own - means[-1], axis=-1))[-tail_size:]
        start = tail[0] - 1.0
        shape, _, scale = weibull_min.fit(tail - start, floc=0.0)
        models.append((start, weibull_min(shape, scale=scale)))
    found = []
    for z in logits:
        revised = z.copy()
        for place, number in enumerate(np.argsort(-z)[:alpha]):
            start, model = models[number]
            outlying = model.cdf(np.linalg.norm(z - means[number]) - start)
            revised[number] = z[number] * (1.0 - outlying * (alpha - place) / alpha)
        found.append(softmax([*revised, (z - revised).sum()])[-1])
    return np.array(found)


@pytest.mark.parametrize("alpha", [1, 3, 10])
def test_score_orders_as_the_definition_does(alpha):
    detector = keras_lodin.OpenMaxDetector(small.classifier(), alpha=alpha, tail_size=15)
    detector.adapt(*small.data())
    _, training, *_ = small.in_float64(small.data()[0])
    _, logits, *_ = small.in_float64(small.mixed_inputs())
    expected = unknown(training, small.data()[1], logits, min(alpha, small.CLASSES), 15)
    found = small.scores(detector).astype("float64")
    np.testing.assert_allclose(expit(-found), expected, rtol=2e-5, atol=1e-6)
    np.testing.assert_allclose(found, np.log1p(-expected) - np.log(expected), rtol=1e-5, atol=1e-4)


def permuted(order):
    """The classifier with its classes in another order."""
    model = keras.models.clone_model(small.classifier())
    *weights, kernel, bias = small.classifier().get_weights()
    model.set_weights([*weights, kernel[:, order], bias[order]])
    return model


def test_classes_may_stand_in_any_order():
    order = [3, 1, 4, 0, 2]
    x, y = small.data()
    found = []
    for model, labels in ((small.classifier(), y), (permuted(order), np.argsort(order)[y])):
        detector = keras_lodin.OpenMaxDetector(model, alpha=2)
        detector.adapt(x, labels)
        found.append(small.scores(detector))
    np.testing.assert_allclose(*found, rtol=1e-4, atol=1e-4)


def test_of_a_class_without_a_correct_sample_nothing_is_known():
    x, y = small.data()
    detector = keras_lodin.OpenMaxDetector(small.classifier(), alpha=1)
    detector.adapt(x, y)
    before = small.scores(detector)
    detector.adapt(x, np.where(y == 2, 1, y))
    after = small.scores(detector)
    assert np.isfinite(after).all()
    _, logits, *_ = small.in_float64(small.mixed_inputs())
    as_two = (logits.argmax(axis=-1) == 2) & (logits.max(axis=-1) > 0.0)
    assert (after[as_two] <= before[as_two] + 1e-5).all()
    largest = logits[as_two].max(axis=-1)
    # All of the logit is lost to the unknown class.
    rest = np.where(np.arange(small.CLASSES) == 2, 0.0, logits[as_two])
    expected = np.log(np.exp(rest).sum(axis=-1)) - largest
    np.testing.assert_allclose(after[as_two], expected, rtol=1e-5, atol=1e-5)


def test_data_of_which_no_class_has_a_tail_are_refused():
    x, _ = small.data()
    _, logits, *_ = small.in_float64(x)
    detector = keras_lodin.OpenMaxDetector(small.classifier())
    wrong = (logits.argmax(axis=-1) + 1) % small.CLASSES
    with pytest.raises(ValueError, match=r"At least one class .*which 0 are classified rightly"):
        detector.adapt(x, wrong)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": 0}, r"`alpha` must be .*Received: alpha=0"),
        ({"tail_size": 2}, r"`tail_size` must be at least 3.*Received: tail_size=2"),
    ],
)
def test_impossible_settings_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        keras_lodin.OpenMaxDetector(small.classifier(), **options)
