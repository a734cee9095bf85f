"""ODIN: temperature scaling and a small step that raises the winning probability."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_lodin.data.label_places import LabelPlaces
from keras_lodin.data.value_range import InputRange
from keras_lodin.detectors import odin_tuning
from keras_lodin.detectors.detector import Detector
from keras_lodin.detectors.odin_score import (
    DEFAULT_EPSILON,
    DEFAULT_TEMPERATURE,
    tempered_score,
    winning_cotangent,
)
from keras_lodin.detectors.registry import DETECTORS
from keras_lodin.detectors.settings import checked_epsilon, checked_numbers, checked_temperature
from keras_lodin.detectors.tuning import Tuning
from keras_lodin.gradients import ForwardPass
from keras_lodin.models.input_range import GivenRange
from keras_lodin.utils.numbers import shortest_float
from keras_lodin.utils.tensor import Tensor

_WEIGHTS_OF_OLD_FILES = ("temperature", "epsilon", "threshold", "tpr")


@DETECTORS.register(
    "odin",
    description="the tempered softmax of an input moved along its gradient (Liang et al. 2018)",
    position=4,
)
@keras.saving.register_keras_serializable(package="keras_lodin")
class ODINDetector(Detector):
    """Scores by the tempered softmax after a step on the input (Liang, Li & Srikant 2018).

        x~    = x + epsilon * (hi - lo) * sign(d log S_yhat(x; T) / dx) / channel_std
        score = log(classes * max_i S_i(x~; T)),        S(x; T) = softmax(f(x) / T)

    The step raises the winning probability, more so on in-distribution inputs. The score is 0 for
    a uniform softmax, at most `log(classes)`, and higher = more in-distribution; it ranks as
    `max_i S_i` does, which float32 cannot tell apart at T = 1000.

    It costs three passes of the classifier: forward, backward to the input, forward.

    Args:
        classifier: see `Detector`.
        temperature: T, positive. The paper's 1000 by default.
        epsilon: size of the step as a fraction of the input range, not negative. 0 for no step.
        input_range: `(lo, hi)`, the range of the classifier's input values, e.g. `(0, 255)` for a
            classifier that takes pixels and rescales them itself. The step is in these units.
            Inputs are not clipped to it. `calibrate` and `tune` refuse inputs outside it. Of
            features with different units, two arrays with one number for each feature. None for
            what the classifier's first layers show, or else the data of `tune` and `calibrate`;
            see `input_range_origin`.
        channel_std: None, or one positive number per channel (the last axis) that divides the
            step, for a classifier that takes standardised inputs, `(x - mean) / channel_std`.
            `input_range` is then the range of x, and the step is `epsilon` of that, as in the
            original code.
        **kwargs: see `Detector`.

    Raises:
        ValueError: for a temperature that is not positive, a negative epsilon, an input range that
            is none, a `channel_std` that does not fit the channels, and as `Detector` does.

    Example:
    ```python
    detector = keras_lodin.ODINDetector(classifier, input_range=(0, 255))
    detector.tune(id_images)
    detector.calibrate(id_images, tpr=0.95)
    detector.predict(images)["is_ood"]
    ```
    """

    tunable = True
    _notes = (*Detector._notes, "tuned")
    _tuned = 0

    def __init__(
        self,
        classifier: keras.Model,
        temperature: float = DEFAULT_TEMPERATURE,
        epsilon: float = DEFAULT_EPSILON,
        input_range: GivenRange | None = None,
        channel_std: Sequence[float] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(classifier, input_range=input_range, **kwargs)
        self.check_differentiable()
        channels = self.input_shape_with_batch[-1]
        self.channel_std = checked_numbers(
            "channel_std",
            channel_std,
            lambda values: (
                len(values) in (1, channels) and all(0.0 < value < math.inf for value in values)
            ),
            f"hold one positive number for each of {channels} channels",
        )
        self._within_range = self.channel_std is None
        self.temperature = temperature
        self.epsilon = epsilon

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates temperature and epsilon."""
        # Weights, not attributes: a compiled or composed graph follows when `tune` moves them.
        self._temperature = self.add_weight(name="temperature", shape=(), trainable=False)
        self._epsilon = self.add_weight(name="epsilon", shape=(), trainable=False)
        super().build(input_shape)
        # Of vectors one for each feature: `tune` may read them off the data.
        low, high = self.input_range
        features = input_shape[1:] if len(input_shape) == 2 else ()
        shape = np.broadcast_shapes(np.shape(high), [size or 1 for size in features])
        self._input_width = self.add_weight(name="input_width", shape=shape, trainable=False)
        self._input_width.assign(np.broadcast_to(high - low, shape))

    def load_own_variables(self, store: Any) -> None:
        """Loads settings and threshold; a file from before the width was a weight lacks it."""
        values = dict(zip(store.keys(), map(store.__getitem__, store.keys()), strict=True))
        if sum(map(str.isdigit, values)) == len(_WEIGHTS_OF_OLD_FILES):
            # The width that there is is that of the file's own configuration.
            values[str(len(_WEIGHTS_OF_OLD_FILES))] = ops.convert_to_numpy(self._input_width)
        super().load_own_variables(values)

    def _set_input_range(self, input_range: InputRange) -> None:
        low, high = input_range.bounds
        try:
            width = np.broadcast_to(high - low, self._input_width.shape)
        except ValueError:
            raise ValueError(
                "A range of another shape needs another detector: construct one with it. "
                f"Received: input_range of arrays of shape {np.shape(high)}"
            ) from None
        super()._set_input_range(input_range)
        self._input_width.assign(width)

    def settle_input_range(self, data: object, batch_size: int = 128) -> None:
        """See `Detector.settle_input_range`. With `channel_std` data do not show the range."""
        if self.channel_std is None:
            super().settle_input_range(data, batch_size)

    @property
    def temperature(self) -> float:
        """T, which divides the logits. Setting it forgets threshold and p-values."""
        return shortest_float(self._temperature)

    @temperature.setter
    def temperature(self, value: float) -> None:
        self._temperature.assign(checked_temperature(value))
        self._tuned = 0
        self.forget_calibration()

    @property
    def epsilon(self) -> float:
        """Size of the step as a fraction of the input range. Setting it forgets threshold and
        p-values.
        """
        return shortest_float(self._epsilon)

    @epsilon.setter
    def epsilon(self, value: float) -> None:
        self._epsilon.assign(checked_epsilon(value))
        self._tuned = 0
        self.forget_calibration()

    @property
    def tuned(self) -> bool:
        """Whether `tune` chose temperature and epsilon; False once one is set by hand."""
        return bool(self._tuned)

    def with_defaults(self) -> Detector | None:
        """A detector that differs by ODIN's default temperature and epsilon alone.

        Returns:
            the detector, with the same classifier and without a threshold; None where this one
            has ODIN's defaults.
        """
        defaults = {"temperature": DEFAULT_TEMPERATURE, "epsilon": DEFAULT_EPSILON}
        if (self.temperature, self.epsilon) == tuple(defaults.values()):
            return None
        return self.with_settings(**defaults)

    @property
    def settings(self) -> dict[str, Any]:
        """Temperature and epsilon."""
        return {"temperature": self.temperature, "epsilon": self.epsilon}

    @property
    def cost_in_passes(self) -> float:
        """Three with a step: forward, backward to the input, forward."""
        return 3.0 if self.epsilon > 0.0 else 1.0

    def score(self, forward_pass: ForwardPass) -> Tensor:
        """`log(classes * max_i S_i(x~; T))`: float32, `(batch,)`."""
        perturbed = self.perturb(forward_pass)
        return tempered_score(forward_pass.logits_at(perturbed), self._temperature)

    def perturb(self, forward_pass: ForwardPass) -> Tensor:
        """The inputs after the step, x~, of the inputs' shape and dtype.

        Args:
            forward_pass: of the classifier, over a batch.
        """
        return self.step(
            forward_pass.inputs, self.step_direction(forward_pass, self._temperature), self._epsilon
        )

    def step_direction(self, forward_pass: ForwardPass, temperature: Tensor) -> Tensor:
        """The sign of d log S_yhat(x; T) / dx: float32 of the inputs' shape, -1, 0 or 1 each.

        Args:
            forward_pass: of the classifier, over a batch.
            temperature: T, positive.
        """
        return ops.sign(
            forward_pass.input_gradient(winning_cotangent(forward_pass.logits, temperature))
        )

    def step(self, inputs: Tensor, direction: Tensor, epsilon: Tensor) -> Tensor:
        """The inputs moved by `epsilon` of the input range along a direction of signs.

        Args:
            inputs: tensor of shape `(batch, ...)`.
            direction: float32 tensor of the same shape, what `step_direction` gives.
            epsilon: a fraction of the input range.

        Returns:
            tensor of the inputs' shape and dtype, not clipped to the range.
        """
        size = epsilon * self._input_width
        if self.channel_std is not None:
            size = size / ops.convert_to_tensor(self.channel_std, dtype="float32")
        return inputs + ops.cast(size * direction, inputs.dtype)

    def tune(
        self,
        id_data: object,
        ood_data: object = None,
        temperatures: Sequence[float] = odin_tuning.TEMPERATURES,
        epsilons: Sequence[float] = odin_tuning.EPSILONS,
        batch_size: int = 128,
        verbose: int | str = "auto",
    ) -> Tuning:
        """Chooses temperature and epsilon, from in-distribution data alone.

        Taken is the temperature that, without a step, has the largest AUROC of the data against a
        contrast, and then the epsilon that has at that temperature. The contrast is `ood_data`, or
        data made of the given ones, of three kinds: images whose sixteen blocks changed places,
        images that show a part of one, mirrored over the whole, and smooth noise; vectors whose
        features were shuffled among the samples, or drawn anew. The AUROC is then the mean over
        the kinds. Scores that differ by rounding count as tied;
        among candidates that are tied (AUROCs within 1e-6) the temperature closest to ODIN's 1000
        is taken, and the epsilon of 0.0014 or else the smallest. Forgets the threshold:
        `calibrate` comes after.

        How sure the choice is stands in the `Tuning` that is returned: the margin over ODIN's
        defaults and over the runner-up, with intervals.

        Args:
            id_data: in-distribution inputs that were not trained on and will not be tested on,
                in any form that `calibrate` takes. Labels are not used.
            ood_data: None, or a validation set of out-of-distribution inputs, which then decides.
                Never give the set that you will report on.
            temperatures: candidates for T.
            epsilons: candidates for epsilon.
            batch_size: samples per batch, for data that is not batched already.
            verbose: 0 for silence, 1 for a progress bar, "auto" for one on a terminal.

        Returns:
            a `Tuning`: what was chosen, by which margin, and every candidate's figures.

        Raises:
            ValueError: as `calibrate` does; for no or unusable candidates; for scores that are not
                finite.

        Warns:
            UserWarning: where fewer than 20 samples decide, where the candidates, or the choice
                and ODIN's defaults, cannot be told apart, and where the choice is the last of its
                list.

        Example:
        ```python
        tuning = detector.tune(id_images)
        tuning.candidates[0]    # {"temperature": 1.0, "epsilon": 0.0, "auroc": ..., ...}
        tuning.over_defaults.interval    # (-0.004, 0.011): they might be as good
        ```
        """
        # Data of classes by other names are other data.
        LabelPlaces(self.num_classes, self.class_names, id_data)
        self.settle_input_range(id_data, batch_size)
        tuning = odin_tuning.tune(
            self, id_data, ood_data, temperatures, epsilons, batch_size, verbose
        )
        self.temperature = tuning.temperature
        self.epsilon = tuning.epsilon
        self._tuned = 1
        for text in tuning.doubts:
            warnings.warn(text, stacklevel=2)
        return tuning

    def check_inputs(self, inputs: Tensor) -> None:
        """Raises ValueError for inputs of a wrong shape, not finite, or outside `input_range`.

        Values outside `input_range` mean that epsilon is a different fraction of the truth than
        its number says. Ranges of each feature's own are not checked. Values that fill only a
        small part of the range show over a whole pass: `calibrate` and `tune` warn of them.
        """
        super().check_inputs(inputs)
        if self.channel_std is not None:
            self._check_spread(ops.convert_to_numpy(inputs))

    def _check_spread(self, inputs: np.ndarray) -> None:
        """Raises ValueError for standardised inputs, `(x - mean) / std`, of too wide an x."""
        axes = tuple(range(inputs.ndim - 1))
        spread = (inputs.max(axis=axes) - inputs.min(axis=axes)) * np.array(self.channel_std)
        low, high = self.input_range
        if np.max(spread) > np.max(high - low) * (1.0 + 1e-3):
            raise ValueError(
                f"Inputs times `channel_std` must not spread wider than the detector's "
                f"input_range, {self._input_range}: with `channel_std`, the classifier takes "
                "(x - mean) / channel_std of an x in this range, and epsilon is a fraction of it. "
                f"Received: values times `channel_std` that spread over {spread.max():g}"
            )

    def get_config(self) -> dict[str, Any]:
        """What makes this detector again, with its classifier inside."""
        return {
            **super().get_config(),
            "temperature": self.temperature,
            "epsilon": self.epsilon,
            "channel_std": self.channel_std,
        }
