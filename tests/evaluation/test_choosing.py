"""Which detector is recommended, by made-up data, by classes left out, and by real data."""

import json

import keras
import numpy as np
import pytest

import keras_lodin
from keras_lodin.evaluation import choosing
from tests import networks
from tests.detectors import heads_and_data as small

NAMES = ["msp", "energy", "gen", "knn", "mahalanobis", "odin"]


@pytest.fixture(scope="module")
def choice():
    return keras_lodin.choose(
        small.classifier(),
        small.data(200, seed=11),
        small.data(),
        detectors=NAMES,
        input_range=(-10, 10),
        verbose=0,
    )


def test_every_detector_is_judged_and_msp_is_among_them(choice):
    assert {one.name for one in choice.judged} == set(NAMES)
    assert choice.id_count == 100
    margins = [one.margin for one in choice.judged]
    assert margins == sorted(margins, reverse=True)
    baseline = next(one for one in choice.judged if one.name == "msp")
    assert (baseline.margin, baseline.passes, baseline.better) == (0.0, 1.0, False)
    assert {one.name for one in choice.judged if one.held_out is None} == {"odin"}
    assert all(one.interval[0] <= one.margin <= one.interval[1] for one in choice.judged)


def test_the_recommended_one_can_be_used_and_saved(choice, tmp_path):
    detector = choice.detector
    detector.calibrate(small.data(100, seed=12)[0], verbose=0)
    choice.save(tmp_path / "chosen", command="choose it")
    assert sorted(path.name for path in (tmp_path / "chosen").iterdir()) == [
        *("choice.html", "choice.json", "detector.keras")
    ]
    written = json.loads((tmp_path / "chosen" / "choice.json").read_text())
    assert written["recommended"] == choice.recommended
    assert choice.reason in (tmp_path / "chosen" / "choice.html").read_text()
    loaded = keras.models.load_model(tmp_path / "chosen" / "detector.keras")
    found, expected = (
        one.predict(small.mixed_inputs(), verbose=0)["score"] for one in (loaded, detector)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_where_nothing_can_be_told_msp_is_recommended():
    """A classifier that answers the same everywhere."""
    model = networks.dense()
    model.layers[-1].kernel.assign(np.zeros(model.layers[-1].kernel.shape))
    inputs = np.random.default_rng(0).uniform(size=(60, 10)).astype("float32")
    choice = keras_lodin.choose(model, inputs, detectors=["energy", "knn"], verbose=0)
    assert choice.recommended == "msp"
    assert "no difference that can be seen" in choice.reason
    assert "needs training data" in choice.left_out["knn"]


def test_out_of_distribution_data_decide_where_there_are_some():
    """Far away all logits are large and MSP is sure; distances are not."""
    far = 6.0 * np.random.default_rng(2).normal(size=(80, 8)).astype("float32")
    choice = keras_lodin.choose(
        small.classifier(),
        small.data(200, seed=11),
        small.data(),
        far,
        detectors=["knn"],
        verbose=0,
    )
    assert (choice.by_ood_data, choice.recommended) == (True, "knn")
    assert list(choice.judged[0].aurocs) == ["ood_data"]


def test_a_class_left_out_is_in_neither_logits_nor_statistics(monkeypatch):
    seen = []
    adapt = choosing._adapt

    def noting(wrapped, left_out, data, *options):
        seen.append((wrapped["msp"].num_classes, set(np.unique(data[1]))))
        adapt(wrapped, left_out, data, *options)

    monkeypatch.setattr(choosing, "_adapt", noting)
    choosing._held_out(
        {
            "msp": keras_lodin.MSPDetector(small.classifier()),
            "knn": keras_lodin.KNNDetector(small.classifier(), k=2, bank_size=50),
        },
        choosing._Samples(*small.data(200, seed=11)),
        small.data(),
        128,
        0,
        0,
    )
    assert seen == [(small.CLASSES - 1, set(range(small.CLASSES - 1)))] * small.CLASSES


def test_samples_are_drawn_from_all_of_the_data(monkeypatch):
    monkeypatch.setattr(choosing, "_MOST_SAMPLES", 50)
    x, y = np.arange(1000, dtype="float32")[:, None], np.arange(1000) // 200
    found = choosing._collected((x, y), 64, lambda labels: labels, seed=3)
    assert len(found.inputs) == len(found.labels) == 50
    np.testing.assert_array_equal(found.inputs[:, 0] // 200, found.labels)
    assert np.all(np.diff(found.inputs[:, 0]) > 0)
    assert np.bincount(found.labels).min() >= 4


def test_too_few_samples_are_refused():
    with pytest.raises(ValueError, match=r"takes 40 in-distribution samples.*Received: 39 samples"):
        keras_lodin.choose(small.classifier(), small.data(39), verbose=0)
