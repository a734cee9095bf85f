"""Several detectors as one, by their p-values."""

from functools import cache

import keras
import numpy as np
import pytest

import keras_lodin
from keras_lodin.testing import check_detector
from tests import networks
from tests.detectors import heads_and_data as small

RULES = {
    "fisher": lambda p: np.log(p).sum(axis=0),
    "minimum": lambda p: p.min(axis=0),
    "mean": lambda p: p.mean(axis=0),
}


@cache
def parts():
    """Three of one classifier, adapted and calibrated. Nothing here changes them."""
    gen = keras_lodin.GENDetector(small.classifier())
    knn = keras_lodin.KNNDetector(small.classifier(), k=3, bank_size=500)
    mahalanobis = keras_lodin.MahalanobisDetector(small.classifier())
    for one in (knn, mahalanobis):
        one.adapt(*small.data(), verbose=0)
    for one in (gen, knn, mahalanobis):
        one.calibrate(small.data(100, seed=7)[0], verbose=0)
    return [gen, knn, mahalanobis]


@pytest.mark.parametrize("rule", RULES)
def test_the_score_is_made_of_the_p_values(rule):
    detectors = parts()
    found = small.scores(keras_lodin.CombinedDetector(detectors, rule))
    p_values = [one.predict(small.mixed_inputs(), verbose=0)["p_value"] for one in detectors]
    np.testing.assert_allclose(found, RULES[rule](np.array(p_values)), rtol=1e-4, atol=1e-6)


def test_it_costs_the_shared_pass_and_every_step_beyond():
    stepping = keras_lodin.ODINDetector(small.classifier(), epsilon=0.01)
    assert keras_lodin.CombinedDetector([*parts(), stepping]).cost_in_passes == 3.0
    assert keras_lodin.CombinedDetector(parts()).cost_in_passes == 1.0


def test_it_is_a_detector_and_the_classifier_is_in_its_file_once(tmp_path):
    # Of two that are traced soon, all promises; the file is of all three.
    msp = keras_lodin.MSPDetector(small.classifier())
    msp.calibrate(small.data(100, seed=7)[0], verbose=0)
    of_logits = keras_lodin.CombinedDetector([parts()[0], msp], "fisher")
    check_detector(of_logits, small.mixed_inputs()[:12], formats=[])
    detector = keras_lodin.CombinedDetector(parts(), "fisher")
    detector.calibrate(small.data(100, seed=8)[0], verbose=0)
    detector.save(tmp_path / "combined.keras")
    loaded = keras.models.load_model(tmp_path / "combined.keras")
    assert all(one.classifier is loaded.classifier for one in loaded.detectors)
    found, expected = (one.predict(small.mixed_inputs(), verbose=0) for one in (loaded, detector))
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-6, err_msg=name)


@pytest.mark.slow
def test_it_is_in_every_format():
    detector = keras_lodin.CombinedDetector(parts(), "minimum")
    detector.calibrate(small.data(100, seed=8)[0], verbose=0)
    check_detector(detector, small.mixed_inputs()[:12])


def test_its_p_values_are_uniform_under_normal_traffic():
    """Also where the same data calibrated the parts."""
    detector = keras_lodin.CombinedDetector(parts(), "minimum")
    detector.calibrate(small.data(100, seed=7)[0], verbose=0)
    fresh = detector.predict(small.data(2000, seed=9)[0], verbose=0)["p_value"]
    for level in (0.1, 0.3, 0.5):
        # The error of 100 calibration samples, three standard deviations.
        assert np.mean(fresh <= level) <= level + 3 * np.sqrt(level * (1 - level) / 100)


def test_evaluate_runs_it_in_the_pass_of_the_others():
    detectors = parts()
    combined = keras_lodin.CombinedDetector(detectors)
    evaluation = keras_lodin.evaluate(
        {"knn": detectors[1], "combined": combined},
        small.data(100, seed=4),
        {"far": small.mixed_inputs()[30:]},
        resamples=10,
        verbose=0,
    )
    np.testing.assert_allclose(
        evaluation.scores["combined"]["far"],
        small.scores(combined, small.mixed_inputs()[30:]),
        rtol=1e-4,
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda a, b: ([a],), r"two or more detectors. Received: \[<GEN"),
        (lambda a, b: ([a, a],), r"different ones. Received: .*twice"),
        (lambda a, b: ([a, "msp"],), r"two or more detectors"),
        (
            lambda a, b: ([a, keras_lodin.MSPDetector(networks.dense())],),
            r"same classifier object.*of two classifiers",
        ),
        (lambda a, b: ([a, keras_lodin.CombinedDetector([a, b])],), r"cannot be combined"),
        (lambda a, b: ([a, b], ["mean"]), r"`rule` must be one of .*Received: rule=\['mean'\]"),
        (lambda a, b: ([a, b], "fischer"), r"Did you mean 'fisher'\? Received: rule='fischer'"),
    ],
)
def test_what_cannot_be_combined_is_refused(make, message):
    first, second = (
        kind(small.classifier()) for kind in (keras_lodin.GENDetector, keras_lodin.MSPDetector)
    )
    with pytest.raises(ValueError, match=message):
        keras_lodin.CombinedDetector(*make(first, second))


def test_detectors_without_p_values_are_refused():
    first, second = (
        kind(small.classifier()) for kind in (keras_lodin.GENDetector, keras_lodin.MSPDetector)
    )
    detector = keras_lodin.CombinedDetector([first, second])
    for use in (detector.calibrate, detector.predict):
        with pytest.raises(ValueError, match=r"call `calibrate` on each. Received: gen"):
            use(small.mixed_inputs(), verbose=0)
    # Called directly, it would score by p-values that are all 1.
    for call in (detector, detector.predict_on_batch):
        with pytest.raises(ValueError, match=r"call `calibrate` on each. Received: gen"):
            call(small.mixed_inputs())


def test_predict_follows_the_settings_of_its_detectors():
    gen, msp = (
        kind(small.classifier()) for kind in (keras_lodin.GENDetector, keras_lodin.MSPDetector)
    )
    detector = keras_lodin.CombinedDetector([gen, msp], "mean")
    for gamma in (0.1, 1.0):
        gen.gamma = gamma
        for one in (gen, msp, detector):
            one.calibrate(small.data(100, seed=7)[0], verbose=0)
        np.testing.assert_allclose(
            detector.predict(small.mixed_inputs(), verbose=0)["score"],
            small.scores(detector),
            rtol=1e-6,
        )
