"""Whether a detector keeps what every detector promises: for those who write one."""

from __future__ import annotations

import inspect
import json
import math
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import keras
import numpy as np
from keras import ops

from keras_lodin.data.batches import as_array
from keras_lodin.detectors.detector import Detector
from keras_lodin.export import FORMATS, load_artifact
from keras_lodin.export.format_limit_error import FormatLimitError
from keras_lodin.metrics.figures import auroc
from keras_lodin.utils.needed_packages import has_tensorflow
from keras_lodin.utils.tensor import Tensor

_FEWEST = 4

# What rounding may change, as fractions of the scores' spread and of the largest: in the same
# graph, in batches of other sizes, and in another runtime.
_SAME = (1e-5, 1e-6)
_OTHER_BATCH = (1e-3, 1e-5)
_OTHER_RUNTIME = (1e-2, 2e-3)


def check_detector(
    detector: Detector,
    inputs: object,
    *,
    ood_inputs: object = None,
    formats: Sequence[str] = ("tf_saved_model", "onnx", "litert"),
) -> None:
    """Checks that a detector keeps what every detector promises.

    For tests of a detector of your own, as scikit-learn's `check_estimator` is. Checked are the
    outputs' names, shapes and types; that a sample's score depends on that sample alone, neither
    on the training mode nor on the kind of data; NaN; the threshold, `calibrate` and p-values; the
    configuration; saving and loading; the detector within a functional model; the pass that
    `evaluate` shares; and the exported files. Exports, and data of `tf.data`, are checked where
    TensorFlow is installed.

    Args:
        detector: a detector that can score (one with statistics: adapted). It is left as it is:
            what would change it is done to copies.
        inputs: in-distribution inputs, an array of shape `(count, ...)`, 4 or more. A dozen are
            enough.
        ood_inputs: inputs that should score lower, so too; None to leave the direction of the
            score unchecked.
        formats: the formats to export to, see `Detector.export`. One that has no operations for
            the classifier or the score is left out.

    Raises:
        AssertionError: for the first promise that is not kept: which one, what to do about it, and
            what was received.
        ValueError: for inputs that the detector does not take.

    Example:
    ```python
    def test_my_detector_is_one():
        keras_lodin.testing.check_detector(MyDetector(classifier), images)
    ```
    """
    if not isinstance(detector, Detector):
        raise ValueError(
            "`detector` must be an instance of `keras_lodin.Detector` or of a class derived from "
            f"it. Received: detector={detector!r:.200}"
        )
    case = _Case(
        detector,
        _checked_inputs(detector, "inputs", inputs),
        None if ood_inputs is None else _checked_inputs(detector, "ood_inputs", ood_inputs),
        formats,
    )
    with warnings.catch_warnings():
        # Of few samples, and of what the inputs are like: no matter of the detector's.
        warnings.simplefilter("ignore", UserWarning)
        for promise, advice, check in _CHECKS:
            try:
                check(case)
            except Exception as error:  # whatever a detector may raise
                kind = "" if isinstance(error, _BrokenPromiseError) else f"{type(error).__name__}: "
                raise AssertionError(
                    f"{type(detector).__name__} does not keep a promise of every detector: "
                    f"{promise}. {advice} Received: {kind}{error}"
                ) from error


def _checked_inputs(detector: Detector, name: str, inputs: object) -> np.ndarray:
    values = np.asarray(as_array(inputs, f"`{name}`"))
    if values.dtype.kind == "f":
        values = values.astype("float32")
    detector.check_inputs(values)
    if len(values) < _FEWEST or not np.isfinite(values).all():
        raise ValueError(
            f"`{name}` must be {_FEWEST} or more finite inputs. "
            f"Received: {name} of shape {values.shape}"
        )
    return values


class _BrokenPromiseError(Exception):
    """A promise that is not kept; the text says what was received instead."""


