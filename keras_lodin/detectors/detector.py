"""What every detector shares: a classifier, a score, a threshold and a promise about it."""

from __future__ import annotations

import abc
from collections.abc import Callable, Hashable, Sequence
from numbers import Real
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_lodin.batch_function import BatchFunction
from keras_lodin.classifier_head import ClassifierHead, find_head
from keras_lodin.data.batches import check_images, iterate_batches
from keras_lodin.data.label_places import LabelPlaces
from keras_lodin.finite_scores import check_scores
from keras_lodin.gradients import ForwardPass
from keras_lodin.input_range import GIVEN, InputRange
from keras_lodin.metrics import threshold_at_tpr
from keras_lodin.models.input_range import resolve_input_range
from keras_lodin.observed_range import ObservedRange, settle, warn_of_small_values
from keras_lodin.progress import track


class Detector(keras.Model):
    """Base class: wraps a trained classifier and scores how in-distribution an input is.

    A detector is a `keras.Model`: it composes in a functional model, and `predict`, `save` and
    `keras.models.load_model` work as they do everywhere in Keras. Called on a batch it returns
    three named outputs:

    * `"logits"`: float32, `(batch, classes)`, the classifier's own logits on the clean input;
    * `"score"`: float32, `(batch,)`, HIGHER means more in-distribution;
    * `"is_ood"`: bool, `(batch,)`, `score <= threshold`. A score that is not a number counts as
      out-of-distribution.

    A new detector needs one method, `score(forward_pass)`; weights of its own are created in
    `build`, before it calls `super().build`. One that reads more than the logits has a
    `forward_pass` of its own.

    Args:
        classifier: a built `keras.Model` with one input and one output of shape
            `(batch, classes)`, logits or softmax probabilities. It is not changed.
        from_logits: True when the classifier returns logits, False when it returns probabilities
            (the logits behind them are then used), None to find out from its last layer.
        class_names: names of the classes in the order of the logits, for reports and exported
            files, or None. Labels of data that have names too are matched by them.
        input_range: `(lo, hi)`, the range of the classifier's input values, which every saved and
            exported file says; or two arrays, one number for each feature. None for what the
            classifier's first layers show, see `keras_lodin.models.judge_input_range`; where they
            show nothing, what `calibrate`, `tune` and `adapt` see in their data.
        input_range_origin: how `input_range` is known, as another detector's configuration says;
            None for "given" by you.
        name: name of the model.

    Raises:
        ValueError: if the classifier has more than one input or output, is a regression, or ends
            in a softmax whose input cannot be reached.

    Example:
    ```python
    @keras.saving.register_keras_serializable(package="mine")
    class SpreadDetector(keras_lodin.Detector):
        def score(self, forward_pass):
            return keras.ops.std(forward_pass.logits, axis=-1)
    ```
    """

    # Names of what the score needs beside the input, float32 of shape (batch,) each. `predict`
    # computes them; whoever runs an exported file has to give them.
    side_inputs: tuple[str, ...] = ()

    def __init__(
        self,
        classifier: keras.Model,
        *,
        from_logits: bool | None = None,
        class_names: Sequence[str] | None = None,
        input_range: Any = None,
        input_range_origin: str | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        if isinstance(classifier, Detector):
            raise ValueError(
                "A detector wraps a classifier, not another detector: pass `detector.classifier`. "
                f"Received: classifier={classifier!r}"
            )
        head = self._find_head(classifier, from_logits)
        # Scores need float32 whatever the global policy: in float16 every score at temperature
        # 1000 is the same number. The classifier keeps its own policy inside.
        super().__init__(name=name, dtype=kwargs.pop("dtype", "float32"), **kwargs)
        if class_names is not None and len(class_names) != head.num_classes:
            raise ValueError(
                f"`class_names` must name each of the classifier's {head.num_classes} classes. "
                f"Received: class_names={class_names}"
            )
        self.classifier = classifier
        self.from_logits = head.from_logits
        self.num_classes = head.num_classes
        self.class_names = None if class_names is None else tuple(class_names)
        if input_range is not None and input_range_origin is not None:
            low, high = input_range
            input_range = InputRange(low, high, input_range_origin)
        self._input_range = resolve_input_range(input_range, classifier, head.input_shape[1:])
        # In a closure, so that Keras does not track (and save) the same layers a second time.
        self.logits_function: Callable[[Any], Any] = lambda inputs: head.logits(
            inputs, training=False
        )
        self.build(head.input_shape)

    def _find_head(self, classifier: keras.Model, from_logits: bool | None) -> ClassifierHead:
        return find_head(classifier, from_logits)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates the threshold; the classifier's weights exist already."""
        self.input_shape_with_batch = tuple(input_shape)
        self._threshold = self.add_weight(
            name="threshold", shape=(), initializer=_uncalibrated, trainable=False
        )
        # Not used in scoring, but saved with the threshold that it explains; 0 for none.
        self._tpr = self.add_weight(name="tpr", shape=(), initializer="zeros", trainable=False)
        self.built = True

    @abc.abstractmethod
    def score(self, forward_pass: Any) -> Any:
        """The score of each sample: float32, `(batch,)`, higher = more in-distribution.

        Args:
            forward_pass: what this detector's `forward_pass` gave, which may be shared with other
                detectors.
        """

    def forward_pass(self, inputs: Any, **side_values: Any) -> Any:
        """One pass of the classifier over a batch, for `score` to read.

        Args:
            inputs: a batch of inputs.
            **side_values: one tensor for each name in `side_inputs`.

        Returns:
            a `ForwardPass`, or another value with `inputs` and `logits`.
        """
        return ForwardPass(self.logits_function, inputs)

    @property
    def pass_key(self) -> Hashable:
        """Detectors with equal keys can share one `forward_pass`."""
        # Two readings of one classifier's output have different logits.
        return id(self.classifier), self.from_logits

    def side_values(self, inputs: Any) -> dict[str, Any]:
        """The values of `side_inputs` for a batch of inputs."""
        return {}

    def example_side_values(self, count: int) -> dict[str, np.ndarray]:
        """Values of `side_inputs` that lead every way the score can go, for `count` inputs."""
        return {}

    def call(self, inputs: Any) -> dict[str, Any]:
        """Logits, score and verdict of a batch."""
        # `predict` reads the data itself, and a layer takes images of another size as they are.
        check_images(inputs, self.input_shape_with_batch[1:])
        if None in inputs.shape[1:]:  # not known before the graph runs: checked when it does
            inputs = tf.ensure_shape(inputs, self.input_shape_with_batch)
        forward_pass = self.forward_pass(inputs, **self.side_values(inputs))
        score = self.score(forward_pass)
        return {
            "logits": forward_pass.logits,
            "score": score,
            "is_ood": verdict(score, self._threshold),
        }

    def compute_output_spec(self, inputs: Any) -> dict[str, Any]:
        """Shapes and types of the outputs, known without running anything."""
        batch = inputs.shape[0]
        return {
            "logits": keras.KerasTensor((batch, self.num_classes), dtype="float32"),
            "score": keras.KerasTensor((batch,), dtype="float32"),
            "is_ood": keras.KerasTensor((batch,), dtype="bool"),
        }

    @property
    def threshold(self) -> float:
        """Scores at or below this are out-of-distribution. Minus infinity before `calibrate`."""
        return float(ops.convert_to_numpy(self._threshold))

    @threshold.setter
    def threshold(self, value: float) -> None:
        if value is None or np.isnan(value):
            raise ValueError(
                "`threshold` must be a number, minus infinity to call nothing out-of-distribution. "
                f"Received: threshold={value}"
            )
        self._threshold.assign(value)
        self._tpr.assign(0.0)

    @property
    def tpr(self) -> float | None:
        """The true positive rate that `calibrate` set the threshold for; None if set by hand."""
        return shortest_float(self._tpr) or None

    @property
    def input_range(self) -> tuple[Any, Any]:
        """`(lo, hi)` of the classifier's inputs: two floats, or two float32 arrays with one number
        for each feature. Setting it forgets the threshold.
        """
        return self._input_range.bounds

    @input_range.setter
    def input_range(self, value: Any) -> None:
        self._set_input_range(
            resolve_input_range(value, self.classifier, self.input_shape_with_batch[1:])
        )
        self.threshold = -np.inf

    @property
    def input_range_origin(self) -> str:
        """How `input_range` is known: "given", "classifier" (shown by its first layers) or "data"
        (read off them); or that it is not: "assumed" or "unknown".
        """
        return self._input_range.origin

    @property
    def judged_input_range(self) -> InputRange:
        """`input_range` and `input_range_origin` as one value."""
        return self._input_range

    def _set_input_range(self, input_range: InputRange) -> None:
        self._input_range = input_range
        # A graph that was compiled holds the range that there was.
        self.predict_function = None

    def settle_input_range(self, data: Any, batch_size: int = 128) -> None:
        """Reads the range of the inputs off in-distribution data, where it is not known yet.

        `tune`, `calibrate` and `adapt` do. Of vectors every feature gets the range from its
        smallest to its largest value, so that a step is the same fraction of each. Other data are
        taken to be of 0 to 1, -1 to 1 or 0 to 255 if they lie in one of these, else of their own.

        Args:
            data: in-distribution inputs, in any form that `calibrate` takes.
            batch_size: samples per batch, for data that is not batched already.
        """
        if not self._input_range.known:
            shape = self.input_shape_with_batch[1:]
            settled = settle(self._input_range, data, shape, batch_size)
            if settled is not self._input_range:
                self._set_input_range(settled)

    @property
    def calibrated(self) -> bool:
        """Whether a threshold has been set; before, no input is called out-of-distribution."""
        return self.threshold > -np.inf

    def calibrate(
        self, data: Any, tpr: float = 0.95, batch_size: int = 128, verbose: int | str = "auto"
    ) -> float:
        """Sets the threshold that lets the fraction `tpr` of in-distribution data pass.

        The threshold is the largest float32 with at least the fraction `tpr` of the scores above
        it, exact under ties. Use in-distribution data that was neither trained on nor will be
        tested on; labels are not needed. On fresh data the fraction that passes differs from
        `tpr` by the binomial error of both samples.

        Args:
            data: in-distribution inputs: an array, a tuple `(x, y)`, a `tf.data.Dataset`, a
                `keras.utils.PyDataset` or a `keras_lodin.data.Source`. Labels are ignored.
            tpr: true positive rate, the fraction of in-distribution data to let pass.
            batch_size: samples per batch, for data that is not batched already.
            verbose: 0 for silence, 1 for a progress bar, "auto" for one on a terminal.

        Returns:
            the threshold.

        Raises:
            ValueError: for empty data, inputs that are not finite, have the wrong shape or (for
                a detector that steps) lie outside of `input_range`, class names that the
                classifier does not know, or a `tpr` outside (0, 1).
        """
        if not isinstance(tpr, Real) or not 0.0 < tpr < 1.0:
            raise ValueError(
                f"`tpr` must be a fraction strictly between 0 and 1. Received: tpr={tpr!r}"
            )
        # Data of classes by other names are other data.
        LabelPlaces(self.num_classes, self.class_names, data)
        self.settle_input_range(data, batch_size)
        score_of = BatchFunction(lambda inputs: self(inputs)["score"])
        batches = []
        observed = ObservedRange(self.input_shape_with_batch[1:])
        for inputs, _ in track(
            iterate_batches(data, batch_size), "Calibrating the threshold", verbose
        ):
            self.check_inputs(inputs)
            batches.append(score_of(inputs))
            observed.update(inputs)
        scores = np.concatenate(batches)
        warn_of_small_values(observed, self._input_range)
        check_scores(self.name, scores)
        self.threshold = threshold_at_tpr(scores, tpr)
        self._tpr.assign(tpr)
        return self.threshold

    def check_inputs(self, inputs: Any) -> None:
        """Raises ValueError for a batch that this detector cannot score truthfully.

        Args:
            inputs: a batch of inputs, numpy array or tensor.
        """
        check_images(inputs, self.input_shape_with_batch[1:])

    def export(
        self,
        filepath: Any,
        format: str = "tf_saved_model",
        verbose: bool | None = None,
        **kwargs: Any,
    ) -> None:
        """Writes one artifact that holds the classifier, the score and the threshold.

        Its input has the classifier's shape with a free batch size; its outputs are named
        `logits`, `score` and `is_ood`. The artifact is checked before it is moved into place.

        Args:
            filepath: the folder (SavedModel), `.onnx` or `.tflite` file to write.
            format: "tf_saved_model", "onnx" or "litert".
            verbose: whether to print what was written. None prints.
            **kwargs: options of the format. For "onnx", `data_format="channels_first"` for an
                input of (batch, channels, ...), and `sample_inputs`, inputs to compare on.

        Raises:
            ValueError: for an unknown format or option, a classifier that ONNX or LiteRT has no
                operations for, or an artifact that disagrees with the detector.
            OSError: if the artifact cannot be written. Nothing half-written stays.
        """
        from keras_lodin.export import export_detector

        export_detector(self, filepath, format=format, verbose=verbose is not False, **kwargs)

    def get_config(self) -> dict[str, Any]:
        """What makes this detector again, with its classifier inside."""
        return {
            **super().get_config(),
            "classifier": keras.saving.serialize_keras_object(self.classifier),
            "from_logits": self.from_logits,
            "class_names": None if self.class_names is None else list(self.class_names),
            "input_range": self._input_range.to_json(),
            "input_range_origin": self._input_range.origin,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Detector:
        """Makes a detector from `get_config`'s value."""
        classifier = keras.saving.deserialize_keras_object(
            config["classifier"], custom_objects=custom_objects
        )
        # Files from before the range had an origin hold one that somebody chose.
        return cls(**{"input_range_origin": GIVEN, **config, "classifier": classifier})


def verdict(score: Any, threshold: Any) -> Any:
    """Which scores are out-of-distribution: bool, `(batch,)`.

    Those at or below the threshold, and those that are not a number. (Not as `not score >
    threshold`: TensorFlow's graph optimizer makes that `score <= threshold`, and a NaN would
    pass.)
    """
    return ops.logical_or(ops.less_equal(score, threshold), ops.isnan(score))


def _uncalibrated(shape: Any, dtype: Any = None) -> Any:
    return ops.full(shape, -np.inf, dtype=dtype)


def shortest_float(variable: Any) -> float:
    """A float32 weight as the Python float that a person would have typed."""
    return float(str(np.float32(ops.convert_to_numpy(variable))))
