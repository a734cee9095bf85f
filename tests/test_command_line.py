"""The command line as a person meets it: in a process of its own, or through click's runner."""

import io
import json
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from keras_lodin import workflows
from keras_lodin.models.networks import NETWORKS
from keras_lodin.workflows import run_quickstart, score_images
from keras_lodin.workflows.recipes import SCALES
from keras_lodin.workflows.recipes.scales import OODSet
from keras_lodin_cli import without_keras
from keras_lodin_cli.main import main
from keras_lodin_cli.printing import show
from keras_lodin_cli.without_keras import can_score
from tests import networks
from tests.processes import forked

COMMANDS = [
    "quickstart",
    "train",
    "tune",
    "evaluate",
    "features",
    "gradients",
    "export",
    "score",
    "monitor",
    "sweep",
]


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def model(run):
    return run / "model.keras"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command):
    result = run(command, "--help")
    assert result.exit_code == 0
    assert f"Example: keras-lodin {command}" in result.output


def test_help_does_not_import_tensorflow():
    script = (
        "import sys; from keras_lodin_cli.main import main; "
        "main(['--help'], standalone_mode=False); "
        "print('heavy:', sorted({'tensorflow', 'keras', 'keras_lodin'} & set(sys.modules)))"
    )
    output = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout
    assert "heavy: []" in output


def test_an_exported_file_is_scored_without_tensorflow_or_keras(tmp_path):
    artifact = Path(__file__).parent / "fixtures" / "version_0_1_0" / "odin.onnx"
    for number in range(2):
        pixels = np.random.default_rng(number).integers(0, 256, (8, 8), "uint8")
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    (tmp_path / "none.png").write_bytes(b"no image")
    output = tmp_path / "scores.csv"
    script = (
        "import sys; from keras_lodin_cli.main import main; "
        "main(sys.argv[1:], standalone_mode=False); "
        "print('heavy:', sorted({'tensorflow', 'keras', 'jax', 'torch'} & set(sys.modules)))"
    )
    arguments = ["score", str(artifact), str(tmp_path), "--output", str(output)]
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True
    )
    assert "heavy: []" in done.stdout
    assert "2 images scored, 0 out-of-distribution, 1 skipped." in done.stdout
    assert done.stderr.count("\n") == 1
    assert f"Skipped {tmp_path / 'none.png'}: " in done.stderr
    # The same rows as where Keras's backend reads the images.
    expected = tmp_path / "expected.csv"
    score_images(artifact, [tmp_path], output=expected, verbose=0)
    assert output.read_text() == expected.read_text()


@pytest.mark.parametrize(
    ("artifact", "output", "expected"),
    [
        ("odin.onnx", None, True),
        ("odin.onnx", "scores.csv", True),
        ("missing.onnx", None, True),  # which is said at once
        ("odin.onnx", "scores/", False),  # data of every kind, TensorFlow's too
        ("mood.onnx", None, False),  # an input that Keras's backend computes
        ("odin.keras", None, False),
        ("", None, False),  # a folder, as a SavedModel is
    ],
)
def test_keras_is_left_out_where_nothing_needs_it(artifact, output, expected, monkeypatch):
    path = str(Path(__file__).parent / "fixtures" / "version_0_1_0" / artifact)
    assert not can_score(path, output)  # it is there already
    loaded = {name: module for name, module in sys.modules.items() if "keras" not in name}
    monkeypatch.setattr(without_keras, "sys", SimpleNamespace(modules=loaded))
    assert can_score(path, output) == expected
    monkeypatch.setattr(without_keras, "entry_points", lambda group: ["a plug-in"])
    assert not can_score(path, output)


