"""What every detector shares: a classifier, a score, a threshold and a promise about it."""

from __future__ import annotations

import abc
import math
import os
import warnings
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from numbers import Real
from typing import Any, TypeVar

import keras
import numpy as np
from keras import ops

from keras_lodin.data.batches import (
    check_images,
    check_numbers,
    one_batch,
    prediction_data,
)
from keras_lodin.data.label_places import LabelPlaces
from keras_lodin.data.observed_range import ObservedRange, settle, warn_of_small_values
from keras_lodin.data.passes import Batch, BatchFunction
from keras_lodin.data.value_range import GIVEN, InputRange, check_in_range, checked_input_range
from keras_lodin.detectors.feature_pass import FeaturePass
from keras_lodin.export.formats import export_detector
from keras_lodin.gradients import ForwardPass, backend
from keras_lodin.metrics.figures import (
    fewest_samples,
    threshold_at_confidence,
    threshold_at_tpr,
)
from keras_lodin.metrics.p_values import (
    FILLING,
    MOST_IN_ONE,
    TABLE_SIZE,
    calibration_table,
    p_value,
)
from keras_lodin.metrics.ranks import checked_confidence
from keras_lodin.metrics.score_histogram import ScoreHistogram
from keras_lodin.metrics.scores import check_scores, promised, verdict
from keras_lodin.models.classifier_head import ClassifierHead
from keras_lodin.models.classifier_wrapper import ClassifierWrapper
from keras_lodin.models.differentiability import check_differentiable
from keras_lodin.models.features import FeatureLayers
from keras_lodin.models.head import find_head
from keras_lodin.models.input_range import GivenRange, resolve_input_range
from keras_lodin.utils.numbers import shortest_float, single_number
from keras_lodin.utils.tensor import Tensor

# Nothing is called out-of-distribution.
_UNCALIBRATED = keras.initializers.Constant(-math.inf)
# No score, of which every p-value is 1.
_NO_SCORES = keras.initializers.Constant(FILLING)

_Value = TypeVar("_Value")