@dataclass
class _Case:
    """A user's detector, which no check may change, and what several checks need."""

    detector: Detector
    inputs: np.ndarray
    ood_inputs: np.ndarray | None
    formats: Sequence[str]

    @cached_property
    def outputs(self) -> dict[str, np.ndarray]:
        """The detector's outputs for the inputs."""
        return self.detector.predict(self.inputs, verbose=0)

    @cached_property
    def twin(self) -> Detector:
        """The same detector again, for checks that change it, without a threshold."""
        twin = type(self.detector).from_config(self.detector.get_config())
        twin.set_weights(self.detector.get_weights())
        twin.forget_calibration()
        return twin

    def scores(self, data: object, batch_size: int | None = None) -> np.ndarray:
        """The twin's scores of data."""
        return self.twin.predict(data, batch_size=batch_size, verbose=0)["score"]

    def expect_scores(
        self,
        what: str,
        scores: Tensor,
        tolerance: tuple[float, float],
        chosen: slice | np.ndarray = slice(None),
    ) -> None:
        """Raises unless scores are those of the detector, or of some of its inputs."""
        scores, expected = ops.convert_to_numpy(scores), self.outputs["score"][chosen]
        of_spread, of_largest = tolerance
        allowed = of_spread * np.ptp(self.outputs["score"]) + of_largest * np.abs(expected).max()
        if scores.shape != expected.shape or not np.all(np.abs(scores - expected) <= allowed):
            raise _BrokenPromiseError(
                f"{what} the scores {_some(scores)} instead of {_some(expected)}"
            )


def _some(values: np.ndarray) -> str:
    shown = ", ".join(f"{value:.6g}" for value in np.ravel(values)[:5])
    return f"[{shown}{', ...' if np.size(values) > 5 else ''}]"


_Check = Callable[[_Case], None]
# Types and shapes of arrays, by their names.
_Kinds = Mapping[str, tuple[str, tuple[int, ...]]]
_CHECKS: list[tuple[str, str, _Check]] = []


def _promise(promise: str, advice: str) -> Callable[[_Check], _Check]:
    def added(check: _Check) -> _Check:
        _CHECKS.append((promise, advice, check))
        return check

    return added


@_promise(
    "`predict` gives `logits`, float32 of shape (batch, classes), `score` and `p_value`, float32 "
    "of shape (batch,), and `is_ood`, bool of shape (batch,)",
    "Return one float32 number for each sample from `score`: reduce over all axes but the first.",
)
def _outputs(case: _Case) -> None:
    count = len(case.inputs)
    _expect_kinds(
        {name: (value.dtype.name, value.shape) for name, value in case.outputs.items()},
        {
            "logits": ("float32", (count, case.detector.num_classes)),
            "score": ("float32", (count,)),
            "is_ood": ("bool", (count,)),
            "p_value": ("float32", (count,)),
        },
    )


def _expect_kinds(found: _Kinds, expected: _Kinds) -> None:
    if found != expected:
        raise _BrokenPromiseError(
            ", ".join(f"{name}: {kind} {shape}" for name, (kind, shape) in found.items())
        )


@_promise(
    "inputs that are in-distribution have finite scores",
    "Mind the logarithm of 0, a division by 0, and numbers beyond float32 (about 3e38).",
)
def _finite(case: _Case) -> None:
    if not np.isfinite(case.outputs["score"]).all():
        raise _BrokenPromiseError(f"the scores {_some(case.outputs['score'])}")


@_promise(
    "inputs that are out-of-distribution score lower",
    "Higher must mean more in-distribution: turn the score's sign.",
)
def _direction(case: _Case) -> None:
    if case.ood_inputs is not None:
        others = case.detector.predict(case.ood_inputs, verbose=0)["score"]
        if auroc(case.outputs["score"], others) <= 0.5:
            raise _BrokenPromiseError(
                f"the scores {_some(others)}, not below {_some(case.outputs['score'])}"
            )


@_promise(
    "`get_config` says every argument of the constructor, in values that JSON has",
    "Override it: `return {**super().get_config(), 'argument': self.argument}`.",
)
def _configuration_is_whole(case: _Case) -> None:
    config = case.detector.get_config()
    json.dumps(config)
    parameters = inspect.signature(type(case.detector).__init__).parameters.values()
    named = {one.name for one in list(parameters)[1:] if one.kind is not one.VAR_KEYWORD}
    if missing := sorted(named - config.keys()):
        raise _BrokenPromiseError(f"a configuration without {', '.join(map(repr, missing))}")