@pytest.mark.slow
def test_the_whole_way_from_training_to_scores(model, tmp_path):
    detector, artifact = tmp_path / "detector.keras", tmp_path / "artifact"
    result = run("tune", model, "--id", "digits:0-6", "--output", detector)
    assert result.exit_code == 0, result.output
    assert "temperature" in result.output
    assert f"The detector is in {detector}" in " ".join(result.output.split())

    result = run(
        *("evaluate", model, "--id", "digits:0-6", "--ood", "noise:uniform:100"),
        *("--output", tmp_path / "results", "--resamples", 50),
    )
    assert result.exit_code == 0, result.output
    assert result.output.startswith("In-distribution (ID): digits:0-6")
    results = json.loads((tmp_path / "results" / "results.json").read_text())
    assert {row["detector"] for row in results["results"]} == {
        *("msp", "max_logit", "energy", "odin", "mahalanobis", "vim")
    }
    assert (tmp_path / "results" / "results.csv").exists()
    assert len(list((tmp_path / "results" / "plots").glob("*.png"))) == 2

    result = run("export", detector, "--output", artifact)
    assert result.exit_code == 0, result.output

    images = tmp_path / "images"
    images.mkdir()
    write_image(images / "noise.png")
    (images / "broken.png").write_bytes((images / "noise.png").read_bytes()[:40])
    result = run("score", artifact, images, "--output", tmp_path / "scores.csv")
    assert result.exit_code == 0, result.output
    assert "broken.png" in result.output
    assert "1 images scored" in result.output
    header, row = (tmp_path / "scores.csv").read_text().splitlines()
    assert header == "path,class,class_name,score,is_ood,p_value"
    assert "noise.png" in row


@pytest.mark.slow
def test_gradients_draws_a_figure_and_writes_the_numbers(model, tmp_path):
    result = run(
        *("gradients", model, "--id", "digits:0-6", "--ood", "digits:7-9"),
        *("--limit", 20, "--output", tmp_path / "gradients"),
    )
    assert result.exit_code == 0, result.output
    assert result.output.startswith("model: ID accuracy")
    assert sorted(path.name for path in (tmp_path / "gradients").iterdir()) == [
        *("gradients.csv", "gradients.json", "gradients.png")
    ]
    results = json.loads((tmp_path / "gradients" / "gradients.json").read_text())
    assert [row["count"] for row in results["results"]] == [20, 20]


def test_the_posters_table_is_listed():
    result = run("recipe", "list")
    assert result.exit_code == 0, result.output
    flat = "".join(result.output.split())
    for text in ("msp-wrn", "mood", "odin-gq-imagenet", "93.55", "1e-06", "Scalesmall:Fortwocores"):
        assert text in flat


@pytest.mark.slow
def test_a_recipe_runs_and_is_compared(tmp_path, monkeypatch):
    digits = SCALES["digits"]
    data = replace(digits.data["cifar10"], ood=(OODSet("noise:uniform:60"),))
    tiny = replace(
        digits,
        data={"cifar10": data},
        networks=dict.fromkeys(("wide_resnet_40_4", "resnet18"), "perceptron"),
        training={"cifar10": {"epochs": 1, "augment": None}},
    )
    monkeypatch.setitem(NETWORKS, "perceptron", networks.perceptron)
    monkeypatch.setitem(SCALES, "digits", tiny)
    folder = ("--output", tmp_path / "recipes")
    result = run("recipe", "run", "msp-wrn", "odin-resnet18", "--scale", "digits", *folder)
    assert result.exit_code == 0, result.output
    assert "msp (the row's)" in " ".join(result.output.split())
    result = run("recipe", "compare", "odin-resnet18", "msp-wrn", *folder)
    assert result.exit_code == 0, result.output
    assert "inconclusive (one seed)" in " ".join(result.output.split())


def write_image(path, size=8):
    import keras

    pixels = np.random.default_rng(0).integers(0, 255, (size, size, 1))
    keras.utils.save_img(path, pixels, scale=False)


