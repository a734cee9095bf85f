"""The range of a model's inputs and the names of its classes, where files and data meet."""

import json
import sys

import keras
import numpy as np
import pytest
from keras import layers

from keras_lodin import data
from keras_lodin.detectors import EnergyDetector, MSPDetector
from keras_lodin.evaluation.one_pass import evaluate
from keras_lodin.models import load
from keras_lodin.workflows import choose_detector, evaluate_models, train, tune_model
from keras_lodin.workflows.loading import adapted, load_detectors, run_facts

NAMES = ("ash", "birch", "cedar")


def perfect(scale=1.0, first=None):
    """Tells images whose red, green or blue shines; blind to what is darker than `scale` / 5."""
    inputs = keras.Input((8, 8, 3))
    x = layers.GlobalAveragePooling2D()(inputs if first is None else first(inputs))
    x = layers.Dense(3, activation="relu", name="shining")(x)
    model = keras.Model(inputs, layers.Dense(3, name="logits")(x))
    eye = np.eye(3, dtype="float32")
    model.get_layer("shining").set_weights([eye / scale, np.full(3, -0.2, "float32")])
    model.get_layer("logits").set_weights([10.0 * eye, np.zeros(3, "float32")])
    return model


@pytest.fixture(scope="module")
def trees(tmp_path_factory):
    """Folders of images, one for each class: its channel shines at about half of the range."""
    root = tmp_path_factory.mktemp("trees")
    rng = np.random.default_rng(0)
    for channel, name in enumerate(NAMES):
        (root / name).mkdir()
        for number in range(20):
            image = np.zeros((8, 8, 3), "uint8")
            image[..., channel] = rng.integers(90, 130, (8, 8))
            keras.utils.save_img(root / name / f"{number}.png", image, scale=False)
    return root


def some_of(trees, tmp_path, names):
    folder = tmp_path / "some"
    folder.mkdir()
    for name in names:
        (folder / name).symlink_to(trees / name)
    return folder


NOISE = np.random.default_rng(1).uniform(size=(12, 8, 8, 3)).astype("float32")


@pytest.mark.grid(12)
@pytest.mark.parametrize(
    ("known", "present"),
    [
        (NAMES, NAMES),
        (NAMES, ("birch", "cedar")),
        (NAMES, ("ash", "cedar")),
        (NAMES, ("cedar",)),
        (("cedar", "ash", "birch"), NAMES),
        (("birch", "ash", "cedar"), ("ash", "birch")),
        (("cedar", "birch", "ash"), ("cedar", "birch")),
        (("cedar", "birch", "ash"), ("ash",)),
        (None, NAMES),
    ],
)
def test_any_class_folders_in_any_order_give_the_same_accuracy(trees, tmp_path, known, present):
    model = perfect()
    if known is not None:
        order = [NAMES.index(name) for name in known]
        head = model.get_layer("logits")
        head.set_weights([head.kernel.numpy()[:, order], head.bias.numpy()[order]])
    folder = some_of(trees, tmp_path, present)
    detector = EnergyDetector(model, class_names=known)
    source = data.load(f"dir:{folder}", part="test", image_shape=(8, 8, 3))
    found = evaluate({"energy": detector}, source, {"n": NOISE}, resamples=1, verbose=0)
    assert found.id["accuracy"] == 1.0
    dataset = keras.utils.image_dataset_from_directory(
        folder, image_size=(8, 8), shuffle=False, verbose=False
    )
    if len(present) > 1:
        pixels = EnergyDetector(perfect_in(model), class_names=known)
        found = evaluate({"energy": pixels}, dataset, {"n": NOISE}, resamples=1, verbose=0)
        assert found.id["accuracy"] == 1.0


def perfect_in(model):
    inputs = keras.Input((8, 8, 3))
    return keras.Model(inputs, model(inputs / 255.0))


def test_names_that_the_classifier_does_not_know_are_refused_before_the_work(trees):
    detector = MSPDetector(perfect(), class_names=("ash", "beech", "cedar"))
    source = data.load(f"dir:{trees}", part="test", image_shape=(8, 8, 3))
    for job in (
        lambda: evaluate({"msp": detector}, source, {"n": NOISE}, resamples=1, verbose=0),
        lambda: detector.calibrate(source, verbose=0),
    ):
        with pytest.raises(ValueError, match=r"does not know 'birch' among.*it knows 'ash', 'bee"):
            job()


# --- Files of models ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run_of_digits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits") / "run"
    return train("digits:0-2", "perceptron", folder, epochs=3, verbose=0)


