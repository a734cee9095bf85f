"""Which detector is recommended, by made-up data, by classes left out, and by real data."""

import json
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from scipy import stats

import keras_lodin
from keras_lodin.detectors.tuning_margin import auroc_margin, placements
from keras_lodin.evaluation import choosing
from keras_lodin.evaluation.choice import Judged
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
    assert all(one.held_out is None for one in choice.judged)


def test_a_class_left_out_is_in_neither_logits_nor_statistics(monkeypatch):
    seen = []
    adapt = choosing.adapt_where_possible

    def noting(wrapped, data, *options):
        seen.append((wrapped["msp"].num_classes, set(np.unique(data[1]))))
        return adapt(wrapped, data, *options)

    monkeypatch.setattr(choosing, "adapt_where_possible", noting)
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
    assert np.bincount(found.labels, minlength=5).min() >= 4


def test_too_few_samples_are_refused():
    with pytest.raises(ValueError, match=r"takes 40 in-distribution samples.*Received: 39 samples"):
        keras_lodin.choose(small.classifier(), small.data(39), verbose=0)


def test_samples_that_chose_the_settings_do_not_judge(monkeypatch):
    seen = {}

    def tune(detectors, inputs, *arguments):
        seen["chose"] = inputs

    def judge(wrapped, inputs, *options):
        seen["judged"] = inputs
        raise RuntimeError("enough")

    monkeypatch.setattr(choosing, "tune_together", tune)
    monkeypatch.setattr(choosing, "_placed", judge)
    inputs = np.random.default_rng(0).uniform(size=(60, 10)).astype("float32")
    with pytest.raises(RuntimeError, match="enough"):
        keras_lodin.choose(networks.dense(), inputs, detectors=["gen"], verbose=0)
    both = np.concatenate([seen["chose"], seen["judged"]])
    np.testing.assert_array_equal(np.sort(both, axis=0), np.sort(inputs, axis=0))


# --- the rule, on numbers ------------------------------------------------------------------------


@pytest.mark.parametrize("paired", [True, False])
def test_the_margin_is_the_mean_of_two_kinds_and_its_interval_that_of_a_mean(paired, rng):
    contrast = rng.normal(size=40)
    placed = {
        name: placements(contrast + rng.normal(shift, 1.0, size=40), contrast)
        for name, shift in (("msp", 0.5), ("knn", 1.0))
    }
    groups = {"msp": rng.uniform(size=5), "knn": rng.uniform(size=5)}
    evidence = choosing._Evidence(placed, groups, paired)
    first, (low, high) = auroc_margin(placed["knn"], placed["msp"], paired=paired)
    apart = stats.ttest_rel(groups["knn"], groups["msp"]).confidence_interval(0.95)
    half = np.hypot(high - low, apart.high - apart.low) / 4
    margin = (first + np.mean(groups["knn"] - groups["msp"])) / 2
    found, interval = evidence.gain("knn", "msp")
    assert found == pytest.approx(margin)
    assert interval == pytest.approx((margin - half, margin + half))
    alone = choosing._Evidence(placed, {"knn": groups["knn"]}, paired)
    assert alone.gain("knn", "msp") == (first, pytest.approx((low, high)))


def judged(name, margin=0.05, low=0.01, worse=False, passes=1.0, megabytes=0.0):
    interval = (low, 2 * margin - low)
    return Judged(name, {}, {}, None, margin, interval, worse, passes, int(2**20 * megabytes))


@pytest.mark.parametrize(
    ("margin", "low", "worse", "better"),
    [
        (0.05, 0.01, False, True),
        (0.05, 0.01, True, False),
        (0.05, -0.01, False, False),
        (0.05, 0.0, False, False),
    ],
)
def test_better_is_better_beyond_doubt_and_in_nothing_worse(margin, low, worse, better):
    assert judged("knn", margin, low, worse).better == better


def test_worse_in_one_kind_is_worse_whatever_the_mean():
    evidence = SimpleNamespace(
        held_out={},
        gain=lambda name, other: (0.1, (0.05, 0.15)),
        gains=lambda name, other: [(0.3, 0.02), (-0.1, 0.05)],
    )
    detector = SimpleNamespace(settings={}, cost_in_passes=1.0, statistics_bytes=0)
    found = choosing._judged("knn", detector, {}, evidence)
    assert (found.worse, found.better) == (True, False)
    evidence.gains = lambda name, other: [(0.3, 0.02), (-0.1, 0.2)]
    assert not choosing._judged("knn", detector, {}, evidence).worse


def recommended(*detectors, told_apart=()):
    """Of detectors, the best first, of which the best is told apart from some."""
    evidence = SimpleNamespace(
        gain=lambda name, other: (0.01, (0.005 if other in told_apart else -0.005, 0.015))
    )
    return choosing._recommended(detectors, evidence)


def test_of_those_that_cannot_be_told_from_the_best_the_cheapest_is_recommended():
    odin = judged("odin", passes=3.0)
    knn, vim = judged("knn", megabytes=8), judged("vim", megabytes=9.5)
    name, reason = recommended(odin, vim, knn)
    assert name == "knn"
    assert "odin is no better that can be told, and costs more" in reason
    assert recommended(odin, vim, knn, told_apart=("knn",))[0] == "vim"
    name, reason = recommended(odin, vim, knn, told_apart=("knn", "vim"))
    assert name == "odin"
    assert "costs more" not in reason
    assert recommended(odin, judged("energy", low=-0.01))[0] == "odin"
    assert recommended(vim, judged("gen", megabytes=9.1))[0] == "vim"


def test_where_none_is_better_beyond_doubt_msp_is_recommended():
    name, reason = recommended(judged("knn", low=-0.01), judged("vim", worse=True))
    assert name == "msp"
    assert "no difference that can be seen" in reason


def test_detectors_that_some_classes_left_out_are_no_data_for_are_not_compared(monkeypatch):
    aurocs = iter([{"msp": 0.5}, *[{"msp": 0.6, "knn": 0.7}] * 4])
    monkeypatch.setattr(choosing, "_without", lambda *arguments: next(aurocs))
    detectors = {
        "msp": keras_lodin.MSPDetector(small.classifier()),
        "knn": keras_lodin.KNNDetector(small.classifier(), k=2, bank_size=50),
    }
    samples = choosing._Samples(*small.data(200, seed=11))
    found = choosing._held_out(detectors, samples, small.data(), 128, 0, 0)
    assert list(found) == ["msp"]
    np.testing.assert_array_equal(found["msp"], [0.5, 0.6, 0.6, 0.6, 0.6])
