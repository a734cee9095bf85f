"""Bad inputs of every kind, made from a seed, and what each must end in.

Over the Python API: a ValueError, TypeError or OSError whose text says what was received. Over the
command line: exit code 2 and one sentence. Among them are right inputs, which must be taken.

    python -m tests.bad_inputs --output docs/results/bad_inputs.csv
"""

import csv
import json
import shutil
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click
import keras
import numpy as np
import onnx
from click.testing import CliRunner

import keras_lodin
from keras_lodin import data, losses, metrics, models, workflows
from keras_lodin.export import load_artifact, seal
from keras_lodin.export.metadata import METADATA_FILE, METADATA_KEY
from keras_lodin_cli.main import main
from tests.data.damaged_npz import KINDS as DAMAGED_NPZ
from tests.data.damaged_npz import write_damaged

NAN, INF = float("nan"), float("inf")
NO_NUMBERS = (NAN, INF, -INF, "1", None, 1j, [1.0], True)
NO_COUNTS = (0, -1, 1.5, NAN, "2", True, 10**12)
NO_SEEDS = (-1, 2**32, 0.5, "0", None)
NO_PATHS = (None, 5, "", b"model.keras", ["model.keras"], "a\0b", "no/such/file.keras")
NO_RANGES = ((1, 0), (0, 0), (0, NAN), (0, INF), (0,), (0, 1, 2), "01", 5)
NO_SPECIFICATIONS = (
    *("", ":", "digit", "digits:", "digits:7-3", "digits:a", "digits:0-10", "photos:0", "photos:x"),
    *("photos:-5", "photos:1e3", "noise", "noise:salt", "noise:uniform:0", "noise:uniform:1e11"),
    *(
        "noise:uniform:99999999999",
        "npz:",
        "npz:missing.npz",
        "dir:",
        "dir:missing",
        "dir:~nobody/x",
    ),
    *("tfds:", "tfds:no_such_dataset", "DIGITS:0-6", " digits", "http://x/y.zip", "cifar10"),
)


