"""Whether p-values, discoveries and a threshold with a confidence keep what they promise.

    python benchmarks/p_values.py --data ../shared/data --output docs/results/p_values

Scores of three detectors around the trained ResNet-20 on CIFAR-10's test images, and on two
out-of-distribution (OOD) sets, are computed once; everything else is splits of these, 500 of each
kind. Three files are written:

* `uniform.csv`: the share of fresh in-distribution (ID) images with a p-value of at most a, for n
  calibration images; in Python and in files of the three export formats. A tiny classifier whose
  largest logit is its input is exported once for each n and format, and the calibration scores of
  each split are put in the place of those that it was exported with.
* `discoveries.csv`: the share of false ones among `discoveries`, and how many of the OOD images
  are found, in mixtures with 1, 10 and 50 % OOD; beside it what all p-values up to 0.05 give.
* `confidence.csv`: in how many calibration sets at least 95 % of ID images pass.
"""

from __future__ import annotations

import argparse
import math
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import onnxruntime
import tensorflow as tf
from csv_rows import write_csv
from keras import layers, ops

import keras_lodin
from keras_lodin.evaluation.one_pass import evaluate
from keras_lodin.export.litert.file import Signature
from keras_lodin.metrics import discoveries, threshold_at_confidence, threshold_at_tpr
from keras_lodin.metrics.p_values import calibration_table, p_value

LEVELS = (0.01, 0.05, 0.2)
COUNTS = (100, 1000)
OOD = {"tiny_imagenet_jpeg75": "Tiny ImageNet", "mnist_jpeg75": "MNIST"}
SHARES = (0.01, 0.1, 0.5)
# Calibration images for discoveries: p-values have to become as small as they ask for.
MANY = 5000
MIXTURE = 1000
FDR = 0.05
TPR, CONFIDENCE = 0.95, 0.9

# Calibration scores as a detector keeps them, and the p-values of scores by them.
Table = tuple[np.ndarray, np.ndarray]
PValues = Callable[[Table, np.ndarray], np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="../shared/data")
    parser.add_argument("--output", required=True, type=Path, help="folder for the CSV files")
    parser.add_argument("--splits", type=int, default=500)
    parser.add_argument("--scores", type=Path, help="npz to keep the scores in, or to take them of")
    options = parser.parse_args()
    scores = real_scores(options.data, options.scores)
    write(options.output / "confidence.csv", confidence(scores, options.splits))
    write(options.output / "discoveries.csv", false_discoveries(scores, options.splits))
    write(options.output / "uniform.csv", uniform(scores, options.splits))


def write(path: Path, rows: Iterator[dict]) -> None:
    write_csv(path, rows)


def real_scores(folder: str, kept: Path | None) -> dict[str, dict[str, np.ndarray]]:
    """Scores by detector and data set; the ID set is named `id`."""
    if kept is None or not kept.exists():
        found = computed_scores(folder)
        if kept is not None:
            flat = {f"{name}/{key}": v for name, sets in found.items() for key, v in sets.items()}
            np.savez(kept, **flat)
        return found
    with np.load(kept) as arrays:
        detectors = dict.fromkeys(name.split("/")[0] for name in arrays)
        sets = ("id", *OOD.values())
        return {name: {key: arrays[f"{name}/{key}"] for key in sets} for name in detectors}


def computed_scores(folder: str) -> dict[str, dict[str, np.ndarray]]:
    classifier = keras.models.load_model(f"{folder}/models/cifar10_resnet20.keras")

    def images(name: str, count: int) -> keras_lodin.data.Source:
        return keras_lodin.data.load(
            f"tfds:{name}:test[:{count}]",
            part="test",
            input_range=(0, 255),
            image_shape=(32, 32, 3),
            data_dir=f"{folder}/tfds",
        )

    detectors = {
        "MSP": keras_lodin.MSPDetector(classifier),
        "Energy": keras_lodin.EnergyDetector(classifier),
        "ODIN": keras_lodin.ODINDetector(classifier, input_range=(0, 255)),
    }
    others = {title: images(name, MIXTURE) for name, title in OOD.items()}
    id_images = images("cifar10_jpeg75", 10_000)
    return evaluate(detectors, id_images, others, id_name="id", resamples=1).scores


