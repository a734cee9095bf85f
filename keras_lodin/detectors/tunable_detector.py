"""What detectors share whose score has hyper-parameters."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_lodin.detectors.detector import Detector
from keras_lodin.detectors.setting import Setting
from keras_lodin.utils.tensor import Tensor


class TunableDetector(Detector):
    """Base class of detectors whose score has hyper-parameters.

    A subclass declares each as a `Setting`, sets them in its constructor, and computes
    `score_with` from the values that it is given, so that the scores of many candidates are of one
    forward pass.
    """

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

    def settings_changed(self) -> None:
        """Forgets the threshold, and the graph that holds the old values."""
        self.predict_function = None
        self.threshold = -np.inf

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