@pytest.mark.grid(2)
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("evaluate", "no.keras", "--id", "digits", "--ood", "photos"),
            "There is no model at that path",
        ),
        (("evaluate", "{model}", "--id", "digit", "--ood", "photos"), "Did you mean 'digits'"),
        (("evaluate", "{model}", "--id", "digits:0-6", "--ood", "tfds:cifar1"), "cifar10"),
        (("evaluate", "{model}", "--id", "digits", "--ood", "photos"), "does not know '7'"),
        (("evaluate", "{model}", "--id", "digits:0-6", "--ood", "dir:{tmp}/empty"), "empty"),
        (("evaluate", "{model}", "--id", "npz:{tmp}/nan.npz", "--ood", "photos"), "NaN"),
        (
            ("evaluate", "{model}", "--id", "npz:{tmp}/rgb.npz", "--ood", "photos"),
            "(batch, 8, 8, 1)",
        ),
        (("evaluate", "{model}", "--id", "npz:{tmp}/wide.npz", "--ood", "photos"), "input_range"),
        (("evaluate", "{tmp}/two.keras", "--id", "digits", "--ood", "photos"), "same classes"),
        (("evaluate", "{tmp}/regression.keras", "--id", "digits", "--ood", "photos"), "regression"),
        (
            ("evaluate", "{tmp}/text.keras", "--id", "digits", "--ood", "photos"),
            "no `.keras` archive",
        ),
        (("tune", "{model}", "--id", "digits:0-6", "--output", "x.keras", "--tpr", "2"), "tpr"),
        (
            (
                *("evaluate", "{model}", "--id", "digits:0-6", "--ood", "photos"),
                *("--batch-size", "0"),
            ),
            "'--batch-size': 0 is not in the range",
        ),
        (("tune", "{model}", "--id", "digits:0-6", "--output", "{tmp}/full/x/y.keras"), "full"),
        (
            (
                *("evaluate", "{model}", "--id", "digits:0-6", "--ood", "photos"),
                *("--output", "{tmp}/full"),
            ),
            "full' is a file",
        ),
        (("score", "{model}", "{tmp}/rgb.npz", "--output", "{tmp}/empty"), "not a detector"),
        (("score", "{model}", "{tmp}/rgb.npz", "--shard-size", "9"), "needs a folder to write"),
        (("export", "{model}", "--format", "h5", "--output", "{tmp}/a"), "must be one of"),
        (("score", "{model}", "{tmp}/rgb.npz"), "not a detector"),
        (("train", "--id", "digits", "--model", "resnet1", "--output", "{tmp}/r"), "resnet18"),
        (
            (
                *("train", "--id", "digits", "--model", "small_convnet", "--output", "{tmp}/r"),
                *("--loss-weight", "1", "--loss-weight", "2"),
            ),
            "one for each exit",
        ),
        (
            (
                *("evaluate", "{model}", "--id", "npz:{tmp}/rgb.npz", "--ood", "photos"),
                *("--detector", "mahalanobis"),
            ),
            "Name the training data",
        ),
        (
            ("tune", "{model}", "--id", "digits:0-6", "--output", "m.keras", "--detector", "mood"),
            "several exits",
        ),
        (
            (
                *("choose", "{model}", "--id", "digits:0-6", "--ood", "dir:{tmp}/empty"),
                *("--output", "{tmp}/empty/chosen"),
            ),
            "The output is also an input",
        ),
        (("recipe", "run", "odin-resnet81", "--output", "{tmp}/r"), "Did you mean"),
        (
            ("recipe", "run", "mood", "--scale", "tiny", "--output", "{tmp}/r"),
            "full, small, digits",
        ),
        (("recipe", "compare", "mood", "odin-wrn", "--output", "{tmp}/r"), "recipe run mood"),
    ],
)
def test_a_users_mistake_ends_with_one_sentence_and_code_2(arguments, message, model, tmp_path):
    import keras

    pixels = np.random.default_rng(0).uniform(size=(4, 8, 8, 1)).astype("float32")
    np.savez(tmp_path / "nan.npz", x=np.where(pixels < 0.01, np.nan, pixels), y=np.arange(4))
    np.savez(tmp_path / "rgb.npz", x=np.tile(pixels, (1, 1, 1, 3)), y=np.arange(4))
    np.savez(tmp_path / "wide.npz", x=pixels * 255, y=np.arange(4))
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").write_text("a file where a folder should be")
    (tmp_path / "text.keras").write_text("not a model")
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.Flatten()(inputs)
    keras.Model(inputs, keras.layers.Dense(1)(x)).save(tmp_path / "regression.keras")
    keras.Model(inputs, [keras.layers.Dense(n)(x) for n in (3, 4)]).save(tmp_path / "two.keras")

    arguments = [argument.format(model=model, tmp=tmp_path) for argument in arguments]
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert message in " ".join(result.output.split())
    assert "Traceback" not in result.output
    assert not (tmp_path / "a").exists()


def test_every_recipe_is_looked_at_before_the_first_one_runs(tmp_path, monkeypatch):
    def too_late(*arguments, **options):
        raise AssertionError("the work has begun")

    monkeypatch.setattr(workflows, "run_recipe", too_late)
    for second, message in (("odin-resnet81", "Did you mean"), ("odin-imagenet", "at scale full")):
        names = ("odin-resnet18", second)
        result = run("recipe", "run", *names, "--scale", "digits", "--output", tmp_path / "r")
        assert result.exit_code == 2, result.output
        assert message in " ".join(result.output.split())