def drawn(name: str, number: int) -> np.random.Generator:
    return np.random.default_rng([*name.encode(), number])


def summary(values: list[float]) -> dict[str, str]:
    error = np.std(values, ddof=1) / math.sqrt(len(values))
    return {"mean": f"{np.mean(values):.6f}", "standard_error": f"{error:.6f}"}


# --- Uniform under normal traffic ------------------------------------------------------------


def in_python(table: Table, scores: np.ndarray) -> np.ndarray:
    return ops.convert_to_numpy(p_value(*map(ops.convert_to_tensor, (scores, *table))))


def exports(count: int, folder: Path) -> dict[str, PValues]:
    """The p-values of each format, of files whose calibration scores can be changed."""
    # Two logits, x and x - 1: the larger one is the input, to the last bit.
    classifier = keras.Sequential([keras.Input((1,), name="vectors"), layers.Dense(2)])
    classifier.set_weights([np.ones((1, 2), "float32"), np.float32([0, -1])])
    detector = keras_lodin.MaxLogitDetector(classifier)
    first = np.random.default_rng(count).normal(size=(count, 1)).astype("float32")
    detector.calibrate(first, verbose=0)
    exported = calibration_table(first[:, 0])
    fresh = np.random.default_rng(0).normal(size=(1000, 1)).astype("float32")
    expected = detector.predict(fresh, verbose=0)["p_value"]
    paths = {
        "tf_saved_model": folder / "artifact",
        "onnx": folder / "detector.onnx",
        "litert": folder / "detector.tflite",
    }
    for name, path in paths.items():
        detector.export(path, format=name, verbose=False)
    loaded = tf.saved_model.load(str(paths["tf_saved_model"]))
    places = [next(one for one in loaded.weights if one.shape == part.shape) for part in exported]

    def saved_model(table: Table, scores: np.ndarray) -> np.ndarray:
        for place, part in zip(places, table, strict=True):
            place.assign(part)
        outputs = loaded.signatures["serving_default"](vectors=tf.constant(scores[:, None]))
        return outputs["p_value"].numpy()

    def onnx(table: Table, scores: np.ndarray) -> np.ndarray:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        content = replaced(paths["onnx"].read_bytes(), table)
        session = onnxruntime.InferenceSession(content, options)
        return session.run(["p_value"], {"vectors": scores[:, None]})[0]

    def litert(table: Table, scores: np.ndarray) -> np.ndarray:
        signature = Signature(replaced(paths["litert"].read_bytes(), table), "serving_default")
        return signature(vectors=scores[:, None])["p_value"]

    def replaced(content: bytes, table: Table) -> bytes:
        for old, new in zip(exported, table, strict=True):
            if old.tobytes() not in content:
                raise ValueError("The calibration scores are not in the file as they are.")
            content = content.replace(old.tobytes(), new.tobytes())
            # What a converter may have computed of them: the first numbers of the rows.
            content = content.replace(old[::64].tobytes(), new[::64].tobytes())
        return content

    found = {"SavedModel": saved_model, "ONNX": onnx, "LiteRT": litert}
    for name, run in found.items():
        np.testing.assert_allclose(run(exported, fresh[:, 0]), expected, rtol=1e-6, err_msg=name)
    return found


def uniform(scores: dict[str, dict[str, np.ndarray]], splits: int) -> Iterator[dict]:
    for count in COUNTS:
        with tempfile.TemporaryDirectory() as folder:
            ways = {"Python": in_python, **exports(count, Path(folder))}
            for detector, sets in scores.items():
                shares = shares_below(sets["id"], count, drawn(detector, count), ways, splits)
                for (way, level), values in shares.items():
                    yield {
                        "detector": detector,
                        "runs_in": way,
                        "samples": count,
                        "splits": splits,
                        "a": level,
                        **summary(values),
                    }


