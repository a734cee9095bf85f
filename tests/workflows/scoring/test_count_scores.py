"""Scores of a folder, counted: as if all of them had been held."""

import numpy as np
import pytest

import keras_lodin
from keras_lodin.metrics import ScoreHistogram, auroc, fpr_at_tpr, threshold_at_tpr
from keras_lodin.workflows import count_scores
from keras_lodin.workflows.scoring import ScoreFolder
from tests import networks


def folder_of(path, scores, format="csv", shards=4, missing=0):
    """A folder of scores in so many shards."""
    folder = ScoreFolder(path)
    plan = {"inputs": [], "shard_size": 0, "shards": shards, "images": len(scores), "sha256": ""}
    folder.begin({"detector": "MSPDetector", "sha256": ""}, {"format": format}, plan)
    for number, part in enumerate(np.array_split(scores, shards)[: shards - missing]):
        rows = {
            **{"key": [""] * len(part), "class_name": [""] * len(part), "p_value": None},
            **{"class": np.zeros(len(part), "int32"), "score": part, "is_ood": part < 0},
        }
        outcome = {"not_a_number": int(np.isnan(part).sum())}
        folder.write(f"{number:05}", rows, [], outcome, format)
    return path


@pytest.fixture(scope="module")
def known():
    return np.random.default_rng(0).normal(1.0, size=5000).astype("float32")


def test_thresholds_and_figures_are_those_of_the_scores(known, tmp_path):
    others = np.random.default_rng(1).normal(size=3000).astype("float32")
    first = count_scores(folder_of(tmp_path / "known", known))
    ood = count_scores(folder_of(tmp_path / "others", others))
    assert first.threshold_at_tpr(0.9) == threshold_at_tpr(known, 0.9)
    assert first.auroc(ood) == pytest.approx((auroc(known, others),) * 2, abs=1e-12)
    assert first.fpr_at_tpr(ood) == pytest.approx((fpr_at_tpr(known, others),) * 2, abs=1e-12)
    detector = keras_lodin.MSPDetector(networks.dense())
    assert detector.calibrate_from(first, tpr=0.9) == threshold_at_tpr(known, 0.9)
    assert detector.p_value_count == detector.calibration_count == len(known)


def test_a_second_pass_is_exact_and_what_is_counted_into_is_left(known, tmp_path):
    path = folder_of(tmp_path / "known", known)
    # So few cells that one pass leaves the threshold open.
    empty = ScoreHistogram(cells=512)
    first = count_scores(path, empty)
    assert (empty.count, first.count) == (0, len(known))
    finer = first.finer(tpr=0.9)
    second = count_scores(path, finer)
    passed = known > threshold_at_tpr(known, 0.9)
    assert np.sum(known > first.threshold_at_tpr(0.9)) > passed.sum()
    np.testing.assert_array_equal(known > second.threshold_at_tpr(0.9), passed)
    # Parts of a pass that were counted apart, on several machines.
    parts = [finer.emptied(), finer.emptied()]
    for part, scores in zip(parts, np.split(known, [700]), strict=True):
        part.update(scores)
    parts[0].merge(parts[1])
    assert parts[0].threshold_at_tpr(0.9) == second.threshold_at_tpr(0.9)
    assert count_scores(path, first).count == 2 * len(known)


def test_parquet_files_are_counted_too(known, tmp_path):
    pytest.importorskip("pyarrow.parquet")
    path = folder_of(tmp_path / "known", known, "parquet")
    assert count_scores(path).threshold_at_tpr(0.9) == threshold_at_tpr(known, 0.9)


def test_what_is_not_whole_or_no_number_is_refused(known, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no manifest\.json"):
        count_scores(tmp_path)
    with pytest.raises(ValueError, match="3 of 4 shards"):
        count_scores(folder_of(tmp_path / "missing", known, missing=1))
    wrong = known.copy()
    wrong[[-1, -3]] = np.nan
    with pytest.raises(ValueError, match="2 NaN in shard 00003"):
        count_scores(folder_of(tmp_path / "wrong", wrong))
