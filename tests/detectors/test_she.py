"""SHE against NumPy in float64."""

import numpy as np

import keras_lodin
from tests.detectors import heads_and_data as small


def products(features, logits, patterns):
    return np.sum(features * patterns[logits.argmax(axis=-1)], axis=-1)


def test_score_is_the_product_with_the_mean_of_correct_samples():
    x, y = small.data()
    detector = keras_lodin.SHEDetector(small.classifier())
    detector.adapt(x, y)
    train, train_logits, *_ = small.in_float64(x)
    correct = train_logits.argmax(axis=-1) == y
    assert 0.5 < correct.mean() < 1.0
    patterns = np.stack([train[correct & (y == c)].mean(axis=0) for c in range(small.CLASSES)])
    features, logits, *_ = small.in_float64(small.mixed_inputs())
    expected = products(features, logits, patterns)
    np.testing.assert_allclose(small.scores(detector), expected, rtol=1e-5, atol=1e-5)


def test_classes_without_a_correct_sample_and_without_any():
    x, y = small.data()
    train, train_logits, *_ = small.in_float64(x)
    correct = train_logits.argmax(axis=-1) == y
    hardest = int(np.argmax(np.bincount(y[~correct])))
    missing, whole = (hardest + 1) % small.CLASSES, (hardest + 2) % small.CLASSES
    kept = (y != missing) & ((y != hardest) | ~correct)
    detector = keras_lodin.SHEDetector(small.classifier())
    detector.adapt(x[kept], y[kept])
    patterns = np.asarray(detector._patterns)
    for c, chosen in (
        (whole, correct & (y == whole)),
        (hardest, kept & (y == hardest)),
        (missing, kept),
    ):
        np.testing.assert_allclose(patterns[c], train[chosen].mean(axis=0), rtol=1e-5)
    assert np.isfinite(small.scores(detector)).all()


def test_logits_that_are_no_numbers_have_no_score():
    detector = keras_lodin.SHEDetector(small.classifier())
    detector.adapt(*small.data())
    logits = np.zeros((2, small.CLASSES), "float32")
    logits[1, 3] = np.nan
    found = detector.head_score(np.zeros((2, small.FEATURES), "float32"), logits, {})
    np.testing.assert_array_equal(np.isnan(found), [False, True])
