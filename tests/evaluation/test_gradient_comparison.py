"""A comparison of gradient norms as a value: its figures, its table, its files."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from keras_lodin.evaluation.gradient_comparison import GradientComparison
from keras_lodin.metrics.figures import auroc

SETTINGS = {"form": "softmax", "estimator": "exact", "samples": 1, "norm": "l1"}
QUANTITIES = ("log10_label_norm", "log10_other_norm", "quotient")


@pytest.fixture
def comparison(models):
    settings = {**SETTINGS, "seed": 0, "limit": None}
    return GradientComparison("digits", models, {"ce": 0.9, "gq": None}, settings, {}, "x")


def printed(table):
    console = Console(width=80, color_system=None)
    with console.capture() as capture:
        console.print(table)
    return capture.get().splitlines()


def test_figures_are_those_of_the_samples(comparison):
    for row in comparison.rows:
        sets = comparison.distributions[row["model"]]
        assert row["kind"] == ("id" if row["data"] == "digits" else "ood")
        for quantity in QUANTITIES:
            values = getattr(sets[row["data"]], quantity)
            assert row[quantity]["median"] == pytest.approx(np.median(values))
            assert row[quantity]["mean"] == pytest.approx(values.mean(dtype="float64"))
            if row["kind"] == "ood":
                inside = getattr(sets["digits"], quantity)
                assert row["auroc"][quantity] == auroc(inside, values)


def test_a_zero_gradient_is_the_smallest_of_all(comparison):
    sets = dict(comparison.distributions["ce"])
    zeros = np.full(3, -np.inf)
    sets["noise"] = type(sets["noise"])(zeros, zeros, np.zeros(3, "float32"), np.zeros(3, "int32"))
    changed = replace(comparison, distributions={"ce": sets})
    (row,) = (row for row in changed.rows if row["data"] == "noise")
    assert row["auroc"] == dict.fromkeys(QUANTITIES, 1.0)
    assert row["zero_label_gradients"] == row["zero_other_gradients"] == row["count"] == 3
    assert row["log10_label_norm"]["median"] is None
    assert any("all zero" in line for line in printed(changed.table()))


def test_the_table_fits_a_terminal_of_eighty_columns(comparison):
    skipped = {"noise": [("broken.png", "it is none")]}
    lines = printed(replace(comparison, skipped=skipped).table())
    assert lines[0].rstrip() == "ce: ID accuracy 90.0 %"
    assert "gq: ID accuracy unknown (no labels)" in [line.rstrip() for line in lines]
    assert any("1 unreadable files left out, the first is broken.png" in line for line in lines)
    (row,) = (line for line in lines[:8] if "noise" in line)
    figures = comparison.rows[0]["quotient"], comparison.rows[0]["auroc"]["quotient"]
    assert f"{figures[0]['median']:.3f} ({100 * figures[1]:.1f})" in row
    assert max(len(line.rstrip()) for line in lines) <= 80


def test_files_hold_every_sample_and_names_that_no_spreadsheet_runs(comparison, tmp_path):
    sets = {"digits": comparison.distributions["ce"]["digits"]}
    changed = replace(comparison, distributions={"=1": sets}, accuracies={"=1": 0.5})
    changed.save(tmp_path)
    document = json.loads((tmp_path / "gradients.json").read_text("utf-8"))
    assert set(document["files"]) == {"gradients.csv", "gradients.png"}
    assert document["results"] == changed.rows
    assert "softmax" in document["definitions"]["log10_label_norm"]
    with open(tmp_path / "gradients.csv", newline="", encoding="utf-8") as file:
        samples = list(csv.DictReader(file))
    assert len(samples) == 50
    assert samples[0]["model"] == "'=1"
    assert [float(sample["quotient"]) for sample in samples] == pytest.approx(
        sets["digits"].quotient, rel=1e-6
    )