@_promise(
    "`from_config` of its configuration makes the same detector, once that has the same weights",
    "Let the constructor take what `get_config` returns, and create statistics and settings that "
    "change later as weights, in `build`. Classes of your own, of layers too, need "
    "`@keras.saving.register_keras_serializable(package='mine')`.",
)
def _configuration_is_enough(case: _Case) -> None:
    before, after = (one.config_without_classifier() for one in (case.detector, case.twin))
    if json.dumps(before) != json.dumps(after):
        raise _BrokenPromiseError(f"the configuration {after} instead of {before}")
    case.expect_scores("from the copy", case.scores(case.inputs), _SAME)


@_promise(
    "a sample has the same score in any batch",
    "Reduce over all axes but the first, and take no statistics of a batch.",
)
def _batches(case: _Case) -> None:
    found = case.scores(case.inputs[::-1], batch_size=3)[::-1]
    case.expect_scores("in batches of 3, in turned order,", found, _OTHER_BATCH)
    case.expect_scores("alone", case.scores(case.inputs[:1]), _OTHER_BATCH, slice(1))


@_promise(
    "training mode changes neither scores nor weights",
    "Take logits from the forward pass, which is in inference mode, and assign no weight in "
    "`score`.",
)
def _training_mode(case: _Case) -> None:
    before = case.twin.get_weights()
    found = case.twin(case.inputs, training=True)["score"]
    case.expect_scores("with training=True", found, _OTHER_BATCH)
    after = case.twin.get_weights()
    if not all(map(partial(np.array_equal, equal_nan=True), before, after)):
        raise _BrokenPromiseError("weights that a call changed")


@_promise(
    "the detector has no weight to train but the classifier's",
    "Create weights with `self.add_weight(..., trainable=False)`.",
)
def _nothing_to_train(case: _Case) -> None:
    known = {id(weight) for weight in case.twin.classifier.trainable_weights}
    own = [weight.path for weight in case.twin.trainable_weights if id(weight) not in known]
    if own:
        raise _BrokenPromiseError(f"the trainable weights {', '.join(own)}")


@_promise(
    "an input without an answer, whose logits are NaN, is out-of-distribution, and no other for it",
    "Let NaN go through the score: no `nan_to_num`, and no comparison that is False for it.",
)
def _not_a_number(case: _Case) -> None:
    if case.inputs.dtype.kind != "f":
        return
    spoiled = case.inputs.copy()
    spoiled[1] = np.nan
    found = case.twin.predict(spoiled, verbose=0)
    if np.isnan(found["logits"][1]).any() and not found["is_ood"][1]:
        raise _BrokenPromiseError(
            f"score {found['score'][1]} and is_ood=False for logits that are NaN"
        )
    others = np.arange(len(spoiled)) != 1
    case.expect_scores("beside one of NaN", found["score"][others], _OTHER_BATCH, others)


