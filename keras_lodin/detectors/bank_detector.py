"""What detectors share that look for the nearest of a bank of training samples."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_lodin.detectors.head_detector import HeadDetector
from keras_lodin.detectors.setting import Setting
from keras_lodin.detectors.settings import checked_bank_size, checked_count
from keras_lodin.detectors.statistics.feature_bank import FeatureBank, filled_bank
from keras_lodin.detectors.statistics_detector import StatisticsDetector

# Below every similarity: of a place in the bank that holds no sample.
NO_SAMPLE = -1e30


class BankDetector(StatisticsDetector, HeadDetector):
    """Base class of detectors with a bank of training samples, of which the k nearest count.

    A subclass says in `rows_to_keep` what the bank holds, and reads it as `self._bank`,
    `(bank_size, size)`; `self._empty`, `(bank_size,)`, is added to similarities: 0, or `NO_SAMPLE`
    for a place that holds none.
    """

    in_every_evaluation = False
    needs_labels = False
    k = Setting(checked_count, candidates=(1, 2, 5, 10, 20, 50, 100))

    def __init__(
        self, classifier: keras.Model, k: int = 10, bank_size: int = 10_000, **kwargs: Any
    ) -> None:
        self.bank_size = checked_count("bank_size", bank_size)
        super().__init__(classifier, **kwargs)
        self.k = k

    @abc.abstractmethod
    def rows_to_keep(self, features: np.ndarray, logits: np.ndarray) -> np.ndarray:
        """What the bank keeps of samples: `(batch, size)`."""

    def build_statistics(self) -> None:
        """Creates the bank."""
        shape = checked_bank_size(self.bank_size, self.head.size)
        self._bank = self._add_state("bank", shape)
        self._empty = self._add_state("empty", (self.bank_size,))

    def new_statistics(self) -> dict[str, FeatureBank]:
        """An empty bank."""
        return {"bank": FeatureBank(self.bank_size, self.num_classes)}

    def observe(
        self,
        statistics: Mapping[str, FeatureBank],
        features: Sequence[np.ndarray],
        logits: np.ndarray,
        labels: np.ndarray,
    ) -> None:
        """Keeps samples, balanced by label, or by prediction where there are no labels."""
        statistics["bank"].update(self.rows_to_keep(features[0], logits), labels)

    def assign_statistics(self, statistics: Mapping[str, FeatureBank]) -> None:
        """Fills the bank."""
        values = statistics["bank"].values
        self._bank.assign(filled_bank(values, self.bank_size, self.k))
        self._empty.assign(np.where(np.arange(self.bank_size) < len(values), 0.0, NO_SAMPLE))

    def get_config(self) -> dict[str, Any]:
        """What makes this detector again, with its classifier inside."""
        return {**super().get_config(), "bank_size": self.bank_size}
