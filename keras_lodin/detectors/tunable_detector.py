"""What detectors share whose score has hyper-parameters."""

from __future__ import annotations

import abc
import inspect
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from keras import ops

from keras_lodin.data.label_places import LabelPlaces
from keras_lodin.detectors.detector import Detector
from keras_lodin.detectors.setting import Setting
from keras_lodin.detectors.settings_tuning import chosen_together, settings_grid
from keras_lodin.detectors.shared_passes import shared_passes
from keras_lodin.detectors.tuning import Tuning
from keras_lodin.utils.tensor import Tensor


class TunableDetector(Detector):
    """Base class of detectors whose score has hyper-parameters.

    A subclass declares each as a `Setting`, sets them in its constructor, and computes
    `score_with` from the values that it is given, so that the scores of many candidates are of one
    forward pass.
    """

    _notes = (*Detector._notes, "tuned")
    _tuned = 0

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.tunable = bool(cls.declared_settings())

    @classmethod
    def declared_settings(cls) -> dict[str, Setting]:
        """The hyper-parameters by name."""
        return {
            name: value
            for one in reversed(cls.__mro__)
            for name, value in vars(one).items()
            if isinstance(value, Setting)
        }

    @property
    def settings(self) -> dict[str, Any]:
        """The values of all hyper-parameters."""
        return {name: getattr(self, name) for name in self.declared_settings()}

    def default_settings(self) -> dict[str, Any]:
        """The values that the constructor gives hyper-parameters which are left out."""
        parameters = inspect.signature(type(self).__init__).parameters
        return {
            name: setting.check(name, parameters[name].default)
            for name, setting in self.declared_settings().items()
        }

    def check_setting(self, name: str, value: Any) -> None:
        """Raises ValueError for a value that its `Setting` takes and this classifier does not."""

    def settings_changed(self) -> None:
        """Forgets the threshold, and the graph that holds the old values."""
        self.predict_function = None
        self._tuned = 0
        self.forget_calibration()

    @property
    def tuned(self) -> bool:
        """Whether `tune` chose the hyper-parameters; False once one is set by hand."""
        return bool(self._tuned)

    def with_defaults(self) -> Detector | None:
        """A detector that differs by default hyper-parameters alone; None where this one has them.

        It has this one's statistics, and no threshold.
        """
        defaults = self.default_settings()
        if self.settings == defaults:
            return None
        other = self.with_settings(**defaults)
        other.set_weights(self.get_weights())
        other.forget_calibration()
        return other

    def tune(
        self,
        id_data: object,
        ood_data: object = None,
        candidates: Mapping[str, Sequence[Any]] | None = None,
        batch_size: int = 128,
        verbose: int | str = "auto",
    ) -> Tuning:
        """Chooses the hyper-parameters, from in-distribution data alone.

        Every combination of candidates is scored, in one forward pass, on the data and on a
        contrast: `ood_data`, or data made of the given ones that do not show their classes, of
        three kinds (`ODINDetector.tune`). The one with the largest AUROC, the mean over the kinds,
        is taken; where they are tied, the defaults are. Forgets threshold and p-values:
        `calibrate` comes after.

        Args:
            id_data: in-distribution inputs that were not trained on and will not be tested on, in
                any form that `calibrate` takes. Labels are not used.
            ood_data: None, or a validation set of out-of-distribution inputs, which then decides.
                Never give the set that you will report on.
            candidates: values to try, by name of the setting; None for those that
                `declared_settings` has.
            batch_size: samples per batch, for data that is not batched already.
            verbose: 0 for silence, 1 for a progress bar, "auto" for one on a terminal.

        Returns:
            a `Tuning`: what was chosen, by which margin, and every candidate's figures.

        Raises:
            ValueError: as `calibrate` does; for unusable candidates; for scores that are not
                finite.

        Warns:
            UserWarning: where fewer than 20 samples decide.
        """
        (tuning,) = tune_together([self], id_data, ood_data, candidates, batch_size, verbose)
        for text in tuning.doubts:
            warnings.warn(text, stacklevel=2)
        return tuning

    @abc.abstractmethod
    def score_with(self, forward_pass: Any, settings: Mapping[str, Any]) -> Tensor:
        """The scores with some values of the hyper-parameters: float32, `(batch,)`.

        Args:
            forward_pass: as of `score`.
            settings: a value for each hyper-parameter.
        """

    def score(self, forward_pass: Any) -> Tensor:
        """The score with the detector's own hyper-parameters: float32, `(batch,)`."""
        return self.score_with(forward_pass, self.settings)

    def get_config(self) -> dict[str, Any]:
        """What makes this detector again, with its classifier inside."""
        return {**super().get_config(), **self.settings}


def tune_together(
    detectors: Sequence[TunableDetector],
    id_data: object,
    ood_data: object,
    candidates: Mapping[str, Sequence[Any]] | None,
    batch_size: int,
    verbose: int | str,
) -> list[Tuning]:
    """Chooses the hyper-parameters of several detectors of one classifier, in one pass over data.

    Args:
        detectors: one or more.
        id_data: see `TunableDetector.tune`, as for the others.
        ood_data: None, or a validation set of out-of-distribution inputs.
        candidates: values to try, by setting, of a single detector; None for the declared ones.
        batch_size: samples per batch, for data that is not batched already.
        verbose: 0 for silence, 1 for a progress bar, "auto" for one on a terminal.

    Returns:
        a `Tuning` for each detector; its doubts are for the caller to tell.

    Raises:
        ValueError: as `TunableDetector.tune`.
    """
    for detector in detectors:
        # Data of classes by other names are other data.
        LabelPlaces(detector.num_classes, detector.class_names, id_data)
        detector.settle_input_range(id_data, batch_size)
    defaults = [detector.default_settings() for detector in detectors]
    tried = [
        settings_grid(detector.declared_settings(), candidates, own)
        for detector, own in zip(detectors, defaults, strict=True)
    ]

    def scores(inputs: Tensor) -> list[Tensor]:
        passes = shared_passes(detectors, inputs)
        return [
            ops.stack([detector.score_with(one, settings) for settings in grid], axis=-1)
            for detector, one, grid in zip(detectors, passes, tried, strict=True)
        ]

    found = chosen_together(
        *(detectors, scores, tried, defaults, id_data, ood_data, batch_size, verbose)
    )
    for detector, tuning in zip(detectors, found, strict=True):
        for name, value in tuning.settings.items():
            setattr(detector, name, value)
        detector._tuned = 1
    return found