class Detector(ClassifierWrapper):
    """Base class: wraps a trained classifier and scores how in-distribution an input is.

    A detector is a `keras.Model`: it composes in a functional model, and `predict`, `save` and
    `keras.models.load_model` work as they do everywhere in Keras. Called on a batch it returns
    four named outputs:

    * `"logits"`: float32, `(batch, classes)`, the classifier's own logits on the clean input;
    * `"score"`: float32, `(batch,)`, HIGHER means more in-distribution;
    * `"is_ood"`: bool, `(batch,)`, `score <= threshold`. A score that is not a number counts as
      out-of-distribution;
    * `"p_value"`: float32, `(batch,)`, above 0 and at most 1: `(1 + calibration scores at or below
      the score) / (n + 1)`, 1 before `calibrate`. Small means out-of-distribution; of fresh
      in-distribution data the fraction a has a p-value of a or less, whatever the detector.

    A new detector needs one method, `score(forward_pass)`; weights of its own are created in
    `build`, before it calls `super().build`. One that reads more than the logits has a
    `forward_pass` of its own.

    Args:
        classifier: a built `keras.Model` with one input and one output of shape
            `(batch, classes)`, logits or softmax probabilities. It is not changed. Of a model for
            training (`GQModel`) its classifier is taken; of one whose `predict` runs a
            `preprocessor` first (KerasHub's), one model of both, which takes what `predict` does.
            The output may be in a list or have a name. A classifier that makes floats of
            integers, such as pixels in bytes, is run on floats from there on; one that looks them
            up, such as tokens, has no input gradient.
        from_logits: True when the classifier returns logits, False when it returns probabilities
            (the logits behind them are then used), None to find out. What is said is checked.
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
        ValueError: if the classifier has more than one input or output, takes text, or batches of
            one size alone, is a regression, ends in a sigmoid or in a softmax whose input cannot be
            reached, returns something else than `from_logits` says, predicts something else than
            it computes when it is called, or has no input gradient where the score needs one.

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
    # Whether the score needs statistics of in-distribution data, which `adapt` takes.
    needs_statistics = False
    # Whether a network with several exits is wrapped whole, and images leave at exits of their own.
    takes_exits = False
    # Whether an evaluation has it that names no detectors.
    in_every_evaluation = True
    # Whether there is a `tune`, which chooses settings from in-distribution data.
    tunable = False
    # What the score reads of the classifier beside its logits; None for nothing.
    feature_layers: FeatureLayers | None = None
    # Whole numbers that no graph reads, saved beside the weights, each in an attribute `_NAME`.
    _notes: tuple[str, ...] = ("calibration_count",)
    _calibration_count = 0
    # Whether inputs outside of `input_range` are refused.
    _within_range = False

    def __init__(
        self,
        classifier: keras.Model,
        *,
        from_logits: bool | None = None,
        class_names: Sequence[str] | None = None,
        input_range: GivenRange | None = None,
        input_range_origin: str | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        head = self._find_head(classifier, from_logits)
        # Scores need float32 whatever the global policy: in float16 every score at temperature
        # 1000 is the same number. The classifier keeps its own policy inside.
        super().__init__(name=name, dtype=kwargs.pop("dtype", "float32"), **kwargs)
        self.classifier = head.classifier
        self.from_logits = head.from_logits
        self.num_classes = head.num_classes
        self.class_names = _checked_class_names(class_names, head.num_classes)
        self._head = head
        stated = None if isinstance(input_range, InputRange) else input_range
        if stated is not None and input_range_origin is not None:
            input_range = InputRange(*checked_input_range(stated), input_range_origin)
        self._input_range = resolve_input_range(input_range, self.classifier, head.input_shape[1:])
        # In a closure, so that Keras does not track (and save) the same layers a second time.
        self.logits_function: Callable[[Tensor], Tensor] = lambda inputs: head.logits(
            inputs, training=False
        )
        self._traced: tuple[Hashable, ...] | None = None
        self.build(head.input_shape)

    @classmethod
    def suited_to(cls, classifier: keras.Model, **options: Any) -> Detector:
        """A detector with the default settings that suit a classifier.

        Args:
            classifier: see the constructor.
            **options: settings that are not the default ones.
        """
        return cls(classifier, **options)

    def with_settings(self, **changes: Any) -> Detector:
        """A detector of the same classifier, without a threshold, that differs by some settings."""
        config = {**self.config_without_classifier(), **changes}
        return type(self)(classifier=self.classifier, **config)

    def with_defaults(self) -> Detector | None:
        """A detector to show beside one that was tuned; None where there is no such thing."""
        return None

    @property
    def tuned(self) -> bool:
        """Whether `tune` chose the settings."""
        return False

    @property
    def adapted(self) -> bool:
        """Whether there are the statistics that the score needs, if it needs any."""
        return True

    def check_differentiable(self) -> None:
        """Raises ValueError for a classifier whose logits have no gradient by its inputs.

        To be called by the constructor of a detector whose score needs one.
        """
        check_differentiable(self._head, type(self).__name__)

    def deployed(self) -> Detector:
        """The detector itself: its score goes to work with its classifier."""
        return self

    def _find_head(self, classifier: keras.Model, from_logits: bool | None) -> ClassifierHead:
        return find_head(classifier, from_logits)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates threshold and calibration; the classifier's weights exist already."""
        self.input_shape_with_batch = tuple(input_shape)
        self._threshold = self._add_state("threshold", initializer=_UNCALIBRATED)
        # Not used in scoring, but saved with the threshold that it explains; 0 for none.
        self._tpr = self._add_state("tpr")
        first = len(self._own_values())
        self._confidence = self._add_state("confidence")
        self._calibration_scores = self._add_state("calibration_scores", (TABLE_SIZE,), _NO_SCORES)
        self._calibration_counts = self._add_state("calibration_counts", (TABLE_SIZE + 1,), "ones")
        # Files from before there were p-values lack these.
        self._places_since_p_values = range(first, len(self._own_values()))
        self.built = True

    def _add_state(
        self, name: str, shape: tuple[int, ...] = (), initializer: object = "zeros"
    ) -> keras.Variable:
        """A weight that no training changes."""
        return self.add_weight(name=name, shape=shape, initializer=initializer, trainable=False)

    @abc.abstractmethod
    def score(self, forward_pass: Any) -> Tensor:
        """The score of each sample: float32, `(batch,)`, higher = more in-distribution.

        Args:
            forward_pass: what this detector's `forward_pass` gave, which may be shared with other
                detectors.
        """

    def forward_pass(self, inputs: Tensor, **side_values: Tensor) -> Any:
        """One pass of the classifier over a batch, for `score` to read.

        Args:
            inputs: a batch of inputs.
            **side_values: one tensor for each name in `side_inputs`.

        Returns:
            a `ForwardPass`, or another value with `inputs` and `logits`.
        """
        if self.feature_layers is not None:
            return FeaturePass(self.feature_layers, inputs, of_names=self.takes_names)
        if self.takes_names:
            return ForwardPass.of_names(lambda x: [self.logits_function(x)], inputs)[0]
        return ForwardPass(self.logits_function, inputs)

    @property
    def takes_names(self) -> bool:
        """Whether the inputs are names, tokens for example, and not quantities."""
        return self._head.input_dtype != "float32"

    @property
    def pass_key(self) -> Hashable:
        """Detectors with equal keys share one pass, of all the `feature_layers` that they read.

        One with a `forward_pass` of its own has a key of its own.
        """
        return id(self.classifier)

    @property
    def settings(self) -> dict[str, Any]:
        """The hyper-parameters that `tune` chooses, by name; none where there is no `tune`."""
        return {}

    @property
    def cost_in_passes(self) -> float:
        """How many forward passes of the classifier a score costs, a backward one counted as one.

        Where the detector is used alone: `evaluate` shares the first pass. What detectors add to
        that is little beside a network, and images that leave a network early cost less.
        """
        return 1.0

    @property
    def statistics_bytes(self) -> int:
        """What the detector adds to its classifier in a file, in bytes."""
        classifiers = {id(weight) for weight in self.classifier.variables}
        own = [weight for weight in self.variables if id(weight) not in classifiers]
        return sum(int(np.prod(weight.shape)) * 4 for weight in own)

    def side_values(self, inputs: Tensor) -> dict[str, Tensor]:
        """The values of `side_inputs` for a batch of inputs."""
        return {}

    def example_side_values(self, count: int) -> dict[str, np.ndarray]:
        """Values of `side_inputs` that lead every way the score can go, for `count` inputs."""
        return {}

    def p_value(self, score: Tensor) -> Tensor:
        """The conformal p-value of scores of this detector, as among its outputs.

        Of scores that were logged, say: the classifier is not run.

        Args:
            score: float32, `(batch,)`.

        Returns:
            float32, `(batch,)`, above 0 and at most 1; see `Detector`.

        Raises:
            ValueError: for scores of another shape.
        """
        score = ops.convert_to_tensor(score, "float32")
        if len(score.shape) != 1:
            raise ValueError(
                "`score` must hold one score per sample, shape (batch,); a single one in a list. "
                f"Received: score of shape {tuple(score.shape)}"
            )
        return p_value(score, self._calibration_scores, self._calibration_counts)

    def call(self, inputs: Tensor) -> dict[str, Tensor]:
        """Logits, score, verdict and p-value of a batch."""
        if None in inputs.shape[1:]:  # not known before the graph runs: checked when it does
            inputs = backend.with_shape(inputs, self.input_shape_with_batch)
        forward_pass = self.forward_pass(inputs, **self.side_values(inputs))
        score = self.score(forward_pass)
        if len(score.shape) != 1:
            raise ValueError(
                f"`{type(self).__name__}.score` must return one number for each sample, shape "
                f"(batch,): reduce over the classes with `axis=-1`. Received: shape {score.shape}"
            )
        return _in_order(
            {
                "logits": forward_pass.logits,
                "score": score,
                "is_ood": verdict(score, self._threshold),
                "p_value": self.p_value(score),
            }
        )

    def make_predict_function(self, force: bool = False) -> Callable[..., object]:
        """Keras's, made anew if the classifier has other weights, as after `quantize`."""
        built_in = self._built_in()
        force = force or self._traced not in (None, built_in)
        self._traced = built_in
        return super().make_predict_function(force=force)

    def _built_in(self) -> tuple[Hashable, ...]:
        """What the graph of `predict` holds, and is made anew for when it is other."""
        return tuple(id(weight) for weight in self.classifier.variables)

    def compute_output_spec(self, inputs: keras.KerasTensor) -> dict[str, keras.KerasTensor]:
        """Shapes and types of the outputs, known without running anything."""
        batch = inputs.shape[0]
        return _in_order(
            {
                "logits": keras.KerasTensor((batch, self.num_classes), dtype="float32"),
                "score": keras.KerasTensor((batch,), dtype="float32"),
                "is_ood": keras.KerasTensor((batch,), dtype="bool"),
                "p_value": keras.KerasTensor((batch,), dtype="float32"),
            }
        )

    def __call__(self, *args: object, **kwargs: object) -> dict[str, Tensor]:
        """See `call`. Refuses what is no batch for the classifier, before TensorFlow sees it."""
        if args:
            args = (self._checked_batch(args[0]), *args[1:])
        return super().__call__(*args, **kwargs)

    def _checked_batch(self, inputs: object) -> Tensor:
        batch = one_batch(inputs, len(self.input_shape_with_batch))
        check_images(batch, self.input_shape_with_batch[1:])
        check_numbers(batch, "the batch")
        return batch

    def predict(
        self,
        x: object,
        batch_size: int | None = None,
        verbose: int | str = "auto",
        steps: int | None = None,
        callbacks: Sequence[keras.callbacks.Callback] | None = None,
    ) -> dict[str, np.ndarray]:
        """Logits, score, verdict and p-value of every example, as numpy arrays.

        Args:
            x: inputs, as `calibrate` takes them, or in another form that `keras.Model.predict`
                does. Labels are left out.
            batch_size: samples per batch, for data that is not batched already. None for 32.
            verbose: see `keras.Model.predict`, as for the others.
            steps: how many batches to take of data that are batched. None for all.
            callbacks: those to call on the way.

        Returns:
            a dict of `"logits"`, `"score"`, `"is_ood"` and `"p_value"`; see `Detector`.

        Raises:
            ValueError: for empty data, data that are no real numbers, or inputs of a wrong shape.
            TypeError: for data of another kind.
        """
        data = prediction_data(x)
        if hasattr(data, "shape"):
            # Here, not in `call`: there TensorFlow may not know the shape, the second time.
            check_images(data, self.input_shape_with_batch[1:])
        found = super().predict(
            data, batch_size=batch_size, verbose=verbose, steps=steps, callbacks=callbacks
        )
        return {name: found[name] for name in _OUTPUTS}

    def predict_on_batch(self, x: object) -> dict[str, np.ndarray]:
        """Logits, score, verdict and p-value of one batch, as numpy arrays."""
        found = super().predict_on_batch(self._checked_batch(x))
        return {name: found[name] for name in _OUTPUTS}

    @property
    def threshold(self) -> float:
        """Scores at or below this are out-of-distribution. Minus infinity before `calibrate`."""
        return float(ops.convert_to_numpy(self._threshold))

    @threshold.setter
    def threshold(self, value: float) -> None:
        number = single_number(value)
        if number is None or np.isnan(number):
            wrong = ValueError if value is None or number is not None else TypeError
            raise wrong(
                "`threshold` must be a number, minus infinity to call nothing out-of-distribution. "
                f"A text is made one by `float(text)`. Received: threshold={value!r}"
            )
        self._threshold.assign(number)
        self._tpr.assign(0.0)
        self._confidence.assign(0.0)
        self._calibration_count = 0

    def forget_calibration(self) -> None:
        """Forgets threshold and p-values, which belonged to other scores.

        To be called by what changes the scores; a threshold that is set by hand leaves the
        p-values.
        """
        self.threshold = -math.inf
        self._keep_table(*calibration_table(()))

    @property
    def tpr(self) -> float | None:
        """The true positive rate that `calibrate` set the threshold for; None if set by hand."""
        return shortest_float(self._tpr) or None

    @property
    def confidence(self) -> float | None:
        """The confidence that `calibrate` was asked for; None for a promise on average."""
        return shortest_float(self._confidence) or None

    @property
    def p_value_count(self) -> int | None:
        """How many calibration scores p-values are computed from; None before `calibrate`.

        (Beyond 2^24 they are counted in units of several scores, and this is the number of units.)
        """
        return int(ops.convert_to_numpy(self._calibration_counts)[-1]) - 1 or None

    @property
    def possible_p_values(self) -> np.ndarray:
        """All p-values that the detector can give, in ascending order, 1 the last; float64.

        By their distances `keras_lodin.metrics.Monitor` knows how probable each is.
        """
        counts = np.unique(ops.convert_to_numpy(self._calibration_counts).astype("float64"))
        return np.asarray(counts / counts[-1])

    @property
    def calibration_count(self) -> int | None:
        """How many samples `calibrate` set the threshold from; None if set by hand."""
        return self._calibration_count or None

    @property
    def input_range(self) -> tuple[Any, Any]:
        """`(lo, hi)` of the classifier's inputs: two floats, or two float32 arrays with one number
        for each feature. Setting it forgets threshold and p-values.
        """
        return self._input_range.bounds

    @input_range.setter
    def input_range(self, value: GivenRange | None) -> None:
        self._set_input_range(
            resolve_input_range(value, self.classifier, self.input_shape_with_batch[1:])
        )
        self.forget_calibration()

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

    def settle_input_range(self, data: object, batch_size: int = 128) -> None:
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
        self,
        data: object,
        tpr: float = 0.95,
        batch_size: int = 128,
        verbose: int | str = "auto",
        confidence: float | None = None,
    ) -> float:
        """Sets the threshold that lets the fraction `tpr` of in-distribution data pass.

        The scores stay with the detector, for its p-values: all of 4,096, and 4,096 of more
        (`keras_lodin.metrics.p_values.calibration_table`).

        Of fresh data of the same kind at least the fraction `tpr` passes on average, for any
        number of samples: the threshold is that of split conformal prediction
        (`keras_lodin.metrics.threshold_at_tpr`), half way between two scores. For one calibration
        set the fraction that passes differs from `tpr` by the binomial error of both samples; with
        a `confidence` it is below `tpr` for the rest of calibration sets at most
        (`keras_lodin.metrics.threshold_at_confidence`). Use data that was neither trained on nor
        will be tested on; labels are not needed.

        So few samples that they cannot show `tpr` (fewer than 19 for 95 %, 99 for 99 %; 45 for
        95 % with a confidence of 90 %) leave the threshold at minus infinity, with a warning:
        everything passes.

        Args:
            data: in-distribution inputs: an array, a list of examples, a tuple `(x, y)`, a
                `tf.data.Dataset`, a `keras.utils.PyDataset` or a `keras_lodin.data.Source`. Labels
                are ignored.
            tpr: true positive rate, the fraction of in-distribution data to let pass.
            batch_size: samples per batch, for data that is not batched already.
            verbose: 0 for silence, 1 for a progress bar, "auto" for one on a terminal.
            confidence: None for a promise on average, or in what fraction of calibration sets at
                least `tpr` of fresh data is to pass, such as 0.9.

        Returns:
            the threshold.

        Raises:
            ValueError: for empty data, inputs that are not finite, have the wrong shape or (for
                a detector that steps) lie outside of `input_range`, class names that the
                classifier does not know, a `tpr` or `confidence` outside (0, 1), scores that are
                infinite, or so many that are NaN that too few can pass.

        Warns:
            UserWarning: for too few samples to promise `tpr`, for scores that are NaN (they count
                as rejected, as they are in use), and for inputs that fill next to nothing of the
                range.
        """
        check_promise(tpr, confidence)
        # Data of classes by other names are other data.
        LabelPlaces(self.num_classes, self.class_names, data)
        task = "Calibrating the threshold"
        passed = self._passed(lambda inputs: self(inputs)["score"], data, task, batch_size, verbose)
        scores = np.concatenate([batch.outputs for batch in passed])
        wrong = np.isnan(scores)
        # All of them NaN is a broken classifier; a few are inputs that it has no answer to.
        check_scores(self.name, scores if wrong.all() else np.where(wrong, 0.0, scores))
        self.threshold = (
            threshold_at_tpr(scores, tpr)
            if confidence is None
            else threshold_at_confidence(scores, tpr, confidence)
        )
        self._keep_table(*calibration_table(scores))
        if wrong.any():
            warnings.warn(
                f"{wrong.sum()} of {len(scores)} calibration scores of {self.name!r} are NaN. They "
                "count as rejected, as such scores are in use. Look for what is special about the "
                f"inputs, the first of which is number {np.argmax(wrong)}.",
                stacklevel=2,
            )
        self._note_promise(float(tpr), confidence, len(scores))
        return self.threshold

    def calibrate_from(
        self, scores: ScoreHistogram, tpr: float = 0.95, confidence: float | None = None
    ) -> float:
        """Sets threshold and p-values as `calibrate` does, from scores that were counted.

        Of so many in-distribution images that nobody has their scores in one place: they are this
        detector's own, from its files of scores. The threshold is exact where the histogram is one
        of few different scores, or `finer` for this `tpr` and `confidence`; in any case at least so
        many pass as are promised.

        Args:
            scores: what counted them, see `keras_lodin.metrics.ScoreHistogram`.
            tpr: see `calibrate`.
            confidence: see `calibrate`.

        Returns:
            the threshold.

        Raises:
            ValueError: for a `tpr` or `confidence` outside (0, 1), no scores or infinite ones, or a
                histogram of cells so wide that p-values would be more than 1/3000 above the exact
                ones: one that is `finer` then has to count the scores once more.

        Warns:
            UserWarning: for too few samples to promise `tpr`.

        Example:
        ```python
        histogram = keras_lodin.metrics.ScoreHistogram()
        for file in files:
            histogram.update(pandas.read_parquet(file)["score"])
        finer = histogram.finer(tpr=0.95)
        for file in files:
            finer.update(pandas.read_parquet(file)["score"])
        detector.calibrate_from(finer, tpr=0.95)
        ```
        """
        check_promise(tpr, confidence)
        if not isinstance(scores, ScoreHistogram):
            raise TypeError(
                "`scores` must be a `keras_lodin.metrics.ScoreHistogram`; `calibrate` takes data. "
                f"Received: scores of type {type(scores).__name__}"
            )
        threshold = scores.threshold_at_tpr(tpr, confidence)
        if scores.fullest > MOST_IN_ONE:
            raise ValueError(
                "The cells of the histogram are too wide for p-values: a single one holds "
                f"{100 * scores.fullest:.2g} % of the scores, and {100 * MOST_IN_ONE:.2g} % are "
                f"the most. Count the scores once more, with `scores.finer(tpr={tpr})`. "
                f"Received: scores={scores}"
            )
        self.threshold = threshold
        self._keep_table(*scores.calibration_table())
        self._note_promise(float(tpr), confidence, scores.count)
        return self.threshold

    def _note_promise(self, tpr: float, confidence: float | None, count: int) -> None:
        """Notes what the threshold promises; warns where it is none."""
        if self.calibrated:
            self._tpr.assign(tpr)
            self._confidence.assign(confidence or 0.0)
            self._calibration_count = count
        else:
            # Of n scores n/(n + 1) on average, and with a confidence the n-th root of its rest.
            most, needed = count / (count + 1), fewest_samples(tpr, confidence)
            if confidence is not None:
                most = min(most, (1.0 - confidence) ** (1.0 / count))
            sure = "" if confidence is None else f" with a confidence of {100 * confidence:g} %"
            warnings.warn(
                f"{count} samples cannot show that {100 * tpr:g} % of fresh data pass{sure}: that "
                f"takes {needed} at least. The threshold of {self.name!r} is minus infinity, and "
                "nothing is called out-of-distribution. Give more samples, or ask for a `tpr` of "
                f"{math.floor(1000 * most) / 1000:g} or less. "
                f"Received: {count} samples, tpr={tpr:g}"
                + ("" if confidence is None else f", confidence={confidence:g}"),
                stacklevel=3,
            )

    def _passed(
        self,
        function: Callable[[Tensor], Tensor],
        data: object,
        task: str,
        batch_size: int,
        verbose: int | str,
        check: Callable[[Tensor], None] | None = None,
    ) -> Iterator[Batch]:
        """One pass over in-distribution data, which say the range of inputs if nothing else does.

        Warns at its end of data that fill next to nothing of the range.
        """
        self.settle_input_range(data, batch_size)
        observed = ObservedRange(self.input_shape_with_batch[1:])
        check = check or self.check_inputs
        for batch in BatchFunction(function).over(data, task, batch_size, verbose, check=check):
            observed.update(batch.inputs)
            yield batch
        warn_of_small_values(observed, self._input_range)

    def _keep_table(self, kept: np.ndarray, counts: np.ndarray) -> None:
        self._calibration_scores.assign(kept)
        self._calibration_counts.assign(counts)

    def promise(self) -> str:
        """The threshold and what it promises, in a line for a person."""
        if not self.calibrated:
            return "no threshold: nothing is called out-of-distribution"
        if self.tpr is None:
            return f"threshold {self.threshold:.6g}, set by hand"
        promise = promised(self.tpr, self.calibration_count, self.confidence)
        return f"threshold {self.threshold:.6g}: {promise}"

    def check_inputs(self, inputs: Tensor) -> None:
        """Raises ValueError for a batch that this detector cannot score truthfully.

        Args:
            inputs: a batch of inputs, numpy array or tensor.
        """
        check_images(inputs, self.input_shape_with_batch[1:])
        if self._within_range:
            check_in_range(inputs, self._input_range)

    def export(
        self,
        filepath: str | os.PathLike[str],
        format: str = "tf_saved_model",
        verbose: bool | None = None,
        **kwargs: Any,
    ) -> None:
        """Writes one artifact that holds the classifier, the score and the threshold.

        Its input has the classifier's shape with a free batch size; its outputs are named
        `logits`, `score`, `is_ood` and `p_value`. The artifact is checked before it is moved into
        place.

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
        export_detector(self, filepath, format=format, verbose=verbose is not False, **kwargs)

    def get_config(self) -> dict[str, Any]:
        """What makes this detector again, with its classifier inside."""
        return {
            **super().get_config(),
            "class_names": None if self.class_names is None else list(self.class_names),
            "input_range": self._input_range.to_json(),
            "input_range_origin": self._input_range.origin,
        }

    def save_own_variables(self, store: Any) -> None:
        """Saves threshold and settings, and the notes beside them; called by Keras."""
        super().save_own_variables(store)
        for name in self._notes:
            store[name] = np.int64(getattr(self, f"_{name}"))

    def load_own_variables(self, store: Any) -> None:
        """Loads what `save_own_variables` saved; earlier versions saved no notes or p-values."""
        # A store of Keras's is no mapping, and has no iterator.
        values = dict(zip(store.keys(), map(store.__getitem__, store.keys()), strict=True))
        notes = {f"_{name}": int(values.pop(name, 0)) for name in self._notes}
        super().load_own_variables(self._with_p_values(values))
        for name, value in notes.items():
            setattr(self, name, value)

    def _with_p_values(self, values: dict[str, Any]) -> dict[str, Any]:
        """Saved weights by their places, with those of p-values as they are before `calibrate`."""
        lacking = list(map(str, self._places_since_p_values))
        whole = self._own_values()
        if values.keys() != set(map(str, range(len(whole) - len(lacking)))):
            return values
        self.forget_calibration()
        # They stand amid the others where a subclass has created weights after this class.
        places = (place for place in whole if place not in lacking)
        found = dict(zip(places, (values[str(n)] for n in range(len(values))), strict=True))
        return found | {place: whole[place] for place in lacking}

    def _own_values(self) -> dict[str, Any]:
        """The weights beside the classifier's by their places in a file, in order."""
        values: dict[str, Any] = {}
        super().save_own_variables(values)
        return values

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: dict[str, object] | None = None
    ) -> Any:
        """Makes a detector from `get_config`'s value."""
        # Files from before the range had an origin hold one that somebody chose.
        return super().from_config({"input_range_origin": GIVEN, **config}, custom_objects)


