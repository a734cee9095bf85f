"""MOOD: easy images leave a network early, and are judged where they leave."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from itertools import pairwise
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_lodin.data.complexity import check_image_shape, png_sizes
from keras_lodin.detectors.adaptive_detector import AdaptiveDetector
from keras_lodin.detectors.detector import Detector
from keras_lodin.detectors.exit_pass import ExitPass
from keras_lodin.detectors.registry import DETECTORS
from keras_lodin.detectors.settings import checked_numbers, checked_temperature
from keras_lodin.gradients import backend
from keras_lodin.models.classifier_head import ClassifierHead
from keras_lodin.models.exits import ExitStages
from keras_lodin.models.head import find_exits, has_exits
from keras_lodin.models.input_range import GivenRange
from keras_lodin.utils.tensor import Tensor

# Bytes of a PNG file: the bins of the paper, for five exits and images of 32 x 32 pixels.
PUBLISHED_BOUNDARIES = (540.0, 1080.0, 1620.0, 2160.0)


@DETECTORS.register(
    "mood",
    description="the energy at the exit that an image's complexity chooses (Lin et al. 2021)",
    position=6,
)
@keras.saving.register_keras_serializable(package="keras_lodin")
class MOODDetector(AdaptiveDetector):
    """Scores at an exit that the image's complexity chooses (Lin, Roy & Li 2021).

        exit  i = number of boundaries below the image's size as a PNG file, in bytes
        score   = T * logsumexp(f_i / T) - mean of that over in-distribution data at exit i

    Higher = more in-distribution; 0 is the mean of in-distribution data at every exit. Simple
    images leave early, and what only later exits need is not computed for them. The logits, and
    so the class, are those of the image's exit.

    `adapt` measures the means, over all of the data at every exit. The published code takes them
    from the data that it tests on; here they come from training or calibration data.

    An exported file takes the complexity as a second input, named `complexity` (float32,
    `(batch,)`, bytes), as ONNX has no PNG compression; `keras_lodin.data.complexity` says how to
    compute it elsewhere.

    Args:
        classifier: a functional `keras.Model` on images with several outputs, the LOGITS of its
            exits, the earliest first; e.g. `keras_lodin.models.MSDNet()`. It is not changed.
        boundaries: sizes in bytes, rising, one less than there are exits. The paper's, for five
            exits and 32 x 32 pixels, by default. None to have `adapt` choose them so that equal
            shares of its data leave at every exit, for which it keeps one number an image.
        temperature: T, positive.
        input_range: `(lo, hi)`, the range of the classifier's input values: what becomes black and
            white in the PNG file. None for what the classifier's first layers show, or else the
            data of `adapt`.
        **kwargs: see `Detector`.

    Raises:
        ValueError: for a classifier without exits, inputs that are no images, or boundaries that
            do not fit.

    Example:
    ```python
    detector = keras_lodin.MOODDetector(keras_lodin.models.load("msdnet.keras"))
    detector.adapt(id_images)
    detector.calibrate(other_id_images, tpr=0.95)
    detector.predict(images)["is_ood"]
    ```
    """

    side_inputs = ("complexity",)
    takes_exits = True
    _within_range = True

    def __init__(
        self,
        classifier: keras.Model,
        boundaries: Sequence[float] | None = PUBLISHED_BOUNDARIES,
        temperature: float = 1.0,
        input_range: GivenRange | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(classifier, input_range=input_range, **kwargs)
        check_image_shape(self.input_shape_with_batch[1:])
        self.boundaries_given = checked_numbers(
            "boundaries",
            boundaries,
            lambda sizes: (
                len(sizes) == self.num_exits - 1
                and all(low < high for low, high in pairwise((0.0, *sizes, np.inf)))
            ),
            f"be {self.num_exits - 1} rising sizes in bytes for the classifier's {self.num_exits} "
            "exits, or None to have `adapt` choose them",
        )
        self._temperature = checked_temperature(temperature)
        if self._input_range.per_feature:
            raise ValueError(
                "MOOD makes pictures of its inputs, all of one range: pass two numbers. "
                f"Received: input_range={input_range!r:.200}"
            )
        if self.boundaries_given is not None:
            self._boundaries.assign(self.boundaries_given)
        self._stages = ExitStages(self.classifier)

    @classmethod
    def suited_to(cls, classifier: keras.Model, **options: Any) -> Detector:
        """See `Detector.suited_to`; the paper's boundaries only for what they were made for."""
        if has_exits(classifier):
            small = tuple(classifier.input_shape[1:3]) == (32, 32)
            fits = small and len(classifier.outputs) == len(PUBLISHED_BOUNDARIES) + 1
            options.setdefault("boundaries", PUBLISHED_BOUNDARIES if fits else None)
        return cls(classifier, **options)

    def _find_head(self, classifier: keras.Model, from_logits: bool | None) -> ClassifierHead:
        return find_exits(classifier, from_logits)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates boundaries and mean energies."""
        self.num_exits = len(self.classifier.outputs)
        self._boundaries = self._add_state("boundaries", (self.num_exits - 1,))
        self._mean_energies = self._add_state("mean_energies", (self.num_exits,))
        super().build(input_shape)

    @property
    def temperature(self) -> float:
        """T. Fixed: a compiled `predict` would not see a change."""
        return self._temperature

    @property
    def boundaries(self) -> tuple[float, ...]:
        """The sizes in bytes between the exits."""
        return tuple(float(value) for value in backend.eager_value(self._boundaries))

    @property
    def mean_energies(self) -> np.ndarray:
        """`T * logsumexp(f_i / T)`, its mean over in-distribution data: float32, `(exits,)`."""
        return backend.eager_value(self._mean_energies)

    def side_values(self, inputs: Tensor) -> dict[str, Tensor]:
        """The size of each image as a PNG file."""
        return {"complexity": png_sizes(inputs, self.input_range)}

    def example_side_values(self, count: int) -> dict[str, np.ndarray]:
        """Sizes that send images to every exit in turn."""
        ends = np.array([0.0, *self.boundaries])
        sizes = [*(ends[:-1] + ends[1:]) / 2.0, 2.0 * ends[-1]]
        return {"complexity": np.resize(sizes, count).astype("float32")}

    def exit_of(self, complexity: Tensor) -> Tensor:
        """The number of the exit for each complexity: int32, `(batch,)`, 0 the earliest."""
        above = ops.greater(complexity[:, None], self._boundaries[None])
        return ops.sum(ops.cast(above, "int32"), axis=-1)

    @property
    def pass_key(self) -> Hashable:
        """No other detector lets the same images out at the same exits."""
        return id(self)

    def forward_pass(self, inputs: Tensor, **side_values: Tensor) -> ExitPass:
        """One pass in which every image leaves at its own exit."""
        self._check_adapted()
        return ExitPass(self._stages, inputs, self.exit_of(side_values["complexity"]))

    def score(self, forward_pass: ExitPass) -> Tensor:
        """The adjusted energy at each image's exit: float32, `(batch,)`."""
        means = ops.take(self._mean_energies, forward_pass.exits)
        return self._energy(forward_pass.logits) - means

    def _energy(self, logits: Tensor) -> Tensor:
        return self.temperature * ops.logsumexp(logits / self.temperature, axis=-1)

    def _adapt(self, data: object, batch_size: int, verbose: int | str) -> None:
        def measure(inputs: Tensor) -> dict[str, Tensor]:
            energies = [
                self._energy(ops.cast(logits, "float32")) for logits in self.logits_function(inputs)
            ]
            return {"energies": ops.stack(energies, axis=-1), **self.side_values(inputs)}

        total, count, sizes = np.zeros(self.num_exits), 0, []
        check = self.check_before_adapting
        for batch in self._passed(measure, data, "Measuring energies", batch_size, verbose, check):
            total += batch.outputs["energies"].sum(axis=0, dtype="float64")
            count += len(batch.inputs)
            if self.boundaries_given is None:
                sizes.append(batch.outputs["complexity"])
        if self.boundaries_given is None:
            shares = np.arange(1, self.num_exits) / self.num_exits
            self._boundaries.assign(np.quantile(np.concatenate(sizes), shares))
        self._mean_energies.assign(total / count)

    def get_config(self) -> dict[str, Any]:
        """What makes this detector again, with its classifier inside."""
        return {
            **super().get_config(),
            "boundaries": self.boundaries_given and list(self.boundaries_given),
            "temperature": self.temperature,
        }