@dataclass(frozen=True)
class Case:
    """One call.

    Args:
        kind: what it is about.
        name: what is bad.
        call: of the Python API; None for a command line.
        arguments: of the command line.
        right: whether the input is a right one.
    """

    kind: str
    name: str
    call: Callable | None = None
    arguments: tuple[str, ...] = ()
    right: bool = False

    def outcome(self) -> str:
        """`accepted`, `refused`, `unclear` (refused in no sentence of ours) or `traceback`."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return self._call_outcome() if self.call else self._command_outcome()

    def _call_outcome(self):
        try:
            self.call()
        except (ValueError, TypeError, OSError) as error:
            return "refused" if "Received: " in str(error) else f"unclear: {error!r:.300}"
        except Exception as error:
            return f"traceback: {error!r:.300}"
        return "accepted"

    def _command_outcome(self):
        result = CliRunner().invoke(main, list(self.arguments))
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            return f"traceback: {result.exception!r:.300}"
        if result.exit_code == 0:
            return "accepted"
        sentences = result.stderr.count("Error: ")
        if result.exit_code == 2 and sentences == 1 and "Traceback" not in result.output:
            return "refused"
        return f"unclear: exit {result.exit_code}, {result.output[-300:]!r}"


class Material:
    """Files that the cases are made of, tiny and untrained.

    Args:
        folder: to write them to.
        seed: of all that is drawn.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.rng = np.random.default_rng(seed)
        keras.utils.set_random_seed(seed)
        inputs = keras.Input((8, 8, 1))
        flat = keras.layers.Flatten()(inputs)
        self.classifier = keras.Model(inputs, keras.layers.Dense(7)(flat))
        self.x = self.rng.uniform(0, 1, (40, 8, 8, 1)).astype("float32")
        self.y = np.arange(40) % 7
        self.detector = keras_lodin.ODINDetector(self.classifier)
        self.detector.calibrate(self.x, verbose=0)
        self.classifier.save(folder / "model.keras")
        self.detector.save(folder / "detector.keras")
        self.detector.export(folder / "artifact", verbose=False)
        self.detector.export(folder / "detector.onnx", format="onnx", verbose=False)
        self.detector.export(folder / "detector.tflite", format="litert", verbose=False)
        (folder / "images").mkdir()
        (folder / "broken").mkdir()
        (folder / "empty").mkdir()
        (folder / "file").write_text("a file")
        for number in range(3):
            pixels = self.rng.integers(0, 255, (8, 8, 1))
            keras.utils.save_img(folder / "images" / f"{number}.png", pixels, scale=False)
            (folder / "broken" / f"{number}.png").write_bytes(self.rng.bytes(50))
        np.savez(folder / "right.npz", x=self.x, y=self.y)
        np.save(folder / "single.npy", self.x)
        for number, kind in enumerate(DAMAGED_NPZ):
            write_damaged(folder / f"damaged{number}.npz", kind)
        for name, arrays in self._wrong_arrays().items():
            np.savez(folder / f"{name}.npz", **arrays)

    def _wrong_arrays(self):
        x, y = self.x, self.y
        return {
            "nan": {"x": np.where(x < 0.1, NAN, x), "y": y},
            "infinite": {"x": np.where(x < 0.1, INF, x), "y": y},
            "overflow": {"x": x.astype("float64") + 1e300, "y": y},
            "complex": {"x": x + 1j, "y": y},
            "texts": {"x": np.array(["a"] * 40), "y": y},
            "dates": {"x": np.zeros((40, 8, 8, 1), "M8[s]"), "y": y},
            "flags": {"x": x > 0.5, "y": y},
            "height0": {"x": np.zeros((40, 0, 8, 1), "uint8"), "y": y},
            "empty": {"x": x[:0], "y": y[:0]},
            "scalar": {"x": np.array(1.0)},
            "rgb": {"x": np.tile(x, (1, 1, 1, 3)), "y": y},
            "wide": {"x": x * 255, "y": y},
            "short_y": {"x": x, "y": y[:5]},
            "float_y": {"x": x, "y": y + 0.5},
            "text_y": {"x": x, "y": y.astype(str)},
            "negative_y": {"x": x, "y": y - 3},
            "large_y": {"x": x, "y": y + 1000},
            "other_names": {"data": x, "target": y},
            "only_y": {"y": y},
        }

    def path(self, name: str) -> str:
        """A path in the folder."""
        return str(self.folder / name)

    def copy(self, name: str, new: str) -> Path:
        """A copy of an artifact."""
        source, target = self.folder / name, self.folder / new
        (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
        return target


def all_cases(folder: Path, seed: int = 0) -> list[Case]:
    """All cases: the same for the same seed.

    Args:
        folder: an empty one, for the files that they read and would write.
        seed: of all that is drawn.
    """
    made = Material(folder, seed)
    return [
        *_numbers_of_detectors(made),
        *_data_of_detectors(made),
        *_training_models(made),
        *_figures(made),
        *_sources(made),
        *_damaged_artifacts(made),
        *_metadata(made),
        *_jobs(made),
        *_commands(made),
    ]


def _each(kind, function, name, values, *, right=False):
    """A case for each value of one keyword argument."""
    return [
        Case(
            kind, f"{name}={value!r:.60}", lambda value=value: function(**{name: value}), (), right
        )
        for value in values
    ]


def _numbers_of_detectors(made):
    kind = "API: settings of detectors"

    def odin(**settings):
        return keras_lodin.ODINDetector(made.classifier, **settings)

    def energy(**settings):
        return keras_lodin.EnergyDetector(made.classifier, **settings)

    def mahalanobis(**settings):
        return keras_lodin.MahalanobisDetector(made.classifier, **settings)

    return [
        *_each(kind, odin, "temperature", (*NO_NUMBERS, 0, -1.0, 1e39, 1e-50, 10**400)),
        *_each(kind, odin, "epsilon", (*NO_NUMBERS, -0.1, 1e39)),
        *_each(kind, odin, "input_range", NO_RANGES),
        *_each(kind, odin, "channel_std", ((0.0,), (-1.0,), (1.0, 2.0), NAN, "1", (NAN,))),
        *_each(kind, odin, "class_names", (["a"], "abcdefg", [1] * 7, 5)),
        *_each(kind, energy, "temperature", (0, NAN, "1", 1e39)),
        *_each(kind, mahalanobis, "shrinkage", (-0.1, 1.5, NAN, "0.1")),
        *_each(kind, mahalanobis, "layers", ("nothing", 5, ["nothing"], [])),
        *_each(kind, keras_lodin.ODINDetector, "classifier", (None, "model.keras", 5, made.x)),
        *_each(kind, odin, "temperature", (1, 1000.0, np.float32(3)), right=True),
        *_each(kind, odin, "epsilon", (0, 0.01, np.float64(0.1)), right=True),
        *_each(kind, odin, "class_names", (None, list("abcdefg")), right=True),
    ]


def _data_of_detectors(made):
    kind = "API: data of detectors"
    x, y = made.x, made.y
    fresh = keras_lodin.ODINDetector(made.classifier, input_range=(0, 1))
    adaptive = keras_lodin.MahalanobisDetector(made.classifier)
    artifact = load_artifact(made.path("detector.keras"))
    arrays = (
        *(x[:0], x[0], x[..., 0], np.tile(x, (1, 1, 1, 3)), np.where(x < 0.1, NAN, x)),
        *(np.where(x < 0.1, INF, x), x * 255, x.astype(str), x + 1j, None, 5, "digits:0-6"),
        *([x, x], iter([x]), np.zeros((40, 0, 8, 1)), np.array([None] * 40)),
    )

    def calibrate(data=x, **settings):
        fresh.calibrate(data, verbose=0, **settings)

    return [
        *_each(kind, calibrate, "data", arrays),
        *_each(kind, calibrate, "tpr", (0, 1, -0.1, 1.5, *NO_NUMBERS)),
        *_each(kind, calibrate, "batch_size", NO_COUNTS),
        *_each(
            kind,
            lambda labels: adaptive.adapt((x, labels), verbose=0),
            "labels",
            (
                *(
                    y[:5],
                    y + 1000,
                    y - 3,
                    y + 0.5,
                    y.astype(str),
                    np.eye(8)[y] * 2,
                    y[:, None, None],
                ),
            ),
        ),
        *_each(kind, lambda data: adaptive.adapt(data, verbose=0), "data", (x, None, (x,))),
        *_each(
            kind,
            lambda batch: artifact.score(batch),
            "batch",
            (
                *(
                    x[0],
                    x[..., 0],
                    np.tile(x, (1, 1, 1, 3)),
                    "photo.png",
                    None,
                    [x, x],
                    x.astype(str),
                ),
                x + 1j,
            ),
        ),
        *_each(kind, calibrate, "tpr", (0.5, 0.9), right=True),
        *_each(kind, calibrate, "data", (x, (x, y), x.astype("float64")), right=True),
        *_each(kind, lambda batch: artifact.score(batch), "batch", (x, x[:1]), right=True),
    ]


def _training_models(made):
    kind = "API: training"

    def gq(**settings):
        return keras_lodin.GQModel(made.classifier, **{"gq_weight": 0.1, **settings})

    def quotient(**settings):
        return keras_lodin.gradient_quotient(made.classifier, made.x[:2], verbose=0, **settings)

    def penalty(weight):
        return keras_lodin.GradientPenaltyModel(made.classifier, weight)

    return [
        *_each(kind, gq, "gq_weight", NO_NUMBERS),
        *_each(kind, gq, "form", ("soft", "", None, 5)),
        *_each(kind, gq, "estimator", ("exakt", "", None)),
        *_each(kind, gq, "samples", (0, -1, 1.5, "2", 2)),
        *_each(kind, gq, "every", NO_COUNTS),
        *_each(kind, gq, "temperature", (0, -1, NAN, INF, "1", None)),
        *_each(kind, gq, "seed", (1.5, "0")),
        *_each(kind, penalty, "weight", (NAN, INF, -1.0, "1", None)),
        *_each(kind, quotient, "form", ("softmaxx", None)),
        *_each(kind, quotient, "norm", ("l3", 2)),
        *_each(kind, quotient, "y", (made.y[:5], np.array([0.5, 1]), np.array([0, 99]))),
        *_each(
            kind,
            lambda name: losses.build(name, True),
            "name",
            (
                *("ce", "", "logit_norm:", "logit_norm:x", "logit_norm:0", "logit_norm:nan"),
                *(
                    "label_smoothing:2",
                    "label_smoothing:-1",
                    "cross_entropy:1",
                    "logit_norm:-inf",
                    None,
                    5,
                ),
            ),
        ),
        *_each(
            kind,
            keras_lodin.Candidate.parse,
            "text",
            (
                *("", "gq", "gq logits", "gq logits sampled", "gq logits sampled 1 every 0"),
                *(
                    "gq logits sampled:0 1",
                    "gq softmax(T=0) exact 1",
                    "gradient_penalty -1",
                    "+ off",
                ),
                *("gq logits exact:3 1", "gq soft exact 1", "logit_norm:0", "gq pooled sampled 1"),
                *("gq logits exact 1e400", "off + off + gq", None, 5),
            ),
        ),
        *_each(
            kind,
            lambda name: models.build(name, 3, (8, 8, 1)),
            "name",
            ("resnet", "", "x.h5", None, 5),
        ),
        *_each(kind, lambda shape: models.build("resnet20", 3, shape), "shape", ((8,), (8, 8))),
        *_each(kind, gq, "every", (1, 3), right=True),
        *_each(
            kind,
            losses.build and (lambda name: losses.build(name, True)),
            "name",
            (*("cross_entropy", "logit_norm:0.5", "label_smoothing"),),
            right=True,
        ),
        *_each(
            kind,
            keras_lodin.Candidate.parse,
            "text",
            (*("gq logits sampled:2 1 every 4", "label_smoothing:0.1 + gq logits exact -0.1"),),
            right=True,
        ),
    ]


def _figures(made):
    kind = "API: figures and evaluation"
    good = made.rng.normal(size=20)
    scores = (
        *(good[:0], np.array([NAN, 1.0]), np.array([INF, 1.0]), good[:, None], np.array(1.0)),
        *(np.array(["a", "b"]), None, "scores", good + 1j, np.array([None, 1])),
    )

    def bootstrap(**settings):
        return metrics.bootstrap_intervals(good, good, **{"resamples": 5, **settings})

    def evaluate(**settings):
        given = {"detectors": {"odin": made.detector}, "id_data": (made.x, made.y)}
        given |= {"ood_data": {"noise": made.x}, "resamples": 2, "verbose": 0, **settings}
        return keras_lodin.evaluate(**given)

    other = keras_lodin.EnergyDetector(keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]))
    return [
        *_each(kind, lambda scores: metrics.auroc(scores, good), "scores", scores),
        *_each(kind, lambda scores: metrics.fpr_at_tpr(good, scores), "scores", scores[:5]),
        *_each(kind, lambda tpr: metrics.fpr_at_tpr(good, good, tpr), "tpr", (0, 2, NAN, "1")),
        *_each(kind, lambda tpr: metrics.threshold_at_tpr(good, tpr), "tpr", (0, 2, NAN, "1")),
        *_each(kind, lambda end: metrics.aupr(good, good, end), "end", ("in", "", None)),
        *_each(kind, bootstrap, "resamples", NO_COUNTS),
        *_each(kind, bootstrap, "seed", NO_SEEDS),
        *_each(kind, bootstrap, "confidence", (0, 1, NAN, "0.95")),
        *_each(kind, evaluate, "resamples", (0, -1, 10**12, 1.5)),
        *_each(kind, evaluate, "seed", (-1, "0")),
        *_each(kind, evaluate, "detectors", ({}, None, {"a": None}, {"a": other}, {"a": "odin"})),
        *_each(kind, evaluate, "ood_data", ({}, None, {"a": None}, {"a": made.x[:0]}, made.x)),
        *_each(kind, evaluate, "ood_data", ({"a": {}}, {"a": {"b": None}}, {"a": {"id": made.x}})),
        *_each(kind, evaluate, "shifted", (made.x, {"id": made.x}, {"noise": made.x}, {"a": None})),
        *_each(kind, evaluate, "id_data", (None, made.x[:0], (made.x, made.y + 99))),
        *_each(kind, evaluate, "seed", (0, 7), right=True),
    ]


