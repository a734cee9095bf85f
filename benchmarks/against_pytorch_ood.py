"""pytorch-ood's scores of fixed features, for `tests/core/test_against_pytorch_ood.py`.

    torch-env/bin/pip install scikit-learn
    torch-env/bin/python benchmarks/against_pytorch_ood.py tests/fixtures/pytorch_ood.npz

Runs in the reference environment of `tests/reference/README.md`, without keras-lodin. The file
gets the last layer (`kernel`, `bias`), the features and labels to fit, the features to score, and
for every detector of pytorch-ood that is a function of these its scores, under its name. They are
pytorch-ood's own times -1, so that higher means more in-distribution: sums and means differ from
keras-lodin's where the test says so.
"""

import importlib.metadata
import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "reference"))

from pytorch_ood_scores import detector_class

FEATURES, CLASSES, TRAINING, TESTING = 40, 6, 300, 60
# Settings that the test has too.
K, DIMENSION, ALPHA, REACT, SCALE, ASH, DICE, GAMMA = 7, 16, 0.01, 0.9, 0.85, 0.65, 0.7, 0.1


def fixed_arrays():
    """A last layer, features behind a ReLU around a centre for each class, and labels."""
    rng = np.random.default_rng(2026)
    centres = rng.normal(size=(CLASSES, FEATURES))
    labels = np.arange(TRAINING) % CLASSES
    training = centres[labels] + rng.normal(size=(TRAINING, FEATURES))
    near = centres[labels[: TESTING // 2]] + rng.normal(size=(TESTING // 2, FEATURES))
    testing = np.concatenate([near, 2.0 * rng.normal(size=near.shape)])
    # So that the layer knows the classes, without being so sure that probabilities are clipped.
    kernel = 0.1 * centres.T + 0.1 * rng.normal(size=(FEATURES, CLASSES))
    return {
        "training": np.maximum(training, 0.0).astype("float32"),
        "labels": labels,
        "testing": np.maximum(testing, 0.0).astype("float32"),
        "kernel": kernel.astype("float32"),
        "bias": (0.3 * rng.normal(size=CLASSES)).astype("float32"),
    }


def outlier_scores(arrays):
    """The scores of pytorch-ood, by the name of each detector."""
    training, testing, weight, bias, labels = (
        torch.tensor(arrays[name].T if name == "kernel" else arrays[name])
        for name in ("training", "testing", "kernel", "bias", "labels")
    )
    head = torch.nn.Linear(FEATURES, CLASSES)
    with torch.no_grad():
        head.weight.copy_(weight)
        head.bias.copy_(bias)
    with torch.no_grad():
        training_logits, logits = head(training), head(testing)

    of_features = {
        "fdbd": detector_class("fdbd", "fDBD")(None, head),
        "nci": detector_class("nci", "NCI")(None, head, alpha=ALPHA),
        "vim": detector_class("vim", "ViM")(None, DIMENSION, weight, bias),
        "knn": detector_class("knn", "KNN")(None, k=K),
        "she": detector_class("she", "SHE")(None, head),
        "nnguide": detector_class("nnguide", "NNGuide")(None, head, k=K),
        "mahalanobis": detector_class("mahalanobis", "Mahalanobis")(None),
        "rmds": detector_class("rmd", "RMD")(None),
        "dice": detector_class("dice", "DICE")(None, weight, bias, DICE),
    }
    found = {}
    for name, detector in of_features.items():
        detector.fit_features(training, labels)
        with torch.no_grad():
            found[name] = detector.predict_features(testing)
    vim = of_features["vim"]
    found["residual"] = ((testing - vim.u) @ vim.principal_subspace).norm(dim=-1)

    of_logits = {
        "msp": detector_class("softmax", "MaxSoftmax")(None),
        "max_logit": detector_class("maxlogit", "MaxLogit")(None),
        "energy": detector_class("energy", "EnergyBased")(None),
        "entropy": detector_class("entropy", "Entropy")(None),
        "gen": detector_class("gen", "GEN")(None, gamma=GAMMA),
        "kl_matching": detector_class("klmatching", "KLMatching")(None),
    }
    of_logits["kl_matching"].fit_logits(training_logits)
    for name, detector in of_logits.items():
        found[name] = detector.predict_logits(logits)

    # Features as maps of one pixel.
    map_head = torch.nn.Sequential(torch.nn.Flatten(), head)
    react = detector_class("react", "ReAct")(None, map_head, percentile=REACT)
    react.fit_feature_maps(training[:, :, None, None], labels)
    of_maps = {
        "react": react,
        "scale": detector_class("scale", "SCALE")(None, map_head, percentile=SCALE),
        **{
            f"ash_{variant}": detector_class("ash", "ASH")(None, map_head, f"ash-{variant}", ASH)
            for variant in "sbp"
        },
    }
    for name, detector in of_maps.items():
        found[name] = detector.predict_feature_maps(testing[:, :, None, None])

    gradients = detector_class("gradnorm", "GradNorm")(head, lambda name: name == "weight")
    found["gradnorm"] = gradients.to("cpu").predict(testing)
    return {name: score.detach().numpy() for name, score in found.items()}


def main(path):
    arrays = fixed_arrays()
    scores = {f"scores of {name}": -score for name, score in outlier_scores(arrays).items()}
    version = importlib.metadata.version("pytorch-ood")
    settings = {"k": K, "dimension": DIMENSION, "alpha": ALPHA, "react": REACT, "scale": SCALE}
    settings |= {"ash": ASH, "dice": DICE, "gamma": GAMMA}
    np.savez_compressed(path, version=version, **settings, **arrays, **scores)


if __name__ == "__main__":
    main(*sys.argv[1:])
