"""Evaluations and gradient norms to report on, made without any classifier."""

import numpy as np
import pytest

from keras_lodin import metrics
from keras_lodin.evaluation.results import Evaluation
from keras_lodin.quotient.distributions import GradientDistributions


def make_evaluation(
    models=("net",),
    detectors=("msp", "odin"),
    oods=("svhn", "dtd"),
    accuracy=0.8,
    groups=None,
):
    random = np.random.default_rng(0)
    id_name = "cifar10"
    scores = {}
    rows = []
    for model in models:
        for detector in detectors:
            sets = {id_name: random.normal(1.0, 1.0, 200).astype("float32")}
            for ood in oods:
                sets[ood] = random.normal(-1.0, 1.0, 150).astype("float32")
                intervals = metrics.bootstrap_intervals(sets[id_name], sets[ood], resamples=20)
                rows.append(
                    {
                        "model": model,
                        "detector": detector,
                        "ood": ood,
                        "group": (groups or {}).get(ood),
                        "full_spectrum": False,
                        "count": 150,
                        "passes": 3.0 if detector == "odin" else 1.0,
                        "auroc": metrics.auroc(sets[id_name], sets[ood]),
                        "fpr95": metrics.fpr_at_tpr(sets[id_name], sets[ood]),
                        "aupr_in": metrics.aupr(sets[id_name], sets[ood]),
                        "aupr_out": metrics.aupr(sets[id_name], sets[ood], "ood"),
                        "detection_error": metrics.detection_error(sets[id_name], sets[ood]),
                        "auroc_interval": list(intervals["auroc"]),
                        "fpr95_interval": list(intervals["fpr95"]),
                        "id_accuracy": accuracy,
                    }
                )
            scores[detector if len(models) == 1 else f"{model}/{detector}"] = sets
    return Evaluation(
        id={
            "name": id_name,
            "count": 200,
            "accuracy": accuracy if len(models) == 1 else None,
            "accuracy_by_model": dict.fromkeys(models, accuracy),
        },
        rows=rows,
        scores=scores,
        definitions={"fpr95_positive": "id"},
        versions={"python": "3.11"},
        skipped={},
        seed=0,
    )


@pytest.fixture
def evaluation():
    return make_evaluation()


def distributions(label, seed=0, count=50):
    random = np.random.default_rng(seed)
    label = label + random.normal(size=count)
    quotient = random.uniform(0.5, 1.0, size=count)
    return GradientDistributions(
        log10_label_norm=label,
        log10_other_norm=label - np.log10(quotient),
        quotient=quotient.astype("float32"),
        predicted=np.zeros(count, "int32"),
    )


@pytest.fixture
def models():
    """Gradient norms of two models on three data sets."""
    return {
        name: {
            "noise": distributions(0.0 + shift, 1),
            "digits": distributions(-3.0 + shift, 2),
            "photos": distributions(0.5 + shift, 3),
        }
        for name, shift in (("ce", 0.0), ("gq", 40.0))
    }