def test_a_run_says_its_classes_and_the_range_of_its_inputs(run_of_digits):
    for path in (run_of_digits, run_of_digits / "model.keras"):
        names, known = run_facts(path)
        assert names == ("0", "1", "2")
        assert (known.bounds, known.origin) == ((0.0, 1.0), "given")
        detectors, inputs = load_detectors(path, None, None)
        assert {one.class_names for one in detectors.values()} == {names}
        assert inputs.class_names == names
        assert inputs.input_range.known


@pytest.mark.parametrize("text", ["{}", "[]", "no JSON", '{"class_names": 3}'])
def test_a_run_that_says_nothing_is_no_run(tmp_path, text):
    (tmp_path / "run.json").write_text(text, encoding="utf-8")
    assert run_facts(tmp_path) == run_facts(tmp_path / "elsewhere.keras") == (None, None)


def test_other_digits_are_refused_by_tune_and_evaluate_and_as_validation(run_of_digits, tmp_path):
    message = r"does not know '7', '8', '9' among.*it knows '0', '1', '2'"
    with pytest.raises(ValueError, match=message):
        tune_model(run_of_digits, "digits:7-9", tmp_path / "d.keras", verbose=0)
    with pytest.raises(ValueError, match=message):
        evaluate_models([run_of_digits], "digits:7-9", ["noise:uniform:9"], verbose=0)
    with pytest.raises(ValueError, match=message):
        train("digits:0-2", "perceptron", tmp_path / "r", validation="digits:7-9", verbose=0)
    assert not (tmp_path / "d.keras").exists()


@pytest.mark.slow
def test_validation_goes_by_names(run_of_digits, tmp_path):
    validated = train(
        "digits:0-2", "perceptron", tmp_path / "r", epochs=3, validation="digits:1,2", verbose=0
    )
    history = json.loads((validated / "run.json").read_text(encoding="utf-8"))["history"]
    assert history[-1]["val_accuracy"] > 0.8


def test_the_tuned_detector_has_the_classes_of_the_run(run_of_digits, tmp_path):
    detector, _ = tune_model(
        run_of_digits, "digits:1,2", tmp_path / "d.keras", detector="energy", verbose=0
    )
    assert detector.class_names == ("0", "1", "2")
    assert detector.input_range_origin == "given"


@pytest.mark.slow
def test_a_run_that_goes_on_keeps_its_labels(run_of_digits, tmp_path):
    tuned = train(
        "digits:1,2", str(run_of_digits / "model.keras"), tmp_path / "r", epochs=1, verbose=0
    )
    run = json.loads((tuned / "run.json").read_text(encoding="utf-8"))
    assert run["class_names"] == ["0", "1", "2"]
    assert run["history"][-1]["accuracy"] > 0.8
    with pytest.raises(ValueError, match=r"does not know '3' among"):
        train("digits:2,3", str(run_of_digits / "model.keras"), tmp_path / "s", verbose=0)


# --- The range ----------------------------------------------------------------------------------


@pytest.fixture
def pixels_file(tmp_path):
    """A classifier of pixels from 0 to 255, which nothing in it shows."""
    perfect(255.0).save(tmp_path / "pixels.keras")
    return tmp_path / "pixels.keras"


def test_labels_tell_the_range_of_images_to_tune(pixels_file, trees, tmp_path, capsys):
    detector, _ = tune_model(pixels_file, f"dir:{trees}", tmp_path / "d.keras", detector="msp")
    assert (detector.input_range, detector.input_range_origin) == ((0.0, 255.0), "data")
    assert "assumed" not in capsys.readouterr().err
    assert load(tmp_path / "d.keras").input_range == (0.0, 255.0)


def test_chance_is_warned_of_with_the_likeliest_reason(pixels_file, trees, tmp_path):
    message = r"predicts 20 of 60 labels of `dir:.*no better than chance among 3 classes.*"
    with pytest.warns(UserWarning, match=message + r"taken to be from 0 to 1; if that is right"):
        tune_model(
            *(pixels_file, f"dir:{trees}", tmp_path / "d.keras"),
            detector="msp",
            input_range=(0, 1),
            verbose=0,
        )
    with pytest.warns(UserWarning, match=message + r"were assumed.*--input-range LO HI"):
        evaluate_models(
            [pixels_file],
            f"dir:{trees}",
            ["noise:uniform:9"],
            detectors=["msp"],
            resamples=1,
            verbose=0,
        )


def test_what_nothing_tells_is_assumed_and_said_once(pixels_file, trees, tmp_path, capsys):
    flat = f"dir:{trees / 'ash'}"
    detector, _ = tune_model(pixels_file, flat, tmp_path / "d.keras", detector="msp")
    assert (detector.input_range, detector.input_range_origin) == ((0.0, 1.0), "assumed")
    line = "assumed: inputs from 0 to 1; --input-range changes it"
    assert capsys.readouterr().err.count(line) == 1
    found = evaluate_models([tmp_path / "d.keras"], flat, ["noise:uniform:9"], resamples=1)
    assert found.to_dict()["inputs"]["d"] == {
        "input_range": [0.0, 1.0],
        "input_range_origin": "assumed",
    }
    assert capsys.readouterr().err.count(line) == 1