@pytest.mark.skipif(shutil.which("mount") is None or os.geteuid() != 0, reason="needs root")
def test_full_disk_leaves_nothing_half_written(model, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(disk)], capture_output=True
    ).returncode:
        pytest.skip("cannot mount a small disk here")
    try:
        result = run(
            *("tune", model, "--id", "digits:0-6", "--detector", "msp"),
            *("--output", disk / "detector.keras"),
        )
        assert result.exit_code == 2, result.output
        assert "space" in result.output
        assert not list(disk.iterdir())
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.filterwarnings("default:(Fewer than 20|5 samples cannot):UserWarning")
def test_tune_says_how_sure_it_is_and_warns_in_a_sentence(model, tmp_path):
    images = np.random.default_rng(0).uniform(size=(5, 8, 8, 1)).astype("float32")
    np.savez(tmp_path / "few.npz", x=images)
    result = run(
        *("tune", model, "--id", f"npz:{tmp_path / 'few.npz'}"),
        *("--output", tmp_path / "detector.keras"),
    )
    assert result.exit_code == 0, result.output
    assert "Warning: Fewer than 20 samples cannot tell temperatures" in result.output
    assert "Warning: 5 samples cannot show that 95 % of fresh data pass" in result.output
    assert "5 ID samples against 5 of each kind of made-up data" in result.output
    assert "over the runner-up (temperature" in result.output
    assert "no threshold: nothing is called out-of-distribution" in result.output
    assert "UserWarning" not in result.output


def check_quickstart(folder, printed, sets, least_accuracy):
    results = json.loads((folder / "results" / "results.json").read_text())
    assert {row["model"] for row in results["results"]} == {"cross-entropy", "gq"}
    assert {row["ood"] for row in results["results"]} == set(sets)
    assert all(
        accuracy > least_accuracy for accuracy in results["id"]["accuracy_by_model"].values()
    )
    assert "ID accuracy" in printed
    assert printed.count("score ") >= 2 * (1 + len(sets))
    assert len(list((folder / "results" / "plots").glob("*.png"))) == 2 * len(sets)


def test_quickstart_trains_evaluates_exports_and_scores(tmp_path, monkeypatch):
    """The README's first command, with a network, trainings and data sets cut short."""
    monkeypatch.setitem(NETWORKS, "small_convnet", networks.perceptron)
    monkeypatch.setattr(run_quickstart, "EPOCHS", 6)
    sets = ("digits:7-9",)
    monkeypatch.setattr(run_quickstart, "OOD", sets)
    # The process that scores need not be new here.
    monkeypatch.setattr(sys, "executable", str(forked("python")))
    result = run("quickstart", "--output", tmp_path / "q")
    assert result.exit_code == 0, result.output
    check_quickstart(tmp_path / "q", result.stdout, sets, 0.9)


@pytest.mark.slow
def test_the_whole_quickstart_takes_less_than_three_minutes(tmp_path):
    """As the README has it, which CI runs as `make quickstart` every time."""
    start = time.monotonic()
    finished = subprocess.run(
        [sys.executable, "-m", "keras_lodin", "quickstart", "--output", str(tmp_path / "q")],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )
    assert time.monotonic() - start < 180
    check_quickstart(tmp_path / "q", finished.stdout, run_quickstart.OOD, 0.95)
    assert "Traceback" not in finished.stderr


def test_json_is_all_that_a_machine_reads(model, tmp_path):
    results = run(
        *(
            "evaluate",
            model,
            "--id",
            "digits:0-6",
            "--ood",
            "noise:uniform:50",
            "--detector",
            "msp",
        ),
        *("--output", tmp_path / "results", "--resamples", 20, "--json"),
    )
    document = json.loads(results.stdout)
    assert (
        document["results"]
        == json.loads((tmp_path / "results/results.json").read_text())["results"]
    )
    assert "Results are in" in results.stderr

    found = run(
        *("gradients", model, "--id", "digits:0-6", "--ood", "noise:uniform:20", "--limit", 20),
        *("--output", tmp_path / "gradients", "--json"),
    )
    document = json.loads((tmp_path / "gradients/gradients.json").read_text())
    assert set(document.pop("files")) == {"gradients.csv", "gradients.png"}
    assert json.loads(found.stdout) == document


