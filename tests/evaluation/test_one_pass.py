"""`evaluate`: the same scores as each detector gives alone, in one pass over the data."""

import json
import weakref

import keras
import numpy as np
import pytest
from keras import layers

from keras_lodin import data as named_data
from keras_lodin import metrics
from keras_lodin.detectors import EnergyDetector, MaxLogitDetector, MSPDetector, ODINDetector
from keras_lodin.evaluation.one_pass import evaluate
from tests import networks


def all_detectors(classifier):
    return {
        "msp": MSPDetector(classifier),
        "max_logit": MaxLogitDetector(classifier),
        "energy": EnergyDetector(classifier),
        "odin": ODINDetector(classifier, temperature=10.0, epsilon=0.02),
    }


@pytest.fixture
def id_images(rng):
    return rng.uniform(size=(30, 8, 8, 1)).astype("float32")


@pytest.fixture
def ood_images(rng):
    return (0.5 * rng.uniform(size=(21, 8, 8, 1))).astype("float32")


class CountingDataset(keras.utils.PyDataset):
    """Batches that know how often each was read and how many are still in memory."""

    def __init__(self, images, labels=None, batch_size=4):
        super().__init__()
        self.images, self.labels, self.batch_size = images, labels, batch_size
        self.reads = [0] * len(self)
        self.references = []
        self.most_alive = 0

    def __len__(self):
        return -(-len(self.images) // self.batch_size)

    def __getitem__(self, index):
        self.reads[index] += 1
        part = slice(index * self.batch_size, (index + 1) * self.batch_size)
        batch = self.images[part].copy()
        self.references.append(weakref.ref(batch))
        alive = sum(reference() is not None for reference in self.references)
        self.most_alive = max(self.most_alive, alive)
        return (batch,) if self.labels is None else (batch, self.labels[part])


class PassCounter(layers.Layer):
    """Counts how often the classifier runs forward."""

    def build(self, input_shape):
        self.passes = self.add_weight(shape=(), initializer="zeros", trainable=False)

    def call(self, inputs):
        self.passes.assign_add(1.0)
        return inputs


def counting_classifier():
    counter = PassCounter()
    network = [keras.Input((8, 8, 1)), counter, layers.Flatten(), layers.Dense(5)]
    return keras.Sequential(network), counter.passes


def test_scores_equal_those_of_each_detector_alone(classifier, id_images, ood_images):
    detectors = all_detectors(classifier)
    evaluation = evaluate(detectors, id_images, {"dim": ood_images}, batch_size=8, resamples=1)
    assert list(evaluation.scores) == list(detectors)
    for name, detector in detectors.items():
        for data_set, images in (("id", id_images), ("dim", ood_images)):
            scores = evaluation.scores[name][data_set]
            alone = detector.predict(images, batch_size=8, verbose=0)["score"]
            assert scores.dtype == np.float32
            np.testing.assert_allclose(scores, alone, rtol=1e-6, atol=1e-7)


def test_scores_are_those_of_each_detector_alone_under_mixed_precision(id_images):
    pixels = (255 * id_images).round()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        classifier = networks.convolutional()
        detector = ODINDetector(classifier, temperature=10.0, input_range=(0, 255))
        evaluation = evaluate({"odin": detector}, pixels, {"same": pixels}, resamples=1)
        alone = detector.predict(pixels, verbose=0)["score"]
    finally:
        keras.config.set_dtype_policy("float32")
    np.testing.assert_allclose(evaluation.scores["odin"]["id"], alone, rtol=1e-6)


def test_integer_images_are_scored_as_the_detector_scores_them(classifier, id_images):
    pixels = (255 * id_images).astype("uint8")
    detector = ODINDetector(classifier, input_range=(0, 255))
    evaluation = evaluate({"odin": detector}, pixels, {"same": pixels}, resamples=1)
    alone = detector.predict(pixels, verbose=0)["score"]
    np.testing.assert_allclose(evaluation.scores["odin"]["id"], alone, rtol=1e-6)


def test_figures_equal_the_metrics_of_each_detector_alone(classifier, id_images, ood_images):
    detectors = {"energy": EnergyDetector(classifier), "msp": MSPDetector(classifier)}
    ood = {"dim": ood_images, "dark": 0.1 * ood_images[:13]}
    evaluation = evaluate(detectors, id_images, ood, id_name="digits", resamples=20, seed=5)
    keys = [(row["detector"], row["ood"]) for row in evaluation.rows]
    assert keys == [(detector, name) for detector in detectors for name in ood]
    for row in evaluation.rows:
        # Which are those of each detector alone, as the test above says.
        scores = evaluation.scores[row["detector"]]
        id_scores, ood_scores = scores["digits"], scores[row["ood"]]
        assert row["count"] == len(ood_scores) == len(ood[row["ood"]])
        assert row["auroc"] == pytest.approx(metrics.auroc(id_scores, ood_scores), abs=1e-6)
        assert row["fpr95"] == metrics.fpr_at_tpr(id_scores, ood_scores)
        assert row["aupr_in"] == pytest.approx(metrics.aupr(id_scores, ood_scores))
        assert row["aupr_out"] == pytest.approx(metrics.aupr(id_scores, ood_scores, "ood"))
        error = metrics.detection_error(id_scores, ood_scores)
        assert row["detection_error"] == pytest.approx(error)
        intervals = metrics.bootstrap_intervals(id_scores, ood_scores, resamples=20, seed=5)
        assert row["auroc_interval"] == pytest.approx(list(intervals["auroc"]))
        assert row["fpr95_interval"] == pytest.approx(list(intervals["fpr95"]))


@pytest.mark.filterwarnings("ignore:.*no better than chance:UserWarning")  # untrained
def test_every_image_is_read_once_and_no_batch_is_kept(classifier, id_images, labels, ood_images):
    id_data = CountingDataset(id_images, np.zeros(30, "int64"))
    ood_data = CountingDataset(ood_images)
    evaluate(all_detectors(classifier), id_data, {"dim": ood_data}, resamples=1)
    for data in (id_data, ood_data):
        assert data.reads == [1] * len(data)
        assert data.most_alive <= 3


def test_detectors_of_one_classifier_share_its_forward_pass(id_images):
    classifier, passes = counting_classifier()
    detectors = all_detectors(classifier)
    passes.assign(0.0)
    ood = {"dark": 0.1 * id_images}
    evaluate(detectors, id_images, ood, batch_size=10, resamples=1)
    # Six batches: the shared pass, and ODIN's second one on the perturbed input.
    assert float(passes) == 2 * 6
    passes.assign(0.0)
    del detectors["odin"]
    evaluate(detectors, id_images, ood, batch_size=10, resamples=1)
    assert float(passes) == 6


@pytest.mark.filterwarnings("ignore:.*no better than chance:UserWarning")  # untrained
def test_accuracy_is_that_of_the_classifier_on_the_same_images(classifier, id_images, rng):
    labels = rng.integers(0, networks.CLASSES, size=30)
    expected = np.mean(classifier.predict(id_images, verbose=0).argmax(axis=1) == labels)
    for y in (labels, labels[:, None], np.eye(networks.CLASSES)[labels]):
        evaluation = evaluate(
            {"msp": MSPDetector(classifier)}, (id_images, y), {"same": id_images}, resamples=1
        )
        assert evaluation.id["accuracy"] == pytest.approx(expected)
        assert evaluation.id["accuracy_by_model"] == {classifier.name: evaluation.id["accuracy"]}
        assert evaluation.id["count"] == 30
        assert evaluation.rows[0]["id_accuracy"] == evaluation.id["accuracy"]


def test_accuracy_is_none_without_labels(classifier, id_images):
    evaluation = evaluate(
        {"msp": MSPDetector(classifier)}, id_images, {"same": id_images}, resamples=1
    )
    assert evaluation.id["accuracy"] is None
    assert evaluation.rows[0]["id_accuracy"] is None


def test_labels_of_out_of_distribution_data_play_no_part(classifier, id_images, ood_images):
    detectors = {"msp": MSPDetector(classifier)}
    labelled = (ood_images, np.full(len(ood_images), 900))
    evaluation = evaluate(detectors, id_images, {"dim": labelled}, resamples=1)
    assert evaluation.rows[0]["count"] == 21
    assert evaluation.id["accuracy"] is None


@pytest.mark.filterwarnings("ignore:.*no better than chance:UserWarning")  # untrained
def test_several_classifiers_are_measured_at_once_and_told_apart(id_images, rng):
    labels = rng.integers(0, networks.CLASSES, size=30)
    first = networks.convolutional()
    second = keras.models.clone_model(first)
    assert first.name == second.name
    detectors = {
        "ce": MSPDetector(first),
        "gq": MSPDetector(second),
        "gq_energy": EnergyDetector(second),
    }
    evaluation = evaluate(detectors, (id_images, labels), {"same": id_images}, resamples=1)
    models = [row["model"] for row in evaluation.rows]
    assert models == [first.name, f"{first.name}_1", f"{first.name}_1"]
    assert evaluation.id["accuracy"] is None
    for model, name in ((first, models[0]), (second, models[1])):
        expected = np.mean(model.predict(id_images, verbose=0).argmax(axis=1) == labels)
        assert evaluation.id["accuracy_by_model"][name] == pytest.approx(expected)


@pytest.mark.filterwarnings("ignore:.*no better than chance:UserWarning")  # untrained
def test_a_named_source_brings_its_name(classifier):
    id_data = named_data.load("digits:0-6", part="test")
    ood_data = named_data.load("digits:7-9", part="test")
    detectors = {"msp": MSPDetector(classifier)}
    evaluation = evaluate(detectors, id_data, {ood_data.name: ood_data}, resamples=1)
    assert evaluation.id["name"] == "digits:0-6"
    assert evaluation.id["count"] == id_data.count
    assert evaluation.rows[0]["ood"] == "digits:7-9"


def test_unreadable_files_are_recorded_and_the_rest_is_scored(
    classifier, id_images, ood_images, tmp_path
):
    for index, image in enumerate(ood_images[:3]):
        keras.utils.save_img(tmp_path / f"{index}.png", image)
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno image")
    folder = named_data.load(f"dir:{tmp_path}", part="test", image_shape=(8, 8, 1))
    evaluation = evaluate(
        {"msp": MSPDetector(classifier)}, id_images, {"folder": folder}, resamples=1
    )
    assert evaluation.rows[0]["count"] == 3
    ((path, reason),) = evaluation.skipped["folder"]
    assert path.endswith("broken.png")
    assert reason
    assert "broken.png" in str(evaluation.table())


def test_evaluation_says_how_it_was_made(classifier, id_images):
    evaluation = evaluate(
        {"msp": MSPDetector(classifier)},
        id_images,
        {"same": id_images},
        model="my-net",
        resamples=7,
        seed=3,
        command="keras-lodin evaluate ...",
    )
    assert evaluation.rows[0]["model"] == "my-net"
    assert (evaluation.seed, evaluation.command) == (3, "keras-lodin evaluate ...")
    assert evaluation.definitions["fpr95_positive"] == "id"
    assert "7 resamples" in evaluation.definitions["intervals"]
    assert evaluation.versions["keras"] == keras.__version__
    assert set(evaluation.versions) == {
        "keras_lodin",
        "keras",
        "tensorflow",
        "numpy",
        "scikit-learn",
        "python",
    }


def test_thresholds_are_those_of_the_calibrated_detectors(classifier, id_images, ood_images):
    calibrated, by_hand = MSPDetector(classifier), EnergyDetector(classifier)
    calibrated.calibrate(id_images, tpr=0.9, verbose=0, confidence=0.8)
    by_hand.threshold = -3.0
    everything = MaxLogitDetector(classifier)
    everything.threshold = np.inf
    detectors = {
        "msp": calibrated,
        "energy": by_hand,
        "odin": ODINDetector(classifier),
        "max_logit": everything,
    }
    evaluation = evaluate(detectors, id_images, {"dim": ood_images}, resamples=1)
    assert evaluation.thresholds == {
        "msp": {"threshold": calibrated.threshold, "tpr": 0.9, "confidence": 0.8},
        "energy": {"threshold": -3.0, "tpr": None, "confidence": None},
    }
    for name in ("msp", "energy"):
        assert evaluation.flagged[name] == {
            data: detectors[name].predict(inputs, verbose=0)["is_ood"].mean()
            for data, inputs in {"id": id_images, "dim": ood_images}.items()
        }
    assert set(evaluation.flagged) == {"msp", "energy"}


# --- groups, and shifted data --------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:.*no better than chance:UserWarning")  # untrained
def test_full_spectrum_counts_the_shifted_data_as_in_distribution(
    classifier, id_images, ood_images, rng
):
    labels, others = (rng.integers(0, networks.CLASSES, size=30) for _ in range(2))
    detectors = {"msp": MSPDetector(classifier), "energy": EnergyDetector(classifier)}
    shifted = {"snow": (0.9 * id_images, others), "fog": (0.8 * id_images[:7], others[:7])}
    ood = {"near": {"dim": ood_images}, "far": {"dark": 0.1 * ood_images}}
    evaluation = evaluate(detectors, (id_images, labels), ood, shifted=shifted, resamples=5, seed=2)
    keys = [(row["detector"], row["full_spectrum"], row["ood"]) for row in evaluation.rows]
    assert keys == [
        (one, spectrum, name)
        for one in detectors
        for spectrum in (False, True)
        for name in ("dim", "dark")
    ]
    plain = evaluate(detectors, (id_images, labels), ood, resamples=5, seed=2)
    assert [row for row in evaluation.rows if not row["full_spectrum"]] == plain.rows
    predicted = classifier.predict(id_images, verbose=0).argmax(axis=1)
    assert plain.id["accuracy"] == np.mean(predicted == labels)
    seen = [
        (name, (y == classifier.predict(x, verbose=0).argmax(axis=1)))
        for name, (x, y) in shifted.items()
    ]
    assert [(one["name"], one["count"], one["accuracy"]) for one in evaluation.shifted] == [
        (name, len(right), pytest.approx(right.mean())) for name, right in seen
    ]
    all_right = np.concatenate([predicted == labels, *(right for _, right in seen)])
    for row in evaluation.rows:
        if row["full_spectrum"]:
            scores = evaluation.scores[row["detector"]]
            known = np.concatenate([scores[name] for name in ("id", "snow", "fog")])
            assert row["auroc"] == pytest.approx(metrics.auroc(known, scores[row["ood"]]))
            assert row["fpr95"] == metrics.fpr_at_tpr(known, scores[row["ood"]])
            intervals = metrics.bootstrap_intervals(known, scores[row["ood"]], 5, 2)
            assert row["auroc_interval"] == pytest.approx(list(intervals["auroc"]))
            assert row["id_accuracy"] == pytest.approx(all_right.mean())
    assert "as in OpenOOD v1.5" in evaluation.definitions["full_spectrum"]
    assert "full_spectrum" not in plain.definitions
    assert [(mean["group"], mean["full_spectrum"]) for mean in evaluation.means[:6]] == [
        *(("near", False), ("far", False), (None, False)),
        *(("near", True), ("far", True), (None, True)),
    ]


def test_accuracy_of_the_full_spectrum_is_unknown_where_some_data_have_no_labels(
    classifier, id_images, ood_images, tmp_path
):
    labels = classifier.predict(id_images, verbose=0).argmax(axis=1)
    detector = MSPDetector(classifier)
    detector.threshold = 0.2
    evaluation = evaluate(
        {"msp": detector},
        (id_images, labels),
        {"dim": ood_images},
        shifted={"snow": 0.9 * id_images},
        resamples=5,
    )
    assert [row["id_accuracy"] for row in evaluation.rows] == [1.0, None]
    lowest = [score for score, _, _ in evaluation.extremes["msp"]["snow"]]
    np.testing.assert_array_equal(lowest, np.sort(evaluation.scores["msp"]["snow"])[:8])
    assert set(evaluation.flagged["msp"]) == {"id", "snow", "dim"}
    text = str(evaluation.table())
    assert "Shifted, counted as ID too: snow, 30 samples" in text
    assert [line.split()[:3] for line in text.splitlines() if line.startswith("msp")] == [
        ["msp", "clean", text.split("clean")[1].split()[0]],
        ["msp", "full", "spectrum"],
    ]
    evaluation.save(tmp_path)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    for words in ("Covariate-shifted data", "msp keeps", "lowest-scoring shifted", "shifted: snow"):
        assert words in page
    lines = (tmp_path / "results.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("model,detector,ood,group,full_spectrum,count,passes,auroc")
    assert [line.split(",")[4] for line in lines[1:]] == ["False", "True"]


# --- ODIN's defaults beside a tuned ODIN -----------------------------------------------------


def tuned(classifier, temperature=10.0, epsilon=0.02, **options):
    """As `tune` leaves a detector."""
    detector = ODINDetector(classifier, temperature=temperature, epsilon=epsilon, **options)
    detector._tuned = 1
    return detector


@pytest.mark.grid(12)
@pytest.mark.parametrize(
    ("make", "names"),
    [
        (lambda c: {"odin": tuned(c)}, ["odin", "odin (defaults)"]),
        (lambda c: {"odin": tuned(c, 1000.0)}, ["odin", "odin (defaults)"]),
        (lambda c: {"odin": tuned(c, epsilon=0.0014)}, ["odin", "odin (defaults)"]),
        (lambda c: {"mine": tuned(c), "msp": MSPDetector(c)}, ["mine", "mine (defaults)", "msp"]),
        (lambda c: {"a": tuned(c), "b": tuned(c, 2.0)}, ["a", "a (defaults)", "b", "b (defaults)"]),
        (lambda c: {"odin": tuned(c, 1000.0, 0.0014)}, ["odin"]),
        (lambda c: {"odin": ODINDetector(c, temperature=10.0, epsilon=0.02)}, ["odin"]),
        (lambda c: {"odin": ODINDetector(c), "msp": MSPDetector(c)}, ["odin", "msp"]),
        (
            lambda c: {"odin": tuned(c), "odin (defaults)": ODINDetector(c)},
            ["odin", "odin (defaults)"],
        ),
    ],
)
def test_defaults_stand_beside_a_tuned_odin_alone(classifier, id_images, make, names):
    evaluation = evaluate(make(classifier), id_images, {"dim": 0.5 * id_images}, resamples=1)
    assert [row["detector"] for row in evaluation.rows] == names
    assert list(evaluation.scores) == names
    assert len({row["model"] for row in evaluation.rows}) == 1


def test_row_of_the_defaults_is_theirs_and_has_no_threshold(
    classifier, id_images, ood_images, tmp_path
):
    options = {"input_range": (0, 2), "channel_std": [0.5]}
    detector = tuned(classifier, **options)
    detector.calibrate(id_images, tpr=0.9, verbose=0)
    detector._tuned = 1
    evaluation = evaluate({"odin": detector}, id_images, {"dim": ood_images}, resamples=5)
    alone = evaluate(
        {"odin": ODINDetector(classifier, **options)}, id_images, {"dim": ood_images}, resamples=5
    )
    assert {**evaluation.rows[1], "detector": "odin"} == alone.rows[0]
    assert evaluation.rows[0] != {**evaluation.rows[1], "detector": "odin"}
    assert set(evaluation.thresholds) == set(evaluation.flagged) == {"odin"}
    assert "odin (defaults)" in str(evaluation.table())
    evaluation.save(tmp_path)
    results = json.loads((tmp_path / "results.json").read_text())
    assert [row["detector"] for row in results["results"]] == ["odin", "odin (defaults)"]
    assert set(results["results"][0]) == set(alone.to_dict()["results"][0])
    page = (tmp_path / "report.html").read_text()
    assert "odin (defaults)" in page
    assert page.count("not calibrated") == 1


def test_defaults_cost_what_the_tuned_detector_does(id_images):
    classifier, passes = counting_classifier()
    detector = tuned(classifier)
    passes.assign(0.0)
    evaluate({"odin": detector}, id_images, {"dark": 0.1 * id_images}, batch_size=10, resamples=1)
    # Six batches: the shared pass, and one on each of two perturbed inputs.
    assert float(passes) == 3 * 6


def test_extremes_are_the_lowest_of_id_and_the_highest_of_ood(classifier, id_images, ood_images):
    evaluation = evaluate(
        {"msp": MSPDetector(classifier)}, id_images, {"dim": ood_images}, resamples=1, batch_size=7
    )
    for name, sign in (("id", 1), ("dim", -1)):
        found = [score for score, _, _ in evaluation.extremes["msp"][name]]
        expected = sign * np.sort(sign * evaluation.scores["msp"][name])[:8]
        np.testing.assert_array_equal(found, expected)


def test_save_writes_every_result(classifier, id_images, ood_images, tmp_path):
    detectors = all_detectors(classifier)
    evaluation = evaluate(detectors, id_images, {"dim": ood_images}, resamples=1)
    evaluation.save(tmp_path / "new" / "results")
    written = {
        str(path.relative_to(tmp_path / "new" / "results"))
        for path in (tmp_path / "new" / "results").rglob("*")
        if path.is_file()
    }
    assert written == {
        "results.json",
        "results.csv",
        "report.html",
        "scores.npz",
        "plots/dim_roc.png",
        "plots/dim_scores.png",
    }
    document = json.loads((tmp_path / "new" / "results" / "results.json").read_text())
    assert document["results"] == evaluation.rows
    with np.load(tmp_path / "new" / "results" / "scores.npz") as scores:
        np.testing.assert_array_equal(scores["odin/dim"], evaluation.scores["odin"]["dim"])
        assert len(scores.files) == 8


def test_labels_that_the_classifier_has_no_class_for_are_refused(classifier, id_images):
    labels = np.full(30, networks.CLASSES)
    with pytest.raises(ValueError, match=r"Data set 'id': Labels must lie in 0\.\.6.*Received"):
        evaluate({"msp": MSPDetector(classifier)}, (id_images, labels), {"same": id_images})


def test_inputs_outside_the_range_are_refused_with_the_data_set(classifier, id_images):
    with pytest.raises(ValueError, match=r"Data set 'bright': .*input_range.*Received"):
        evaluate({"odin": ODINDetector(classifier)}, id_images, {"bright": 255 * id_images})


def test_unusable_data_is_refused_with_its_name(classifier, id_images):
    detectors = {"msp": MSPDetector(classifier)}
    with pytest.raises(ValueError, match=r"Data set 'none': There is no example"):
        evaluate(detectors, id_images, {"none": id_images[:0]})
    with pytest.raises(ValueError, match=r"Data set 'colour': .*Received: inputs of shape"):
        evaluate(detectors, id_images, {"colour": np.zeros((4, 8, 8, 3), "float32")})
    broken = id_images.copy()
    broken[17, 0, 0, 0] = np.nan
    with pytest.raises(ValueError, match=r"Data set 'id': .*NaN.*example 17"):
        evaluate(detectors, broken, {"same": id_images})


def test_data_of_another_kind_is_refused_with_its_name(classifier, id_images):
    message = r"Data set 'noise': .*`keras_lodin\.data\.load`.*Received: 'noise:uniform'"
    with pytest.raises(TypeError, match=message):
        evaluate({"msp": MSPDetector(classifier)}, id_images, {"noise": "noise:uniform"})


def test_scores_that_are_not_finite_are_refused_with_the_detector(classifier, id_images):
    classifier.layers[-1].bias.assign([np.nan] * networks.CLASSES)
    with pytest.raises(ValueError, match=r"Data set 'id': .*detector 'energy'.*score=nan"):
        evaluate({"energy": EnergyDetector(classifier)}, id_images, {"same": id_images})


def test_senseless_arguments_are_refused_before_any_data_is_read(classifier, id_images):
    detectors = {"msp": MSPDetector(classifier)}
    data = CountingDataset(id_images)
    with pytest.raises(ValueError, match=r"At least one detector .*Received: detectors \[\]"):
        evaluate({}, data, {"same": id_images})
    with pytest.raises(ValueError, match=r"At least one .*data sets \[\]"):
        evaluate(detectors, data, {})
    with pytest.raises(ValueError, match=r"`detectors` must be a dict.*Received: .* type list"):
        evaluate(list(detectors.values()), data, {"same": id_images})
    with pytest.raises(ValueError, match=r"`ood_data` must be a dict.*Received: .* type ndarray"):
        evaluate(detectors, data, id_images)
    with pytest.raises(ValueError, match=r"wrap a classifier first.*Received: 'net': Functional"):
        evaluate({"net": classifier}, data, {"same": id_images})
    with pytest.raises(ValueError, match=r"must have different names.*Received: id_name='same'"):
        evaluate(detectors, data, {"same": id_images}, id_name="same")
    with pytest.raises(ValueError, match=r"`resamples` must be at least 1. Received"):
        evaluate(detectors, data, {"same": id_images}, resamples=0)
    with pytest.raises(ValueError, match=r"`verbose` must be"):
        evaluate(detectors, data, {"same": id_images}, verbose="loud")
    assert sum(data.reads) == 0


def test_progress_is_drawn_on_standard_error_only_when_asked(
    classifier, id_images, capsys, monkeypatch
):
    detectors = {"msp": MSPDetector(classifier)}
    evaluate(detectors, id_images, {"same": id_images}, resamples=1)
    assert capsys.readouterr() == ("", "")
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich then takes the captured stream for a terminal.
    evaluate(detectors, id_images, {"same": id_images}, resamples=1, verbose=0)
    assert capsys.readouterr() == ("", "")
    evaluate(detectors, id_images, {"same": id_images}, resamples=1)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Scoring same" in captured.err