def test_an_unknown_range_is_asked_for(trees, tmp_path):
    perfect(first=keras.ops.log1p).save(tmp_path / "log.keras")
    flat = f"dir:{trees / 'ash'}"
    with pytest.raises(ValueError, match=r"cannot be told.*--input-range LO HI.*Received: model="):
        tune_model(tmp_path / "log.keras", flat, tmp_path / "d.keras", verbose=0)
    detector, _ = tune_model(
        *(tmp_path / "log.keras", flat, tmp_path / "d.keras"),
        detector="msp",
        input_range=(0, 1),
        verbose=0,
    )
    assert detector.input_range_origin == "given"


def test_a_table_of_a_file_has_a_range_for_each_feature(tmp_path, rng):
    keras.Sequential([keras.Input((3,)), layers.Dense(2)]).save(tmp_path / "table.keras")
    x = (rng.normal(size=(60, 3)) * [1.0, 100.0, 1e4]).astype("float32")
    np.savez(tmp_path / "x.npz", x=x)
    detector, _ = tune_model(
        tmp_path / "table.keras", f"npz:{tmp_path / 'x.npz'}", tmp_path / "d.keras", verbose=0
    )
    for found in (detector, load(tmp_path / "d.keras")):
        np.testing.assert_array_equal(found.input_range, (x.min(axis=0), x.max(axis=0)))
    # Noise is then noise in each feature's own units.
    evaluation = evaluate_models(
        [tmp_path / "d.keras"], f"npz:{tmp_path / 'x.npz'}", ["noise:uniform:9"], resamples=1
    )
    assert evaluation.rows[0]["count"] == 9


def test_a_detector_that_nobody_named_is_left_out_where_it_cannot_take_its_statistics(
    tmp_path, rng
):
    """Of a classifier whose logits are below 0 ViM has none, and the others have scores."""
    last = layers.Dense(2, bias_initializer=keras.initializers.Constant(-9))
    keras.Sequential([keras.Input((3,)), last]).save(tmp_path / "net.keras")
    np.savez(tmp_path / "x.npz", x=rng.uniform(size=(20, 3)), y=np.arange(20) % 2)
    name = f"npz:{tmp_path / 'x.npz'}"
    detectors, inputs = load_detectors(tmp_path / "net.keras", ["msp", "vim"], (0, 1))

    def left(detectors, named):
        options = {"named": named, "batch_size": 20, "verbose": 0}
        return list(adapted(detectors, inputs, name, name, **options))

    with pytest.warns(UserWarning, match="'vim' is left out: The largest logit must be above 0"):
        assert left(detectors, named=False) == ["msp"]
    for given, named in ((detectors, True), ({"vim": detectors["vim"]}, False)):
        with pytest.raises(ValueError, match="The largest logit must be above 0"):
            left(given, named)


@pytest.mark.filterwarnings("ignore:.*no better than chance:UserWarning")  # untrained
@pytest.mark.parametrize(("digits", "names"), [("0-1", None), ("0-2", ("0", "1", "2"))])
def test_a_detector_is_chosen_on_data_of_some_of_the_classes(tmp_path, monkeypatch, digits, names):
    keras.Sequential([keras.Input((8, 8, 1)), layers.Flatten(), layers.Dense(3)]).save(
        tmp_path / "net.keras"
    )

    def begun(*data, class_names, **options):
        raise InterruptedError(class_names)

    monkeypatch.setattr(sys.modules["keras_lodin.workflows.choose"], "choose", begun)
    with pytest.raises(InterruptedError) as found:
        choose_detector(
            *(tmp_path / "net.keras", f"digits:{digits}", tmp_path), input_range=(0, 1), verbose=0
        )
    assert found.value.args == (names,)


def test_a_detector_of_another_range_is_refused(tmp_path, pixels_file, trees):
    tune_model(
        *(pixels_file, f"dir:{trees}", tmp_path / "d.keras"),
        detector="msp",
        input_range=(0, 255),
        verbose=0,
    )
    with pytest.raises(ValueError, match=r"made for another range of inputs.*from 0 to 255.*Rec"):
        evaluate_models(
            [tmp_path / "d.keras"], f"dir:{trees}", ["noise:uniform:9"], input_range=(0, 1)
        )


@pytest.mark.slow
def test_a_network_that_learnt_nothing_is_warned_of(tmp_path):
    with pytest.warns(UserWarning, match=r"after its training, no better than chance"):
        train("digits", "perceptron", tmp_path / "r", epochs=1, learning_rate=1e-9, verbose=0)
