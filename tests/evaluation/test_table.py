"""The results on a terminal and as text."""

import io

import pytest
from rich.console import Console

from tests.evaluation.conftest import make_evaluation


def test_accuracy_comes_before_every_other_figure(evaluation):
    first, second, *rest = str(evaluation.table()).splitlines()
    assert first == "In-distribution (ID): cifar10, 200 samples"
    assert second == "ID accuracy: 80.0 %"
    assert "accuracy" not in "".join(rest)


def test_accuracy_without_labels_is_called_unknown():
    evaluation = make_evaluation(accuracy=None)
    assert "ID accuracy: unknown (no labels)" in str(evaluation.table())


def test_figures_are_percentages_with_intervals(evaluation):
    text = str(evaluation.table())
    for row in evaluation.rows:
        low, high = (100 * bound for bound in row["auroc_interval"])
        assert f"{100 * row['auroc']:.1f} ({low:.1f}-{high:.1f})" in text
        assert f"{100 * row['detection_error']:.1f}" in text
    assert "OOD: svhn, 150 samples" in text
    assert "Mean of the 2 OOD sets" in text
    assert "(ID positive)" in text


def test_every_row_says_what_its_detector_costs(evaluation):
    lines = str(evaluation.table()).splitlines()
    for name, passes in (("msp", "1"), ("odin", "3")):
        rows = [line for line in lines if line.startswith(name)]
        assert [row.split()[-1] for row in rows] == [passes] * 3
    assert "Passes: forward passes" in " ".join(lines)


def test_one_set_has_no_mean():
    assert "Mean" not in str(make_evaluation(oods=("svhn",)).table())


def test_groups_are_named_and_have_means_of_their_own():
    groups = {"svhn": "far", "dtd": "far", "lsun": "near"}
    text = str(make_evaluation(oods=tuple(groups), groups=groups).table())
    for title in (
        "OOD (far): svhn, 150 samples",
        "OOD (near): lsun, 150 samples",
        "Mean of far: 2 OOD sets",
        "Mean of near: 1 OOD set",
        "Mean of all 3 OOD sets",
    ):
        assert title in text.splitlines()


def test_several_models_get_a_column_and_an_accuracy_each():
    text = str(make_evaluation(models=("ce", "gq")).table())
    assert "ID accuracy: 80.0 % (ce), 80.0 % (gq)" in text
    assert "Model  Detector" in text


def test_text_is_ascii_and_repr_shows_it_too(evaluation):
    text = str(evaluation.table())
    assert text.isascii()
    assert repr(evaluation.table()) == text
    assert all(line == line.rstrip() for line in text.splitlines())


@pytest.mark.parametrize("name", ["[bold]x", "[/x]", "digits[:50%]", "gemälde $1$"])
def test_names_are_shown_as_they_are(name):
    text = str(make_evaluation(models=(name, "b"), detectors=(name,), oods=(name,)).table())
    assert f"OOD: {name}, 150 samples" in text
    assert f"80.0 % ({name})" in text


def test_table_fits_a_terminal_of_eighty_columns(evaluation):
    console = Console(file=io.StringIO(), width=80)
    console.print(evaluation.table())
    written = console.file.getvalue()
    lines = [line.rstrip() for line in written.splitlines()]
    assert max(map(len, lines)) <= 80
    rows = [line for line in lines if line.startswith(("msp", "odin"))]
    assert len(rows) == 6  # Two sets and their mean, two detectors, one line each.
    assert all(len(row.split()) >= 5 for row in rows)