def test_near_far_and_shifted_data_have_options(model, tmp_path):
    pixels = np.random.default_rng(0).uniform(size=(20, 8, 8, 1)).astype("float32")
    np.savez(tmp_path / "shifted.npz", x=pixels)
    found = run(
        *("evaluate", model, "--id", "digits:0-6", "--near", "digits:7-9", "--detector", "msp"),
        *("--far", "noise:uniform:20", "--far", "noise:gaussian:20", "--resamples", 2),
        *("--shifted", f"npz:{tmp_path / 'shifted.npz'}", "--json"),
    )
    assert found.exit_code == 0, found.output
    document = json.loads(found.stdout)
    assert [(row["group"], row["full_spectrum"]) for row in document["means"]] == [
        (group, spectrum) for spectrum in (False, True) for group in ("near", "far", None)
    ]
    assert [one["count"] for one in document["shifted"]] == [20]
    none = run("evaluate", model, "--id", "digits:0-6")
    assert none.exit_code == 2
    assert "(--near SPEC, --far SPEC)" in " ".join(none.output.split())


def test_what_is_no_number_is_null_in_json(capsys):
    show(None, {"threshold": float("-inf"), "scores": [0.5, float("nan")]}, True)
    assert json.loads(capsys.readouterr().out) == {"threshold": None, "scores": [0.5, None]}


@pytest.mark.parametrize(("encoding", "kept"), [("cp1252", "é"), ("utf-8", "é 絵 😀")])
def test_json_is_json_in_every_encoding(encoding, kept, monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="backslashreplace")
    monkeypatch.setattr(sys, "stdout", stream)
    for name in (kept, "é 絵 😀 \x81"):
        stream.seek(0)
        stream.truncate()
        show(None, {"path": name}, True)
        stream.flush()
        written = stream.buffer.getvalue().decode(encoding)
        assert json.loads(written) == {"path": name}
        assert (kept in written) == (name == kept or encoding == "utf-8")


def test_scores_and_recipes_are_there_as_json_too(model, tmp_path):
    detector = tmp_path / "detector.keras"
    tune = ("tune", model, "--id", "digits:0-6", "--detector", "energy", "--output", detector)
    assert run(*tune).exit_code == 0
    pixels = np.random.default_rng(0).integers(0, 255, (8, 8), dtype="uint8")
    Image.fromarray(pixels).save(tmp_path / "picture.png")
    (tmp_path / "broken.png").write_text("no picture")
    scored = run("score", detector, tmp_path / "picture.png", tmp_path / "broken.png", "--json")
    document = json.loads(scored.stdout)
    assert [row["path"] for row in document["images"]] == [str(tmp_path / "picture.png")]
    assert document["skipped"][0]["path"] == str(tmp_path / "broken.png")
    into = ("score", detector, tmp_path, "digits:7", "--output", f"{tmp_path}-scores/")
    many = run(*into, "--shard-size", 100)
    assert many.exit_code == 0, many.output
    assert "out-of-distribution" in many.output
    assert "Unreadable: " in many.output
    assert f"The scores are in {tmp_path}-scores/" in many.output
    assert json.loads(run(*into, "--shard-size", 100, "--json").stdout)["scored"] == 180
    named = run("score", detector, tmp_path / "broken.png", "--output", f"{tmp_path}-no scores/")
    assert named.exit_code == 1
    recipes = json.loads(run("recipe", "list", "--json").stdout)
    assert {"odin-gq-resnet18", "mood"} <= {recipe["name"] for recipe in recipes["recipes"]}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_can_complete_without_tensorflow(shell):
    script = (
        "import sys; from keras_lodin_cli.main import main\n"
        "try: main(prog_name='keras-lodin')\n"
        "finally: sys.stderr.write(str('tensorflow' in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "_KERAS_LODIN_COMPLETE": f"{shell}_source"},
        capture_output=True,
        text=True,
    )
    assert "_KERAS_LODIN_COMPLETE" in done.stdout
    assert done.stderr.endswith("False")


def test_output_that_is_no_terminal_or_wants_no_colour_has_none():
    for colour in ({}, {"NO_COLOR": "1", "FORCE_COLOR": "1"}):
        done = subprocess.run(
            [forked("python"), "-m", "keras_lodin", "recipe", "list"],
            env={**os.environ, **colour},
            capture_output=True,
            text=True,
            check=True,
        )
        assert not re.search(r"\x1b\[(3|4|9)\d", done.stdout)
