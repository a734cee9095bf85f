"""An evaluation as a value: means, several models in one, and a page drawn again from its files."""

import json
from dataclasses import replace
from urllib.parse import unquote

import numpy as np
import pytest

from keras_lodin.evaluation.page import evaluation_page
from keras_lodin.evaluation.plots import draw_means, draw_plots
from keras_lodin.evaluation.results import Evaluation, id_data_facts
from keras_lodin.metrics import FIGURES
from tests.evaluation.conftest import make_evaluation


def test_means_are_taken_over_several_sets_only(evaluation):
    assert make_evaluation(oods=("svhn",)).means == []
    assert [mean["detector"] for mean in evaluation.means] == ["msp", "odin"]
    for mean in evaluation.means:
        rows = [row for row in evaluation.rows if row["detector"] == mean["detector"]]
        assert mean["ood_sets"] == 2
        assert mean["passes"] == rows[0]["passes"]
        for figure in FIGURES:
            assert mean[figure] == pytest.approx((rows[0][figure] + rows[1][figure]) / 2)


GROUPS = {"svhn": "far", "dtd": "far", "lsun": "near"}


def test_every_group_has_a_mean_beside_that_of_all():
    evaluation = make_evaluation(detectors=("msp",), oods=tuple(GROUPS), groups=GROUPS)
    means = {mean["group"]: mean for mean in evaluation.means}
    assert list(means) == ["far", "near", None]
    for group, mean in means.items():
        rows = [row for row in evaluation.rows if group in (None, row["group"])]
        assert mean["ood_sets"] == len(rows)
        assert mean["auroc"] == pytest.approx(np.mean([row["auroc"] for row in rows]))


def test_sets_outside_of_groups_count_in_the_mean_of_all_alone():
    evaluation = make_evaluation(detectors=("msp",), groups={"svhn": "far"})
    assert [(mean["group"], mean["ood_sets"]) for mean in evaluation.means] == [
        ("far", 1),
        (None, 2),
    ]


def test_merge_puts_the_models_side_by_side():
    pictures = [(0.5, 3, np.zeros((2, 2, 1), "uint8"))]
    evaluations = [
        replace(
            make_evaluation(models=(model,), detectors=("odin", "odin (defaults)"), accuracy=known),
            thresholds={"odin": {"threshold": known, "tpr": 0.95}},
            extremes={"odin": {"svhn": pictures}},
            inputs={model: {"input_range": [0, 1], "input_range_origin": "given"}},
            shifted=[id_data_facts("snow", 80, {model: known / 2})],
        )
        for model, known in (("ce", 0.8), ("gq", 0.9))
    ]
    merged = Evaluation.merge(evaluations)
    assert merged.rows == evaluations[0].rows + evaluations[1].rows
    assert merged.id["accuracy"] is None
    assert merged.id["accuracy_by_model"] == {"ce": 0.8, "gq": 0.9}
    assert list(merged.scores) == [
        *("ce/odin", "ce/odin (defaults)", "gq/odin", "gq/odin (defaults)"),
    ]
    assert set(merged.inputs) == {"ce", "gq"}
    assert merged.shifted == [id_data_facts("snow", 80, {"ce": 0.4, "gq": 0.45})]
    for model, evaluation in zip(("ce", "gq"), evaluations, strict=True):
        for detector, sets in evaluation.scores.items():
            assert merged.scores[f"{model}/{detector}"] is sets
        assert merged.extremes[f"{model}/odin"] == {"svhn": pictures}
        assert merged.thresholds[f"{model}/odin"] == evaluation.thresholds["odin"]
    assert set(merged.thresholds) == {"ce/odin", "gq/odin"}
    assert Evaluation.merge(evaluations[:1]) is evaluations[0]
    with pytest.raises(ValueError, match=r"same model and detector.*Received.*\('ce', 'odin'\)"):
        Evaluation.merge([evaluations[0], evaluations[0]])


def test_merge_refuses_what_was_not_measured_alike():
    first, other = make_evaluation(models=("ce",)), make_evaluation(models=("gq",))
    assert len(Evaluation.merge([first, other]).rows) == 8
    for changed in (
        {"id": {**other.id, "count": 20}},
        {"rows": [{**row, "count": 20} for row in other.rows]},
        {"rows": [{**row, "group": "near"} for row in other.rows]},
        {"shifted": [other.id]},
        {"definitions": {"intervals": "2 resamples"}},
        {"seed": 1},
    ):
        with pytest.raises(ValueError, match=r"same data.* Received"):
            Evaluation.merge([first, replace(other, **changed)])
    with pytest.raises(ValueError, match=r"at least one. Received"):
        Evaluation.merge([])


@pytest.mark.parametrize(
    ("tpr", "confidence", "promise"),
    [
        (0.95, None, "95.0 % on average"),
        (0.95, 0.9, "95.0 % with confidence 90 %"),
        (None, None, "set by hand"),
    ],
)
def test_the_page_says_what_a_threshold_promises(tpr, confidence, promise):
    evaluation = replace(
        make_evaluation(detectors=("msp",), oods=("svhn",)),
        thresholds={"msp": {"threshold": 0.25, "tpr": tpr, "confidence": confidence}},
    )
    page = evaluation_page(evaluation.to_dict(), evaluation.scores, {}, {})
    assert f">{promise}</td>" in page
    assert ("One with a confidence" in page) == (confidence is not None)


def test_the_page_can_be_drawn_again_from_the_files_alone(tmp_path):
    evaluation = replace(
        make_evaluation(
            models=("ce", "gq"), detectors=("a/b",), oods=("svhn",), groups={"svhn": "near"}
        ),
        thresholds={"gq/a/b": {"threshold": 0.25, "tpr": 0.95}},
        skipped={"svhn": [("broken.png", "it is none")]},
        command="keras-lodin evaluate",
    )
    evaluation.save(tmp_path)
    results = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    scores = {}
    with np.load(tmp_path / "scores.npz") as arrays:
        for key, values in arrays.items():
            detector, _, name = key.partition("/")
            scores.setdefault(unquote(detector), {})[name] = values
    plots, means = draw_plots(results, scores), draw_means(results)
    again = evaluation_page(results, scores, plots, {}, means)
    assert again == (tmp_path / "report.html").read_text(encoding="utf-8")
