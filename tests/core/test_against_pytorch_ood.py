"""Scores against those of pytorch-ood, an independent implementation, of the same features.

`benchmarks/against_pytorch_ood.py` wrote the file that is read here.
"""

from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

from keras_lodin.detectors import DETECTORS
from keras_lodin.detectors.statistics_detector import StatisticsDetector, adapt_together

with np.load(Path(__file__).parents[1] / "fixtures" / "pytorch_ood.npz") as _file:
    THEIRS = dict(_file)
COUNT, CLASSES = len(THEIRS["training"]), THEIRS["kernel"].shape[1]
_K, _ASH = int(THEIRS["k"]), float(THEIRS["ash"])

# Of each of their scores: the name here, options, and what a score here is one of theirs times.
ROWS = {
    "msp": ("msp", {}, 1.0),
    "max_logit": ("max_logit", {}, 1.0),
    "energy": ("energy", {}, 1.0),
    "entropy": ("entropy", {}, 1.0),
    # They take the mean over classes, and the published sum is taken here.
    "gen": ("gen", {"gamma": float(THEIRS["gamma"])}, CLASSES),
    # Their covariance is a sum over samples, so their squared distances are by so much smaller.
    "mahalanobis": ("mahalanobis", {}, COUNT),
    "rmds": ("rmds", {}, COUNT),
    "knn": ("knn", {"k": _K, "bank_size": COUNT}, 1.0),
    "fdbd": ("fdbd", {}, 1.0),
    "vim": ("vim", {"dimension": int(THEIRS["dimension"]), "sample_size": COUNT}, 1.0),
    "residual": ("residual", {"dimension": int(THEIRS["dimension"])}, 1.0),
    "nci": ("nci", {"alpha": float(THEIRS["alpha"])}, 1.0),
    "nnguide": ("nnguide", {"k": _K, "bank_size": COUNT}, 1.0),
    "she": ("she", {}, 1.0),
    "react": ("react", {"percentile": float(THEIRS["react"])}, 1.0),
    "scale": ("scale", {"percentile": float(THEIRS["scale"])}, 1.0),
    **{f"ash_{one}": ("ash", {"variant": one, "percentile": _ASH}, 1.0) for one in "sbp"},
    "dice": ("dice", {"percentile": float(THEIRS["dice"])}, 1.0),
    "kl_matching": ("kl_matching", {}, 1.0),
    "gradnorm": ("gradnorm", {}, 1.0),
}


@pytest.fixture(scope="module")
def scores():
    """The scores of every detector of `ROWS`, of one pass for all statistics and one to score."""
    inputs = keras.Input((len(THEIRS["kernel"]),))
    head = layers.Dense(CLASSES)
    classifier = keras.Model(inputs, head(layers.ReLU()(inputs)))
    head.set_weights([THEIRS["kernel"], THEIRS["bias"]])
    detectors = {
        theirs: DETECTORS[name](classifier, **options)
        for theirs, (name, options, _) in ROWS.items()
    }
    adaptive = [one for one in detectors.values() if isinstance(one, StatisticsDetector)]
    adapt_together(adaptive, THEIRS["training"], THEIRS["labels"], verbose=0)
    return {
        name: keras.ops.convert_to_numpy(detector(THEIRS["testing"])["score"])
        for name, detector in detectors.items()
    }


@pytest.mark.parametrize("name", ROWS)
def test_scores_are_those_of_pytorch_ood(name, scores):
    expected = ROWS[name][2] * THEIRS[f"scores of {name}"].astype("float64")
    np.testing.assert_allclose(scores[name], expected, atol=1e-5 * np.ptp(expected), rtol=1e-5)


def test_every_one_of_their_scores_is_compared():
    names = {key.removeprefix("scores of ") for key in THEIRS if key.startswith("scores of ")}
    assert names == set(ROWS)