def _sources(made):
    kind = "API: data by name"

    def load(name, **settings):
        source = data.load(name, part="test", **{"image_shape": (8, 8, 1), **settings})
        for _ in source.batches(64):
            pass

    letters = list("abdgint:-0123456789[]%,. ")
    drawn = ["x" + "".join(made.rng.choice(letters, made.rng.integers(1, 9))) for _ in range(12)]
    cuts = ("[", "[]", "[5]", "[0:0]", "[100%:]", "[50%:10%]", "[a:b]", "[:80%", "[::2]")
    wrong = (
        "nan",
        "infinite",
        "overflow",
        "complex",
        "texts",
        "dates",
        "flags",
        "height0",
        "empty",
    )
    labels = ("rgb", "short_y", "float_y", "text_y", "other_names", "only_y", "scalar")
    return [
        *_each(kind, load, "name", (*NO_SPECIFICATIONS, *drawn, None, 5, b"digits")),
        *_each(kind, load, "name", [f"dir:{made.path('images')}{cut}" for cut in cuts]),
        *_each(
            kind, load, "name", [f"dir:{made.path(name)}" for name in ("empty", "file", "broken")]
        ),
        *_each(kind, load, "name", [f"npz:{made.path(name)}" for name in ("single.npy", "file")]),
        *_each(kind, load, "name", [f"npz:{made.path(name)}.npz" for name in (*wrong, *labels)]),
        *_each(
            kind,
            load,
            "name",
            [f"npz:{made.path(f'damaged{number}.npz')}" for number in range(len(DAMAGED_NPZ))],
        ),
        *_each(kind, lambda value: load("digits:0-6", input_range=value), "value", NO_RANGES),
        *_each(
            kind, lambda value: data.load("digits", part=value), "value", ("", "training", None)
        ),
        *_each(
            kind,
            load,
            "name",
            (
                *("digits:0-6", "digits:1,3", "photos:5", "noise:gaussian:5"),
                *(f"npz:{made.path('right.npz')}[:50%]", f"dir:{made.path('images')}[:2]"),
            ),
            right=True,
        ),
    ]