class _Batches(keras.utils.PyDataset):
    """Inputs in batches of three."""

    def __init__(self, inputs: np.ndarray) -> None:
        super().__init__()
        self._inputs = inputs

    def __len__(self) -> int:
        return -(-len(self._inputs) // 3)

    def __getitem__(self, index: int) -> np.ndarray:
        return self._inputs[3 * index : 3 * index + 3]


def _in_other_forms(inputs: np.ndarray) -> dict[str, object]:
    labels = np.zeros(len(inputs), "int64")
    forms: dict[str, object] = {
        "a tuple (x, y)": (inputs, labels),
        "a PyDataset": _Batches(inputs),
    }
    if has_tensorflow():
        import tensorflow as tf

        forms["a tf.data.Dataset"] = tf.data.Dataset.from_tensor_slices((inputs, labels)).batch(3)
    return forms


@_promise(
    "`predict` takes arrays, tuples (x, y), tf.data and PyDataset, and gives the same of each",
    "Leave `predict` to `Detector`, and read inputs from the forward pass alone.",
)
def _data(case: _Case) -> None:
    for form, data in _in_other_forms(case.inputs).items():
        case.expect_scores(f"from {form}", case.scores(data), _OTHER_BATCH)


@_promise(
    "`is_ood` is score <= threshold, for a threshold that is set by hand too",
    "Leave `call` and `threshold` to `Detector`, and override `score` alone.",
)
def _threshold(case: _Case) -> None:
    case.twin.threshold = float(np.median(case.outputs["score"]))
    _expect_verdicts(case.twin, case.twin.predict(case.inputs, verbose=0))


def _expect_verdicts(detector: Detector, found: dict[str, np.ndarray]) -> None:
    expected = found["score"] <= np.float32(detector.threshold)
    if not np.array_equal(found["is_ood"], expected):
        raise _BrokenPromiseError(
            f"is_ood={found['is_ood'].tolist()} for the scores {_some(found['score'])} and the "
            f"threshold {detector.threshold:.6g}"
        )


@_promise(
    "`calibrate` lets the fraction `tpr` of its data pass, says so, and finds the same threshold "
    "of every kind of data",
    "Leave `calibrate` to `Detector`; a score that is random needs a seed of its own.",
)
def _calibration(case: _Case) -> None:
    twin, count = case.twin, len(case.inputs)
    threshold = twin.calibrate(case.inputs, tpr=0.5, batch_size=count, verbose=0)
    said = (twin.threshold, twin.tpr, twin.calibration_count, twin.calibrated)
    if said != (threshold, 0.5, count, True):
        raise _BrokenPromiseError(f"(threshold, tpr, calibration_count, calibrated) = {said}")
    found = twin.predict(case.inputs, batch_size=count, verbose=0)
    _expect_verdicts(twin, found)
    passed = int((~found["is_ood"]).sum())
    if passed < math.ceil((count + 1) / 2):
        raise _BrokenPromiseError(f"{passed} of {count} calibration samples that pass at tpr=0.5")
    allowed = 1e-3 * np.ptp(found["score"]) + 1e-5 * abs(threshold)
    for form, data in _in_other_forms(case.inputs).items():
        other = twin.calibrate(data, tpr=0.5, batch_size=count, verbose=0)
        if abs(other - threshold) > allowed:
            raise _BrokenPromiseError(f"the threshold {other} from {form} instead of {threshold}")


@_promise(
    "`p_value` is (1 + calibration scores at or below the score) / (n + 1), also once the "
    "threshold is set by hand, and 1 once `forget_calibration` is called",
    "Leave `call` and `calibrate` to `Detector`.",
)
def _p_values(case: _Case) -> None:
    twin, count = case.twin, len(case.inputs)
    # Of the same batches: rounding would move a score across itself.
    reference = twin.predict(case.inputs, batch_size=count, verbose=0)["score"]
    twin.calibrate(case.inputs, tpr=0.5, batch_size=count, verbose=0)
    twin.threshold = 0.0
    found = twin.predict(case.inputs, batch_size=count, verbose=0)
    ranks = np.searchsorted(np.sort(reference), found["score"], side="right")
    _expect_p_values(found, (1 + ranks) / (count + 1))
    twin.forget_calibration()
    found = twin.predict(case.inputs, batch_size=count, verbose=0)
    _expect_p_values(found, np.ones(count))
    twin.calibrate(case.inputs, tpr=0.5, batch_size=count, verbose=0)


def _expect_p_values(found: dict[str, np.ndarray], expected: np.ndarray) -> None:
    if not np.allclose(found["p_value"], expected, rtol=1e-6, atol=0.0):
        raise _BrokenPromiseError(
            f"the p-values {_some(found['p_value'])} instead of {_some(expected)} for the scores "
            f"{_some(found['score'])}"
        )


@_promise(
    "inputs of another shape are refused with a ValueError, before they are scored",
    "Let `check_inputs` call `super().check_inputs(inputs)`.",
)
def _refusal(case: _Case) -> None:
    wrong = case.inputs[:, None]
    for refuses in (case.twin.check_inputs, case.twin):
        try:
            refuses(wrong)
        except ValueError:
            continue
        raise _BrokenPromiseError(f"no error for inputs of shape {wrong.shape}")


@_promise(
    "a detector is the same after `save` and `keras.models.load_model`",
    "Keep what changes in weights, and what does not in `get_config`. Classes of your own need "
    "`@keras.saving.register_keras_serializable(package='mine')`.",
)
def _saving(case: _Case) -> None:
    with tempfile.TemporaryDirectory() as folder:
        case.twin.save(Path(folder) / "detector.keras")
        loaded = keras.models.load_model(Path(folder) / "detector.keras")
    for name in (
        *("threshold", "tpr", "confidence", "calibration_count", "p_value_count"),
        *("class_names", "input_range_origin"),
    ):
        before, after = (getattr(one, name) for one in (case.twin, loaded))
        if before != after:
            raise _BrokenPromiseError(f"{name}={after} instead of {before}")
    if type(loaded) is not type(case.twin):
        raise _BrokenPromiseError(f"an object of {type(loaded)} instead of {type(case.twin)}")
    found = loaded.predict(case.inputs, verbose=0)
    case.expect_scores("from the file", found["score"], _SAME)
    _expect_p_values(found, ops.convert_to_numpy(case.twin.p_value(found["score"])))
    _expect_verdicts(loaded, found)


@_promise(
    "a detector is a layer: within a functional model it gives the same",
    "Compute `score` with `keras.ops`, and branch on no value of a tensor.",
)
def _composition(case: _Case) -> None:
    shape = case.twin.input_shape_with_batch[1:]
    entry = keras.Input(shape, dtype=case.inputs.dtype.name)
    symbolic = case.twin(entry)
    found = keras.Model(entry, symbolic).predict(case.inputs, verbose=0)
    _expect_kinds(
        {name: (str(value.dtype), value.shape[1:]) for name, value in symbolic.items()},
        {name: (value.dtype.name, value.shape[1:]) for name, value in found.items()},
    )
    case.expect_scores("within a model", found["score"], _SAME)


@_promise(
    "detectors of equal `pass_key` can score the same forward pass, as they do in `evaluate`",
    "A detector with a `forward_pass` of its own needs a `pass_key` of its own, and `score` must "
    "leave the pass as it was.",
)
def _shared_pass(case: _Case) -> None:
    twin, inputs = case.twin, ops.convert_to_tensor(case.inputs)
    if twin.pass_key == id(twin.classifier):
        shared = Detector.forward_pass(twin, inputs)
    else:
        hash(twin.pass_key)
        shared = twin.forward_pass(inputs, **twin.side_values(inputs))
    for time in ("first", "second"):
        what = f"from a shared pass, the {time} time,"
        case.expect_scores(what, twin.score(shared), _OTHER_BATCH)


@_promise(
    "`side_values` and `example_side_values` give every one of `side_inputs`, float32, (batch,)",
    "Give both a value for each name, and none for others.",
)
def _side_inputs(case: _Case) -> None:
    count = len(case.inputs)
    expected = dict.fromkeys(case.twin.side_inputs, ("float32", (count,)))
    for values in (case.twin.side_values(case.inputs), case.twin.example_side_values(count)):
        arrays = {name: ops.convert_to_numpy(value) for name, value in values.items()}
        _expect_kinds({k: (v.dtype.name, v.shape) for k, v in arrays.items()}, expected)


@_promise(
    "an exported file scores as the detector does",
    "Compute `score` with `keras.ops` alone, of free batch size: take sizes from `ops.shape`.",
)
def _export(case: _Case) -> None:
    for name in case.formats if has_tensorflow() else ():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"detector{FORMATS[name].suffix or ''}"
            try:
                case.twin.export(path, format=name, verbose=False)
            except ValueError as error:
                if isinstance(error.__cause__, FormatLimitError):
                    continue
                raise
            found = load_artifact(path).score(case.inputs)
        case.expect_scores(f"in the format {name}", found["score"], _OTHER_RUNTIME)
        _expect_p_values(found, ops.convert_to_numpy(case.twin.p_value(found["score"])))
        _expect_verdicts(case.twin, found)
