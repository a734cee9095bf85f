"""Names that nobody expects, on their way into every file and table of a report."""

import csv
import html
import io
import json
import os
from urllib.parse import unquote

import numpy as np
import pytest
from rich.console import Console

from keras_lodin.evaluation.files import write_scores
from keras_lodin.evaluation.plots import plot_files
from keras_lodin.report import page
from keras_lodin.report.page import Section
from keras_lodin.report.plot_style import as_png, plain
from keras_lodin.utils.foreign_text import csv_cell, encodable, shown
from tests.evaluation.conftest import make_evaluation

NAMES = {
    "markup": "[red]x[/b]",
    "ansi": "\x1b[2J\x1b[31mx",
    "osc": "\x1b]0;OWNED\x07",
    "bidi": "a\u202ecod.exe",
    "newline": "two\nlines\r\n",
    "formula": '=HYPERLINK("http:evil")',
    "surrogate": "caf\udce9",
    "long": "dir:/" + "deep/" * 100 + "end",
    "quotes": "a\"b',c;d",
    "html": "<img src=x onerror=alert(1)>&\"'",
    "markdown": "a|b*c*`d`~~e~~_f_",
    "mathematics": "$\\frac{1}{",
    "underscore": "_hidden",
    "empty": " ",
}

names = pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)


@pytest.fixture(params=NAMES.values(), ids=NAMES)
def evaluation_of(request):
    """An evaluation with one name for everything, and the name."""
    name = request.param
    evaluation = make_evaluation(models=(name, "b"), detectors=(name,), oods=(name, "plain"))
    evaluation.skipped[name] = [(name, "unreadable")]
    return name, evaluation


def test_the_table_shows_every_name_whole_and_harmless(evaluation_of):
    name, evaluation = evaluation_of
    for text in (str(evaluation.table()), _printed(evaluation.table(), 100_000)):
        assert f"OOD: {shown(name)}, 150 samples" in text
        assert "\x1b" not in text
        text.encode()


def test_the_table_breaks_a_name_on_a_narrow_terminal_and_loses_none_of_it(evaluation_of):
    name, evaluation = evaluation_of
    text = _printed(evaluation.table(), 60)
    assert max(map(len, text.splitlines())) <= 60
    assert "".join(shown(name).split()) in "".join(text.split())


def _printed(table, width):
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(table)
    return console.file.getvalue()