def check_promise(tpr: float, confidence: float | None) -> None:
    """Raises ValueError for a promise that no threshold can keep, see `Detector.calibrate`."""
    if not isinstance(tpr, Real) or not 0.0 < tpr < 1.0:
        raise ValueError(
            f"`tpr` must be a fraction strictly between 0 and 1. Received: tpr={tpr!r}"
        )
    if confidence is not None:
        checked_confidence(confidence)


_OUTPUTS = ("logits", "score", "is_ood", "p_value")


def _in_order(outputs: Mapping[str, _Value]) -> OrderedDict[str, _Value]:
    """The outputs in the order of their numbers in the file of a model that holds a detector.

    A plain dictionary is numbered by its sorted names, and "p_value" among them would give "score"
    the number that files from before it have for nothing.
    """
    return OrderedDict((name, outputs[name]) for name in ("is_ood", "logits", "score", "p_value"))


def _checked_class_names(names: Sequence[str] | None, num_classes: int) -> tuple[str, ...] | None:
    if names is None:
        return None
    # A text would be as many names as it has letters.
    is_list = isinstance(names, Iterable) and not isinstance(names, (str, bytes))
    listed = tuple(names) if is_list else ()
    if len(listed) != num_classes or not all(isinstance(name, str) for name in listed):
        raise ValueError(
            f"`class_names` must name each of the classifier's {num_classes} classes, a list of "
            f"texts. Received: class_names={names!r:.200}"
        )
    return tuple(str(name) for name in listed)
