"""File and class names that nobody expects, from the command line to the terminal and back."""

import csv
import io
import json
import os

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from keras_lodin import MSPDetector
from keras_lodin.utils.foreign_text import csv_cell, encodable, shown
from keras_lodin_cli.main import main
from tests import networks

FILES = [
    *("img[red].png", "[/b].png", "\x1b[2J\x1b[31mx.png", "\x1b]0;OWNED\x07.png"),
    *("a\u202egnp.png", "two\nlines.png", "=HYPERLINK(1).png", "-1+2.png", "@x.png"),
    *("caf\udce9.png", "n" * 250 + ".png", 'a"b,c.png', "<img src=x>.png", "絵.png", "a b.png"),
]
CLASSES = ["[/red]", "\x1b[2J", "=1+1", "\u202ex", "two\nlines", "<b>", "caf\udce9"]


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    path = tmp_path_factory.mktemp("artifact") / "detector.keras"
    classes = [encodable(name) for name in CLASSES]
    MSPDetector(networks.dense(shape=(8, 8, 1)), class_names=classes).save(path)
    return path


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images" + "x" * 100)
    for number, name in enumerate(FILES):
        pixels = np.random.default_rng(number).integers(0, 255, (8, 8), dtype="uint8")
        (folder / name).parent.mkdir(exist_ok=True)
        with open(folder / name, "wb") as file:
            Image.fromarray(pixels).save(file, "PNG")
    (folder / "\x1b]0;junk\x07.png").write_text("no image")
    return folder


def test_names_are_printed_whole_and_as_text(artifact, images):
    result = run("score", artifact, images)
    assert result.exit_code == 0, result.output
    for name in FILES:
        assert shown(str(images / name)) in result.output
    assert r"Skipped " in result.output
    assert not set(result.output) & set("\x1b\x07\u202e")
    assert "two\\nlines" in result.output


def test_names_in_json_can_be_read_by_everybody(artifact, images):
    result = run("score", artifact, images, "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout_bytes.decode("utf-8"))
    paths = {row["path"] for row in document["images"]}
    assert paths == {encodable(str(images / name)) for name in FILES}
    assert {row["class_name"] for row in document["images"]} <= {encodable(c) for c in CLASSES}


def test_names_in_csv_are_no_formulas(artifact, images, tmp_path, monkeypatch):
    monkeypatch.chdir(images)
    names = [f"./{name}" if name.startswith("-") else name for name in FILES]
    result = run("score", artifact, "--output", tmp_path / "s.csv", "--", *names)
    assert result.exit_code == 0, result.output
    with (tmp_path / "s.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    expected = {csv_cell(name.removeprefix("./")) for name in names}
    assert {row["path"] for row in rows} == expected
    cells = [cell for row in rows for cell in (row["path"], row["class_name"])]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))]
    assert all(float(row["score"]) <= 1 for row in rows)


@pytest.mark.grid(2)
@pytest.mark.parametrize(
    "wrong", ["missing.png", "\x1b[2Jmissing", "empty", "[/b]", "junk.png", "caf\udce9", "n" * 300]
)
def test_one_bad_name_costs_that_name_and_not_the_answer(artifact, images, tmp_path, wrong):
    (tmp_path / "empty").mkdir()
    (tmp_path / "junk.png").write_text("no image")
    result = run("score", artifact, images / "絵.png", tmp_path / wrong, "--json")
    assert result.exit_code == 1, result.output
    document = json.loads(result.stdout)
    assert [row["path"] for row in document["images"]] == [str(images / "絵.png")]
    (skipped,) = document["skipped"]
    assert skipped["path"] == encodable(str(tmp_path / wrong))
    assert shown(str(tmp_path / wrong)) in result.stderr
    assert "\x1b" not in result.stderr


def test_scores_that_are_no_numbers_are_null(artifact, images, monkeypatch):
    from keras_lodin.workflows import score

    rows = [
        {"path": "a", "class": 0, "class_name": "b", "score": value, "is_ood": True, "p_value": p}
        # An artifact from before there were p-values has none.
        for value, p in ((float("nan"), 0.1), (float("inf"), 1.0), (-1.5, None))
    ]
    monkeypatch.setattr(score, "score_images", lambda *given, **options: (rows, []))
    result = run("score", artifact, images, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout, parse_constant=pytest.fail)["images"]
    assert [row["score"] for row in found] == [None, None, -1.5]
    assert [row["p_value"] for row in found] == [0.1, 1.0, None]


def test_a_terminal_without_the_letters_gets_escapes(artifact, images, monkeypatch):
    for stream in ("stdout", "stderr"):
        monkeypatch.setattr("sys." + stream, io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    main(["score", str(artifact), str(images / "絵.png")], standalone_mode=False)
    import sys

    sys.stdout.flush()
    assert rb"\u7d75.png" in sys.stdout.buffer.getvalue()


@pytest.mark.parametrize(
    "arguments",
    [
        ("score", "\x1b[2J", "x"),
        ("\x1b[2J",),
        ("score", "--\x1b[2J"),
        ("recipe", "\x1b[2J"),
        ("recipe", "run", "\x1b[2J"),
        ("train", "--id", "\x1b[2J", "--model", "x", "--output", "x"),
        ("train", "--id", "digits", "--model", "\u202e\x9b", "--output", "x"),
        ("train", "--epochs", "\x1b[2J", "--id", "x", "--model", "x", "--output", "x"),
        ("evaluate", "x", "--id", "dir:\x1b]0;OWNED\x07", "--ood", "x"),
        ("export", "\x1b\udcff.keras", "--output", "x"),
        ("tune", "x", "--id", "digits", "--output", "x", "surplus\x1b[2J"),
    ],
)
def test_messages_repeat_names_as_text(arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.exit_code == 2
    assert not set(result.output) & set("\x1b\x07\u202e\x9b")
    assert "Traceback" not in result.output
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("output", ["{image}", "{artifact}", "{link}", "{folder}/../{name}/絵.png"])
def test_an_output_that_is_an_input_is_refused(artifact, images, tmp_path, output):
    (tmp_path / "link").symlink_to(images / "絵.png")
    output = output.format(
        image=images / "絵.png",
        artifact=artifact,
        link=tmp_path / "link",
        folder=images,
        name=images.name,
    )
    before = (images / "絵.png").read_bytes(), artifact.read_bytes()
    result = run("score", artifact, images, "--output", output)
    assert result.exit_code == 2
    assert "also an input" in " ".join(result.output.split())
    assert ((images / "絵.png").read_bytes(), artifact.read_bytes()) == before


def test_scores_go_to_a_device_and_it_stays(artifact, images):
    result = run("score", artifact, images, "--output", "/dev/null")
    assert result.exit_code == 0, result.output
    assert not os.path.isfile("/dev/null")