def test_csv_and_json_hold_every_name(evaluation_of, tmp_path):
    name, evaluation = evaluation_of
    evaluation.to_csv(tmp_path / "results.csv")
    evaluation.to_json(tmp_path / "results.json")
    with (tmp_path / "results.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["ood"] for row in rows} == {csv_cell(name), "plain"}
    assert [float(row["auroc"]) for row in rows] == [row["auroc"] for row in evaluation.rows]
    document = json.loads((tmp_path / "results.json").read_bytes().decode("utf-8"))
    assert document["results"][0]["ood"] == encodable(name)


def test_pages_show_names_as_text(evaluation_of):
    from keras_lodin.evaluation.page import how

    name, evaluation = evaluation_of
    blocks = [
        *how(evaluation.to_dict()),
        page.text(name),
        page.table(name, (name, "value"), [(name, name)]),
        page.verdict(name),
        page.code(name),
        page.definitions({name: name}),
        page.pictures(name, [(np.zeros((2, 2, 1), "uint8"), name, name)]),
    ]
    text = page.page(name, name, [Section(name, blocks)])
    text.encode()
    assert "<img src=x" not in text
    assert not set(text) & set("\x1b\x07\u202e\r")
    assert text.count("<img ") == text.count('<img src="data:image/png;base64,') == 1
    (alt,) = [part.partition('"')[0] for part in text.split('alt="')[1:]]
    assert html.unescape(alt) == shown(name, keep="\n")


@names
def test_markdown_takes_names_for_words(name):
    from rich.markdown import Markdown

    table = page.table("caption", ("name", "value"), [(name, "1")])
    blocks = [table, page.text(name), page.code(name)]
    text = page.markdown("title", name, [Section("section", blocks)])
    assert "\x1b" not in text
    drawn = _printed(Markdown(text), 2_000)
    flat = "".join(drawn.split())
    # In code its line breaks stay.
    expected = 3 if "\n" in name else 4
    assert flat.count("".join(shown(name).split())) >= (expected if name.strip() else 0)


@names
def test_figures_can_be_drawn_of_every_name(name):
    from matplotlib.figure import Figure

    figure = Figure()
    axes = figure.subplots()
    axes.plot([0, 1], label=plain(name))
    axes.set_title(plain(f"ID: {name}\nOOD: {name}"))
    assert len(axes.get_legend_handles_labels()[1]) == 1
    figure.savefig(io.BytesIO(), format="png", dpi=20)
    assert max(map(len, plain(name).replace(r"\$", "$").split("\n"))) <= 101


@pytest.mark.parametrize(
    "name", [*NAMES.values(), "\U0001d538" * 200, "絵" * 200, "..", "/", "../../x", ""]
)
def test_files_of_plots_stay_in_their_folder(name, tmp_path):
    found = plot_files({name: {"scores": b"", "roc": b""}, name + "/": {"scores": b""}})
    assert len(found) == 3
    for file in found:
        assert os.path.basename(file) == file
        (tmp_path / file).write_bytes(b"")


@pytest.mark.parametrize(
    ("detectors", "oods"),
    [
        (("a", "a/b"), ("b/c", "c")),
        (("a/b", "a"), ("c", "b/c")),
        (("a/", "a"), ("b", "/b")),
        (("a%2Fb", "a/b"), ("c", "d")),
        (("a%", "a%25"), ("b", "%25b")),
        (("/", "//"), ("/", "//x")),
        (("", "/"), ("/a", "a")),
        (("msp", "net/msp"), ("dir:/data/x", "msp/dir:/data/x")),
        (("caf\udce9", "b"), ("=1", "\x1b")),
    ],
)
def test_no_two_arrays_of_scores_have_one_name(detectors, oods, tmp_path):
    evaluation = make_evaluation(detectors=detectors, oods=oods)
    write_scores(evaluation.scores, tmp_path / "scores.npz")
    with np.load(tmp_path / "scores.npz") as scores:
        assert len(scores.files) == sum(map(len, evaluation.scores.values()))
        for key in scores.files:
            detector, _, name = key.partition("/")
            known = {encodable(one): sets for one, sets in evaluation.scores.items()}
            sets = {encodable(one): values for one, values in known[unquote(detector)].items()}
            np.testing.assert_array_equal(scores[key], sets[name])


@pytest.fixture
def quick_plots(monkeypatch):
    """Plots of nothing: drawing them takes seconds."""
    from matplotlib.figure import Figure

    from keras_lodin.evaluation import plots

    png = as_png(Figure(figsize=(0.1, 0.1)))
    monkeypatch.setattr(
        plots,
        "draw_plots",
        lambda results, scores: {
            row["ood"]: {"scores": png, "roc": png} for row in results["results"]
        },
    )


@pytest.mark.usefixtures("quick_plots")
def test_an_evaluation_is_saved_whole_with_its_digests(tmp_path):
    import hashlib

    make_evaluation(oods=("a", "b")).save(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    make_evaluation(oods=("a",)).save(tmp_path)
    written = json.loads((tmp_path / "results.json").read_text())["files"]
    for name, digest in written.items():
        assert hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() == digest
    there = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert there == {*written, "results.json", "notes.txt"}
    assert not any("/b_" in name for name in there)


@pytest.mark.usefixtures("quick_plots")
def test_a_plot_that_somebody_changed_is_not_removed(tmp_path):
    make_evaluation(oods=("a", "b")).save(tmp_path)
    (tmp_path / "plots" / "b_roc.png").write_text("drawn over by hand")
    make_evaluation(oods=("a",)).save(tmp_path)
    assert [p.name for p in (tmp_path / "plots").glob("b_*")] == ["b_roc.png"]


@pytest.mark.usefixtures("quick_plots")
@pytest.mark.parametrize("claims", ["../x.png", "/etc/passwd", "plots/../../x", "notes.txt", 3])
def test_nothing_outside_the_plots_is_removed_whatever_an_old_file_claims(tmp_path, claims):
    (tmp_path / "x.png").write_bytes(b"")
    folder = tmp_path / "results"
    folder.mkdir()
    (folder / "notes.txt").write_bytes(b"")
    digest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    (folder / "results.json").write_text(json.dumps({"files": {str(claims): digest}}))
    make_evaluation(oods=("a",)).save(folder)
    assert (tmp_path / "x.png").exists()
    assert (folder / "notes.txt").exists()