def _damaged_artifacts(made):
    kind = "artifacts: damaged"
    cases = []
    for name in ("artifact", "detector.onnx", "detector.tflite", "detector.keras"):
        cases.append(_loads(made, kind, f"{name} as it is", made.folder / name, right=True))
        for number in range(6):
            for damage in ("bit", "part"):
                path = made.copy(name, f"{damage}{number}_{name}")
                file = path
                if path.is_dir():
                    files = sorted(p for p in path.rglob("*") if p.is_file())
                    file = files[int(made.rng.integers(len(files)))]
                content = bytearray(file.read_bytes())
                # Not the ends of zip archives, where a bit may say nothing, as that of a time.
                place = int(made.rng.integers(len(content) // 10, len(content) // 2))
                if damage == "bit":
                    content[place] ^= 1 << int(made.rng.integers(8))
                else:
                    del content[place:]
                file.write_bytes(content)
                cases.append(_loads(made, kind, f"{damage} of {name}, {file.name}", path))
    for name in ("artifact", "detector.onnx", "detector.tflite", "detector.keras"):
        path = made.folder / f"text_{name}"
        if name == "artifact":
            path.mkdir()
            (path / "saved_model.pb").write_text("no program")
            shutil.copytree(made.folder / name / "assets.extra", path / "assets.extra")
        else:
            path.write_text("no model")
        cases.append(_loads(made, kind, f"text as {name}", path))
    for name in ("nothing.onnx", "nothing", "file", "images", "model.keras"):
        cases.append(_loads(made, kind, name, made.folder / name))
    return [
        *cases,
        *_each(kind, models.load, "path", NO_PATHS),
        *_each(kind, load_artifact, "path", NO_PATHS),
        *_each(kind, seal, "path", NO_PATHS[:3]),
        *_each(kind, models.load, "path", [made.path("text_detector.keras"), made.path("file")]),
        *_each(
            kind, seal, "path", [made.path("file"), made.path("images"), made.path("none.onnx")]
        ),
        *_each(
            kind,
            lambda format: made.detector.export(made.path("o"), format=format),
            "format",
            ("h5", "", "ONNX", None),
        ),
    ]


def _loads(made, kind, name, path, *, right=False):
    def load():
        found = load_artifact(path).score(made.x[:3])
        expected = made.detector.predict(made.x[:3], verbose=0)
        if not np.allclose(found["score"], expected["score"], rtol=1e-4):
            raise AssertionError("another score, in silence")

    return Case(kind, name, load, (), right)


WRONG_FIELDS = {
    "keras_lodin_version": (None, 3, ""),
    "metadata_version": (0, "2", 99),
    "detector": (None, 5, "[/x]"),
    "num_classes": (None, 1, "7", True),
    "class_names": (["a"], [1] * 7, "abcdefg"),
    "temperature": (0, NAN, "1000"),
    "epsilon": (-0.1, NAN, "0"),
    "input_range": (None, [0], [1, 0], [0, NAN], "01"),
    "channel_std": (0.5, [0.0]),
    "calibrated": (None, 1),
    "threshold": (NAN, "0.5", [0.1]),
    "tpr": (0, 1.5, "0.95"),
    "confidence": (0, 1.5, "0.9"),
    "p_value_count": (0, 2.5, "40"),
    "p_value_error": (None, -0.1, "0"),
    "score_direction": (None, "lower is more in-distribution"),
    "is_ood_rule": (None, "score > threshold"),
    "input_name": (None, "", "a b", "another"),
    "input_shape": (None, [], [None, 20000, 20000, 3], [None, 8, 8, 3], [None, "8", 8, 1]),
    "input_dtype": (None, "uint8"),
    "side_inputs": (None, "complexity", ["complexity"]),
    "output_names": (None, [], ["logits"]),
}


def _metadata(made):
    kind = "artifacts: metadata"
    cases = []
    for field, values in WRONG_FIELDS.items():
        for number, value in enumerate((*values, "missing")):
            if field == "metadata_version" and value == "missing":
                continue
            name = ("artifact", "detector.onnx")[int(made.rng.integers(2))]
            path = made.copy(name, f"{field}{number}_{name}")
            file = path / METADATA_FILE
            if path.is_dir():
                metadata = json.loads(file.read_text())
            else:
                model = onnx.load(path)
                (item,) = (item for item in model.metadata_props if item.key == METADATA_KEY)
                metadata = json.loads(item.value)
            metadata[field] = value
            if value == "missing":
                del metadata[field]
            if path.is_dir():
                file.write_text(json.dumps(metadata))
            else:
                item.value = json.dumps(metadata)
                onnx.save(model, path)
            cases.append(_loads(made, kind, f"{name}: {field}={value!r}", path))
    return cases


def _jobs(made):
    kind = "API: jobs"
    model, detector = made.path("model.keras"), made.path("detector.keras")
    images = made.path("images")

    def train(**settings):
        given = {"id": "digits:0-6", "model": model, "output": made.path("out/run"), "epochs": 1}
        return workflows.train(**{**given, "verbose": 0, **settings})

    def tune(**settings):
        given = {"path": model, "id": "digits:0-6", "output": made.path("out/tuned.keras")}
        return workflows.tune_model(**{**given, "verbose": 0, **settings})

    def evaluate(**settings):
        given = {"paths": [model], "id": "digits:0-6", "ood": ["noise:uniform:20"]}
        given |= {"resamples": 2, "verbose": 0, "detectors": ["msp"], **settings}
        return workflows.evaluate_models(**given)

    def gradients(**settings):
        given = {"paths": [model], "id": "digits:0-6", "ood": ["noise:uniform:5"], "limit": 5}
        return workflows.gradients(**{**given, "verbose": 0, **settings})

    def score(**settings):
        given = {"artifact": detector, "paths": [made.path("images")], "verbose": 0}
        return workflows.score_images(**{**given, **settings})

    def sweep(**settings):
        given = {"id": "digits:0-6", "model": model, "output": made.path("out/sweep")}
        return keras_lodin.sweep(**{**given, "report": lambda text: None, **settings})

    def export(**settings):
        given = {"path": model, "output": made.path("out/a"), "verbose": False}
        return workflows.export_model(**{**given, **settings})

    return [
        *_each(kind, train, "epochs", NO_COUNTS),
        *_each(kind, train, "batch_size", NO_COUNTS),
        *_each(kind, train, "learning_rate", (*NO_NUMBERS, 0, -1)),
        *_each(kind, train, "weight_decay", (NAN, INF, -1, "0")),
        *_each(kind, train, "loss_weights", ((), (NAN,), (INF,), (-1,), 1.0, ("1",), (1, 1))),
        *_each(kind, train, "seed", NO_SEEDS),
        *_each(kind, train, "loss", (None, "ce", "logit_norm:0")),
        *_each(kind, train, "augment", ("crop", "", 5)),
        *_each(kind, train, "input_range", NO_RANGES),
        *_each(kind, train, "freeze_batch_norm", (True,)),
        *_each(kind, train, "form", ("pooled", "x")),
        *_each(kind, train, "every", (2, 0)),
        *_each(kind, train, "validation", ("photos", "digit")),
        *_each(kind, tune, "detector", ("ODIN", "", "mood")),
        *_each(kind, tune, "tpr", (0, 1, NAN, "0.9")),
        *_each(kind, tune, "statistics", ("digits:0-6",)),
        *_each(kind, tune, "ood", ("digits:0-6", "digits:0", "photoz")),
        *_each(kind, tune, "output", ("x.h5", "x")),
        *_each(kind, evaluate, "ood", ([], ["digits:0-6"], ["photos", "photos"], ["digits:5-9"])),
        *_each(kind, evaluate, "paths", ([], [model, model], ["nothing.keras"])),
        *_each(kind, evaluate, "detectors", (["nothing"], ["msp", "msp"], "msp")),
        *_each(kind, evaluate, "paths", (model, None, 5)),
        *_each(kind, evaluate, "ood", ("photos", None)),
        *_each(
            kind, evaluate, "groups", ("photos", ["photos"], {"near": "photos"}, {"near": None})
        ),
        *_each(kind, evaluate, "groups", ({"near": ["noise:uniform:20"]}, {"near": ["nothing"]})),
        *_each(kind, evaluate, "shifted", ("photos", None, ["digits:0-6"], ["noise:uniform:20"])),
        *_each(kind, train, "model", NO_PATHS),
        *_each(kind, train, "id", (None, 5, "", ["digits"])),
        *_each(kind, tune, "id", (None, 5, "", ["digits"])),
        *_each(kind, tune, "path", NO_PATHS),
        *_each(kind, train, "output", NO_PATHS[:4]),
        *_each(kind, tune, "output", NO_PATHS[:4]),
        *_each(kind, sweep, "output", NO_PATHS[:4]),
        *_each(kind, score, "artifact", NO_PATHS),
        *_each(kind, score, "paths", (images, None, [None], [""])),
        *_each(kind, evaluate, "statistics", ("digits:0-6",)),
        *_each(kind, evaluate, "batch_size", (0, -1, 10**11)),
        *_each(kind, gradients, "limit", (0, -1, 1.5)),
        *_each(kind, gradients, "norm", ("l3",)),
        *_each(kind, gradients, "samples", (2,)),
        *_each(kind, gradients, "seed", (-1,)),
        *_each(
            kind, score, "paths", ([], ["nothing.png"], [made.path("empty")], [made.path("broken")])
        ),
        *_each(kind, score, "batch_size", (0, 10**11, NAN)),
        *_each(kind, score, "input_range", NO_RANGES),
        *_each(kind, sweep, "budget", (NAN, 0, -1, "40")),
        *_each(kind, sweep, "seeds", (0, 1, 2.5)),
        *_each(kind, sweep, "epochs", (0, "3")),
        *_each(kind, sweep, "count", (0, 10**9)),
        *_each(kind, sweep, "ood", (["digits:0"], ["noise:uniform"])),
        *_each(kind, export, "input_range", NO_RANGES[:4]),
        *_each(kind, export, "path", ["nothing.keras", made.path("file")]),
        *_each(kind, score, "batch_size", (1, 1000), right=True),
        *_each(kind, evaluate, "batch_size", (100_000,), right=True),
    ]


def _commands(made):
    model, detector = made.path("model.keras"), made.path("detector.keras")
    out, images = made.path("out/x"), made.path("images")
    commands = {
        "train": ("--id", "digits:0-6", "--model", model, "--output", out, "--epochs", "1"),
        "tune": (model, "--id", "digits:0-6", "--output", f"{out}.keras"),
        "evaluate": (
            *(model, "--id", "digits:0-6", "--ood", "noise:uniform:20", "--resamples", "2"),
            *("--detector", "msp"),
        ),
        "gradients": (
            *(model, "--id", "digits:0-6", "--ood", "noise:uniform:5", "--limit", "5"),
            *("--output", out),
        ),
        "export": (detector, "--output", out),
        "score": (detector, images),
        "sweep": ("--id", "digits:0-6", "--model", model, "--output", out),
        "recipe run": ("msp-wrn", "--scale", "digits", "--output", out),
        "recipe compare": ("msp-wrn", "mood", "--output", out),
        "quickstart": ("--output", out),
    }
    no_ints = ("nan", "1.5", "x", "")
    no_counts = ("0", "-1", "99999999999", *no_ints)
    no_floats = ("nan", "inf", "-inf", "-1", "x", "")
    ranges = ("1 0", "0 0", "nan 1", "0 inf", "a b")
    wrong = {
        "train": {
            **dict.fromkeys(("--epochs", "--batch-size"), no_counts),
            "--learning-rate": (*no_floats, "0"),
            **dict.fromkeys(("--weight-decay", "--gradient-penalty", "--loss-weight"), no_floats),
            "--gq-weight": ("nan", "inf", "x"),
            "--seed": ("-1", "4294967296", *no_ints),
            "--form": ("soft", "pooled", ""),
            "--estimator": ("exakt", "sampled"),
            "--samples": ("0", "-1", "2"),
            "--every": ("0", "-1", "3"),
            "--norm": ("l3", ""),
            "--chunk-size": ("0", "x"),
            "--temperature": ("0", "-1", "nan", "inf", "2"),
            "--loss": ("ce", "logit_norm:", "logit_norm:0", "label_smoothing:2", ""),
            "--augment": ("crop", "flip"),
            "--id": (*NO_SPECIFICATIONS[:12], "photos", "noise:uniform:5"),
            "--model": ("resnet", made.path("bit0_detector.keras"), "missing.keras", detector),
            "--validation": ("photos", "digit", "noise:uniform"),
            "--output": (made.path("file"), images),
            "--input-range": ranges,
            "--freeze-batch-norm": (None,),
            "--no-such-option": (None,),
        },
        "tune": {
            "--batch-size": no_counts,
            "--tpr": ("0", "1", "nan", "2", "-1", "x"),
            "--detector": ("ODIN", "mood", ""),
            "--ood": ("digits:0-6", "digits:3", "photo", ""),
            "--statistics": ("digits:0-6",),
            "--id": (
                *(f"npz:{made.path(name)}.npz" for name in ("nan", "texts", "complex", "height0")),
                *(f"npz:{made.path(f'damaged{number}.npz')}" for number in range(5)),
                f"npz:{made.path('single.npy')}",
                f"dir:{made.path('broken')}",
            ),
            "--output": ("x.h5", images),
            "--input-range": ranges,
        },
        "evaluate": {
            "--ood": ("digits:0-6", "digits:6-9", "noise:uniform:20", "photos:x"),
            "--detector": ("msp", "nothing", ""),
            "--statistics": ("digits:0-6",),
            "--resamples": ("0", "-1", "99999999999", "x"),
            "--seed": ("-1", "x"),
            "--batch-size": no_counts,
            "--output": (made.path("file"),),
            "--input-range": ranges,
        },
        "gradients": {
            "--limit": ("0", "-1", "x"),
            "--norm": ("l3", ""),
            "--form": ("pooled", "x"),
            "--estimator": ("x",),
            "--samples": ("0", "2"),
            "--ood": ("digits:0-6", "noise:uniform:5"),
            "--seed": ("-1", "x"),
            "--batch-size": ("0", "99999999999"),
        },
        "export": {
            "--format": ("h5", "ONNX", ""),
            "--data-format": ("channels_first", "x"),
            "--input-range": (*ranges, "0 255"),
            "--output": (made.path("file"), f"{out}.onnx", images),
        },
        "score": {
            "--batch-size": no_counts,
            "--input-range": ranges,
            "--output": (images,),
        },
        "sweep": {
            "--budget": ("nan", "inf", "0", "-1", "x"),
            "--seeds": ("0", "1", "-1", "x"),
            "--epochs": no_counts,
            "--batch-size": no_counts[:3],
            "--learning-rate": ("0", "nan"),
            "--candidate": ("gq", "off", "gq logits sampled 1 every 0", "gq logits sampled:0 1"),
            "--detector": ("nothing",),
            "--count": ("0", "99999999999"),
            "--ood": ("digits:0", "noise:uniform", "x"),
            "--freeze-batch-norm": (None,),
        },
        "recipe run": {
            "--seeds": ("0", "x"),
            "--scale": ("tiny", ""),
            "--pretrained": (model,),
        },
        "recipe compare": {},
        "quickstart": {"--seed": ("-1", "4294967296", "x", "1.5")},
    }
    cases = []
    for command, options in wrong.items():
        for option, values in options.items():
            for value in values:
                given = (
                    ()
                    if value is None
                    else value.split(" ")
                    if " " in value and option == ("--input-range")
                    else (value,)
                )
                line = (*command.split(), *_without(commands[command], option, options))
                cases.append(
                    Case(
                        f"command line: {command}",
                        f"{option} {value}",
                        None,
                        (*line, option, *given),
                    )
                )
    positional = {
        "tune": ("missing.keras", made.path("file"), made.path("bit1_detector.keras")),
        "evaluate": ("missing.keras", made.path("empty"), made.path("text_detector.keras")),
        "export": ("missing.keras", made.path("file"), made.path("part0_detector.keras")),
        "score": (
            *("missing.onnx", model, made.path("file"), images),
            *(made.path(f"bit{number}_detector.onnx") for number in range(3)),
            *(made.path(f"part{number}_artifact") for number in range(3)),
            *(made.path(f"bit{number}_detector.tflite") for number in range(3)),
            *(made.path(f"part{number}_detector.keras") for number in range(2)),
        ),
        "recipe run": ("nothing", ""),
        "recipe compare": ("nothing", "mood", "msp-wrn"),
    }
    for command, values in positional.items():
        cases += [
            Case(
                f"command line: {command}",
                f"argument {Path(value).name}",
                None,
                (*command.split(), value, *commands[command][1:]),
            )
            for value in values
        ]
    for name in ("missing.png", made.path("broken"), made.path("empty"), ""):
        line = ("score", detector, name)
        cases.append(Case("command line: score", f"image {Path(name).name}", None, line))
    right = [
        ("score", detector, images),
        ("score", made.path("detector.onnx"), images, "--json"),
        ("score", made.path("artifact"), images, "--input-range", "0", "1"),
        ("evaluate", *commands["evaluate"]),
        ("gradients", *commands["gradients"]),
        ("train", *commands["train"][:-4], "--output", made.path("out/run"), "--epochs", "1"),
        ("recipe", "list"),
        ("export", detector, "--output", made.path("out/artifact")),
    ]
    cases += [Case(f"command line: {line[0]}", "right", None, line, right=True) for line in right]
    return cases


def _without(arguments, option, options):
    """The arguments without one option, unless it may be given twice."""
    if option not in arguments or option in ("--ood", "--detector"):
        return arguments
    place = arguments.index(option)
    return (*arguments[:place], *arguments[place + 2 :])


@click.command()
@click.option("--output", required=True, help="CSV file to write.")
@click.option("--seed", type=int, default=0, show_default=True)
def run(output: str, seed: int) -> None:
    """Run all cases and count what they end in."""
    import tempfile

    counts: Counter = Counter()
    with tempfile.TemporaryDirectory() as folder:
        for case in all_cases(Path(folder), seed):
            outcome = case.outcome()
            word = outcome.partition(":")[0]
            counts[case.kind, "right" if case.right else "bad", word] += 1
            if word != ("accepted" if case.right else "refused"):
                click.echo(f"{case.kind} | {case.name} | {outcome}")
    with open(output, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["kind", "input", "outcome", "count"])
        writer.writerows([*key, count] for key, count in sorted(counts.items()))


if __name__ == "__main__":
    run()