def shares_below(
    scores: np.ndarray,
    count: int,
    random: np.random.Generator,
    ways: dict[str, PValues],
    splits: int,
) -> dict[tuple[str, float], list[float]]:
    found: dict[tuple[str, float], list[float]] = {
        (way, level): [] for way in ways for level in LEVELS
    }
    for _ in range(splits):
        order = random.permutation(scores.size)
        table = calibration_table(scores[order[:count]])
        values = {way: run(table, scores[order[count:]]) for way, run in ways.items()}
        for way, own in values.items():
            # No rank may differ: the quotient may be rounded another way.
            np.testing.assert_allclose(own, values["Python"], rtol=1e-6, err_msg=way)
            for level in LEVELS:
                found[way, level].append(float(np.mean(own <= level)))
    return found


# --- Discoveries -----------------------------------------------------------------------------


def false_discoveries(scores: dict[str, dict[str, np.ndarray]], splits: int) -> Iterator[dict]:
    for detector, sets in scores.items():
        for ood in OOD.values():
            for share in SHARES:
                many = round(share * MIXTURE)
                is_ood = np.arange(MIXTURE) < many
                random = drawn(f"{detector}, {ood}", many)
                rules: dict[str, list[tuple[float, float]]] = {"discoveries": [], "p <= 0.05": []}
                for _ in range(splits):
                    order = random.permutation(sets["id"].size)
                    p_values = in_python(
                        calibration_table(sets["id"][order[:MANY]]),
                        np.concatenate(
                            [
                                random.choice(sets[ood], many, replace=False),
                                sets["id"][order[MANY:][: MIXTURE - many]],
                            ]
                        ),
                    )
                    named = {
                        "discoveries": discoveries(p_values, FDR),
                        "p <= 0.05": p_values <= FDR,
                    }
                    for rule, those in named.items():
                        false = (those & ~is_ood).sum() / max(those.sum(), 1)
                        rules[rule].append((false, (those & is_ood).sum() / many))
                for rule, values in rules.items():
                    rates, found = map(list, zip(*values, strict=True))
                    yield {
                        "detector": detector,
                        "ood": ood,
                        "share_of_ood": share,
                        "rule": rule,
                        "samples": MANY,
                        "inputs": MIXTURE,
                        "splits": splits,
                        "promised": f"{FDR * (1 - share):.4f}" if rule == "discoveries" else "",
                        **{f"false_discovery_rate_{k}": v for k, v in summary(rates).items()},
                        "found_of_ood": f"{np.mean(found):.4f}",
                    }


# --- A threshold with a confidence -----------------------------------------------------------


def confidence(scores: dict[str, dict[str, np.ndarray]], splits: int) -> Iterator[dict]:
    """The ID images are the population here: drawn from with replacement, and what passes is it."""
    rules: dict[str, Callable[[np.ndarray], float]] = {
        "on average": lambda some: threshold_at_tpr(some, TPR),
        f"with a confidence of {CONFIDENCE:g}": lambda some: threshold_at_confidence(
            some, TPR, CONFIDENCE
        ),
    }
    for detector, sets in scores.items():
        everything = np.sort(sets["id"])
        for count in COUNTS:
            random = drawn(detector, count)
            samples = [random.choice(everything, count) for _ in range(4 * splits)]
            for rule, choose in rules.items():
                thresholds = [choose(some) for some in samples]
                passed = 1 - np.searchsorted(everything, thresholds, side="right") / everything.size
                kept = (passed >= TPR).astype(float)
                yield {
                    "detector": detector,
                    "rule": rule,
                    "samples": count,
                    "draws": len(samples),
                    "mean_pass_rate": f"{passed.mean():.6f}",
                    **{f"kept_{name}": value for name, value in summary(list(kept)).items()},
                }


if __name__ == "__main__":
    main()
