"""Choosing hyper-parameters of any score from in-distribution data alone."""

import keras
import numpy as np
import pytest

import keras_lodin
from keras_lodin.data.contrasts import CONTRASTS
from keras_lodin.data.passes import BatchFunction
from keras_lodin.detectors.tunable_detector import tune_together
from keras_lodin.metrics.figures import auroc
from tests import networks
from tests.detectors import heads_and_data as small


def knn(**options):
    detector = keras_lodin.KNNDetector(small.classifier(), bank_size=500, **options)
    detector.adapt(*small.data())
    return detector


def calibration():
    return small.data(120, seed=5)[0]


def test_every_candidate_has_the_figures_of_the_detector_with_its_settings():
    tuning = knn().tune(calibration(), candidates={"k": (1, 50)}, verbose=0)
    assert [one["k"] for one in tuning.candidates] == [1, 50, 10]
    for candidate in tuning.candidates:
        detector = knn(k=candidate["k"])
        ours, *others = (
            small.scores(detector, x)
            for x in (calibration(), *(made(calibration()) for made in CONTRASTS.values()))
        )
        found = np.mean([auroc(ours, theirs) for theirs in others])
        np.testing.assert_allclose(candidate["auroc"], found, atol=1e-3)
        np.testing.assert_allclose(candidate["mean_id_score"], ours.mean(), rtol=1e-4)
    others = [one["auroc"] for one in tuning.candidates if one["k"] != tuning.settings["k"]]
    assert tuning.over_runner_up.auroc == max(others)


def test_several_are_tuned_as_each_alone_in_one_pass_over_the_data(monkeypatch):
    classifier = small.classifier()
    made = (keras_lodin.GENDetector, keras_lodin.KNNDetector)
    alone, together = ([one(classifier) for one in made] for _ in range(2))
    for detector in (alone[1], together[1]):
        detector.adapt(*small.data(), verbose=0)
    expected = [one.tune(calibration(), verbose=0) for one in alone]
    passes = []
    over = BatchFunction.over

    def noting(function, *arguments, **options):
        passes.append(function)
        return over(function, *arguments, **options)

    monkeypatch.setattr(BatchFunction, "over", noting)
    found = tune_together(together, calibration(), None, None, 128, 0)
    assert len(passes) == 1
    for one, other, detector in zip(found, expected, together, strict=True):
        assert one.settings == other.settings == detector.settings
        assert detector.tuned
        for ours, theirs in zip(one.candidates, other.candidates, strict=True):
            assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-3)


def test_all_combinations_are_tried_and_the_detector_takes_the_choice(tmp_path):
    detector = keras_lodin.GENDetector(small.classifier())
    detector.calibrate(calibration(), verbose=0)
    tuning = detector.tune(calibration(), verbose=0)
    declared = detector.declared_settings()
    expected = np.prod([len(one.candidates) for one in declared.values()])
    assert len(tuning.candidates) == expected
    assert detector.settings == tuning.settings
    assert (detector.tunable, detector.tuned, detector.calibrated) == (True, True, False)
    detector.save(tmp_path / "detector.keras")
    loaded = keras.models.load_model(tmp_path / "detector.keras")
    assert (loaded.tuned, loaded.settings) == (True, dict(tuning.settings))
    loaded.gamma = 0.3
    assert not loaded.tuned


def test_out_of_distribution_data_decide_where_there_are_some():
    """The first logit counts for nothing: to leave it out is better, as only `top` can tell."""
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3, use_bias=False)])
    model.layers[-1].kernel.assign(np.eye(3))
    rng = np.random.default_rng(0)
    inside = np.array([[6.0, 0.0, 0.0]]) + rng.normal(0, 0.2, (60, 3))
    torn = np.array([[6.0, 3.5, -9.0]]) + rng.normal(0, 0.2, (60, 3))
    detector = keras_lodin.GENDetector(model, top=3, gamma=0.1)
    found = detector.tune(
        inside.astype("float32"), torn.astype("float32"), {"gamma": (1.0,)}, verbose=0
    )
    assert found.contrast == "ood_data"
    by_gamma = {one["gamma"]: one["auroc"] for one in found.candidates}
    assert found.settings["gamma"] == max(by_gamma, key=by_gamma.get)
    with pytest.warns(UserWarning, match=r"Fewer than 20.*Received: 60 .* samples against 6"):
        detector.tune(inside.astype("float32"), torn[:6].astype("float32"), verbose=0)


def test_the_defaults_stay_where_nothing_can_be_told():
    model = networks.dense()
    model.layers[-1].kernel.assign(np.zeros(model.layers[-1].kernel.shape))
    detector = keras_lodin.GENDetector(model, gamma=0.7)
    inputs = np.random.default_rng(0).uniform(size=(6, 10)).astype("float32")
    with pytest.warns(UserWarning, match=r"Fewer than 20 samples.*Received: 6"):
        tuning = detector.tune(inputs, verbose=0)
    assert tuning.settings == detector.settings == {"gamma": 0.1, "top": 100}
    assert "these are the defaults" in tuning.summary()
    assert "of each kind of made-up data" in tuning.summary()


def test_images_are_told_from_every_kind_of_copy(rng):
    detector = keras_lodin.GENDetector(networks.convolutional())
    images = rng.uniform(size=(40, 8, 8, 1)).astype("float32")
    tuning = detector.tune(images, candidates={"gamma": (0.5,)}, verbose=0)
    for candidate in tuning.candidates:
        other = keras_lodin.GENDetector(detector.classifier, gamma=candidate["gamma"])
        ours, *copies = (
            small.scores(other, x) for x in (images, *(one(images) for one in CONTRASTS.values()))
        )
        found = np.mean([auroc(ours, theirs) for theirs in copies])
        np.testing.assert_allclose(candidate["auroc"], found, atol=1e-3)


def test_a_tuned_detector_has_one_with_the_defaults_beside_it():
    detector = knn(k=3)
    beside = detector.with_defaults()
    assert beside.settings == {"k": 10}
    np.testing.assert_allclose(small.scores(beside), small.scores(knn()), rtol=1e-5)
    assert knn().with_defaults() is None


@pytest.mark.parametrize(
    ("candidates", "message"),
    [
        ({"K": (1,)}, r"must name settings.*: k\. Did you mean 'k'\? Received: candidates of 'K'"),
        ({"k": 3}, r"a list of values.*Received: k=3"),
        ({"k": (0,)}, r"`k` must be .*Received: k=0"),
    ],
)
def test_unusable_candidates_are_refused(candidates, message):
    with pytest.raises(ValueError, match=message):
        knn().tune(calibration(), candidates=candidates, verbose=0)


@pytest.mark.grid(2)
@pytest.mark.parametrize(
    ("make", "statistics"),
    [
        (keras_lodin.DICEDetector, True),
        (lambda model: keras_lodin.ASHDetector(model, "b"), False),
        (lambda model: keras_lodin.AdaSCALEDetector(model, input_range=(-12, 12)), True),
    ],
)
def test_off_and_pairs_of_numbers_are_candidates_like_others(make, statistics):
    detector = make(small.classifier())
    if statistics:
        detector.adapt(*small.data(), verbose=0)
    defaults = detector.settings
    assert detector.default_settings() == defaults
    tuning = detector.tune(calibration(), verbose=0)
    assert np.isfinite([one["auroc"] for one in tuning.candidates]).all()
    assert detector.settings == tuning.settings
    assert detector.with_settings(**defaults).settings == defaults
