"""What detectors share whose statistics are of features, logits and labels."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from keras_lodin.data.batches import described
from keras_lodin.data.label_places import LabelPlaces
from keras_lodin.detectors.adaptive_detector import AdaptiveDetector
from keras_lodin.detectors.detector import Detector
from keras_lodin.models.features import FeatureLayers
from keras_lodin.utils.tensor import Tensor


class StatisticsDetector(AdaptiveDetector):
    """Base class of detectors whose statistics are of features, logits and labels.

    A subclass says what is counted in `new_statistics` and `observe`, and makes its weights of it
    in `adapt_from`. So several detectors share one pass over the training data (`adapt_together`),
    and statistics of parts of the data, counted apart, are merged before `adapt_from`.
    """

    # Whether `observe` needs true labels; predicted ones will do otherwise.
    needs_labels = True

    @abc.abstractmethod
    def new_statistics(self) -> dict[str, Any]:
        """Statistics of no sample, each with a `merge(other)`, by names of the detector's own."""

    @abc.abstractmethod
    def observe(
        self,
        statistics: Mapping[str, Any],
        features: Sequence[np.ndarray],
        logits: np.ndarray,
        labels: np.ndarray,
    ) -> None:
        """Takes a batch into statistics.

        Args:
            statistics: what `new_statistics` gave.
            features: a float32 array `(batch, size)` for each of `feature_layers`; none where these
                are None.
            logits: float32, `(batch, classes)`.
            labels: places of the classes among the logits, integers `(batch,)`. Of data without
                labels, where `needs_labels` is False, the predicted classes.
        """

    @abc.abstractmethod
    def assign_statistics(self, statistics: Mapping[str, Any]) -> None:
        """Makes the detector's weights of statistics; raises ValueError, before, if it cannot."""

    def adapt_from(self, statistics: Mapping[str, Any]) -> None:
        """Takes statistics that were counted elsewhere, merged perhaps, in the place of `adapt`.

        Args:
            statistics: what `new_statistics` gave, after `observe` and `merge`.

        Raises:
            ValueError: for statistics of too few samples. Those there were before stay.
        """
        self.assign_statistics(statistics)
        self._now_adapted()

    def _adapt(self, data: object, batch_size: int, verbose: int | str) -> None:
        (statistics,) = observed_together([self], data, batch_size, verbose)
        self.assign_statistics(statistics)


def observed_together(
    detectors: Sequence[StatisticsDetector],
    data: object,
    batch_size: int,
    verbose: int | str,
) -> list[dict[str, Any]]:
    """The statistics of each of several detectors of one classifier, in one pass over data.

    Args:
        detectors: one or more; left as they are. Each takes its own by `adapt_from`.
        data: see `AdaptiveDetector.adapt`, as for the others.
        batch_size: samples per batch, for data that is not batched already.
        verbose: 0 for silence, 1 for progress bars, "auto" for them on a terminal.

    Raises:
        ValueError: as `adapt` does for data.
    """
    function, numbers = _with_features(detectors)
    places = [LabelPlaces(one.num_classes, one.class_names, data) for one in detectors]
    found = [detector.new_statistics() for detector in detectors]
    for detector in detectors:
        detector.settle_input_range(data, batch_size)

    def check(inputs: object) -> None:
        for detector in detectors:
            detector.check_before_adapting(inputs)

    task = "Computing class statistics"
    for batch in detectors[0]._passed(function, data, task, batch_size, verbose, check):
        *features, logits = batch.outputs
        for detector, own, place, statistics in zip(detectors, numbers, places, found, strict=True):
            if batch.labels is None and detector.needs_labels:
                raise ValueError(
                    "Class means need labels: call `adapt(x, y)`, or give data that yields "
                    f"(x, y). Received: {described(data)}, without labels"
                )
            labels = logits.argmax(-1) if batch.labels is None else place(batch.labels)
            detector.observe(statistics, [features[number] for number in own], logits, labels)
    return found


def _with_features(
    detectors: Sequence[StatisticsDetector],
) -> tuple[Callable[[Tensor], list[Tensor]], list[list[int]]]:
    """What gives all features that are needed and then the logits; which are each detector's."""
    wanted = [detector.feature_layers for detector in detectors]
    read = [layers for layers in wanted if layers is not None]
    if not read:
        return lambda inputs: [detectors[0].logits_function(inputs)], [[] for _ in wanted]
    joined = FeatureLayers.joined(read)
    return joined, [[] if layers is None else joined.numbers_of(layers) for layers in wanted]


def adapt_together(
    detectors: Sequence[AdaptiveDetector],
    x: object,
    y: object = None,
    *,
    batch_size: int = 128,
    verbose: int | str = "auto",
) -> None:
    """Gives several detectors their statistics, in one pass per classifier where they allow it.

    Args:
        detectors: detectors with an `adapt`.
        x: see `AdaptiveDetector.adapt`, as for the others.
        y: labels, when `x` is an array.
        batch_size: samples per batch, for data that is not batched already.
        verbose: 0 for silence, 1 for progress bars, "auto" for them on a terminal.

    Raises:
        ValueError: as `adapt` does, and for a detector that has none.
    """
    for detector in detectors:
        if not isinstance(detector, AdaptiveDetector):
            raise ValueError(
                "`detectors` must be such that need statistics (`needs_statistics`). "
                f"Received: {detector.name!r}, a {type(detector).__name__}"
            )
    data = x if y is None else (x, y)
    groups: dict[int, list[StatisticsDetector]] = {}
    for detector in detectors:
        if isinstance(detector, StatisticsDetector):
            groups.setdefault(id(detector.classifier), []).append(detector)
        else:
            detector.adapt(data, batch_size=batch_size, verbose=verbose)
    for group in groups.values():
        found = observed_together(group, data, batch_size, verbose)
        for detector, statistics in zip(group, found, strict=True):
            detector.adapt_from(statistics)


def adapt_where_possible(
    detectors: Mapping[str, Detector], data: object, batch_size: int, verbose: int | str
) -> dict[str, ValueError]:
    """Gives their statistics to those that can take them of some data, in one pass where possible.

    Args:
        detectors: by name, around one classifier; those without statistics are left as they are.
        data: see `AdaptiveDetector.adapt`, as for the others.
        batch_size: samples per batch, for data that is not batched already.
        verbose: 0 for silence, 1 for progress bars, "auto" for them on a terminal.

    Returns:
        name -> why not, of the others.

    Raises:
        ValueError: for data that none of them could read.
    """
    refusals: dict[str, ValueError] = {}

    def attempt(name: str, adapt: Callable[[], None]) -> None:
        try:
            adapt()
        except ValueError as error:
            refusals[name] = error

    together = {n: one for n, one in detectors.items() if isinstance(one, StatisticsDetector)}
    if together:
        found = observed_together(list(together.values()), data, batch_size, verbose)
        for (name, detector), statistics in zip(together.items(), found, strict=True):
            attempt(name, partial(detector.adapt_from, statistics))
    for name, one in detectors.items():
        if isinstance(one, AdaptiveDetector) and name not in together:
            options: dict[str, Any] = {"batch_size": batch_size, "verbose": verbose}
            attempt(name, partial(one.adapt, data, **options))
    return refusals
