"""Figures of sorted scores, piece by piece, as scikit-learn has them of all at once."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from keras_lodin import metrics
from keras_lodin.metrics import sorted_scores
from keras_lodin.metrics.sorted_scores import median, roc_points


@pytest.fixture(params=[0, 9], ids=["tied", "untied"])
def scores(request, rng):
    known, others = rng.normal(1, 1, 500), rng.normal(0, 1, 300)
    return tuple(one.round(request.param).astype("float32") for one in (known, others))


def labelled(scores):
    return np.repeat([True, False], [one.size for one in scores]), np.concatenate(scores)


def test_pieces_are_as_good_as_the_whole(scores, monkeypatch):
    monkeypatch.setattr(sorted_scores, "_PIECE", 7)
    is_id, values = labelled(scores)
    assert metrics.auroc(*scores) == pytest.approx(roc_auc_score(is_id, values), rel=1e-14)
    expected = average_precision_score(is_id, values)
    assert metrics.aupr(*scores) == pytest.approx(expected, rel=1e-14)
    expected = average_precision_score(~is_id, -values)
    assert metrics.aupr(*scores, positive="ood") == pytest.approx(expected, rel=1e-14)
    fpr, tpr, _ = roc_curve(is_id, values)
    assert metrics.detection_error(*scores) == np.min(1 - tpr + fpr) / 2


def test_float32_and_float64_scores_have_the_same_figures(scores):
    wide = [one.astype("float64") for one in scores]
    for figure in (metrics.auroc, metrics.aupr, metrics.fpr_at_tpr, metrics.detection_error):
        assert figure(*scores) == figure(*wide) == figure(scores[0], wide[1])
    assert metrics.threshold_at_tpr(scores[0], 0.9) == metrics.threshold_at_tpr(wide[0], 0.9)
    assert median(scores[0]) == np.median(wide[0])


def test_the_points_of_a_curve_lie_on_it(scores):
    is_id, values = labelled(scores)
    whole = roc_curve(is_id, values, drop_intermediate=False)
    np.testing.assert_allclose(roc_points(*scores), whole[:2], atol=1e-12)
    some = set(zip(*np.round(roc_points(*scores, most=20), 9), strict=True))
    assert len(some) <= 21
    assert some <= set(zip(*np.round(whole[:2], 9), strict=True))
    assert {(0.0, 0.0), (1.0, 1.0)} <= some
