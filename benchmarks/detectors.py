"""Every detector on two trained networks: as published, tuned on ID data alone, in hindsight.

    python benchmarks/detectors.py --data ../shared/data

Writes docs/results/detectors.csv after each detector, and goes on where it was stopped; features
are stored in `--cache`. `python benchmarks/tables.py` draws docs/detectors.md from it.

Of CIFAR-10 the statistics are of 10,000 training images; 1,000 test images choose settings, and
4,000 others are evaluated. Of ImageNet there are 911 images and no training data: 455 of them have
the statistics and choose, the other 456 are evaluated, so that what needs a mean or a covariance
for each of 1,000 classes is left out. Detectors of the last layer run on stored features, those
that step on the input on fewer images.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
from csv_rows import read_csv, write_csv

import keras_lodin
from keras_lodin import metrics
from keras_lodin.data.contrasts import CONTRASTS
from keras_lodin.detectors import DETECTORS
from keras_lodin.detectors.adaptive_detector import AdaptiveDetector
from keras_lodin.detectors.settings_tuning import settings_grid
from keras_lodin.detectors.tunable_detector import TunableDetector
from keras_lodin.detectors.tuning import in_words
from keras_lodin.metrics.figures import bootstrap_intervals
from keras_lodin.models import compute_features, head_classifier
from keras_lodin.utils.files import atomic_write

RESULTS = Path(__file__).parents[1] / "docs" / "results" / "detectors.csv"
COLUMNS = (
    *("network", "detector", "kind", "settings", "ood", "id_count", "ood_count"),
    *("auroc", "auroc_low", "auroc_high", "fpr95", "passes", "bytes", "error"),
)


class Network(NamedTuple):
    """A trained network and its data: specifications of TensorFlow datasets with slices."""

    file: str
    size: int
    train: str
    choosing: str
    test: str
    ood: tuple[str, ...]
    stepping: int
    batch: int


NETWORKS = {
    "cifar10_resnet20": Network(
        "cifar10_resnet20.keras",
        32,
        "cifar10_jpeg75:train[:10000]",
        "cifar10_jpeg75:test[:1000]",
        "cifar10_jpeg75:test[1000:5000]",
        (
            "tiny_imagenet_jpeg75:test[:4000]",
            "dtd10_jpeg75:test",
            "mnist_jpeg75:test[:2000]",
            "fashion_mnist_jpeg75:test[:2000]",
        ),
        500,
        250,
    ),
    "imagenet_efficientnet_lite0": Network(
        "imagenet_efficientnet_lite0.keras",
        224,
        "imagenet_like_299:test[:455]",
        "imagenet_like_299:test[:455]",
        "imagenet_like_299:test[455:]",
        (
            "dtd10_jpeg75:test[:500]",
            "cifar10_jpeg75:test[:500]",
            "fashion_mnist_jpeg75:test[:300]",
        ),
        150,
        10,
    ),
}
# Which need statistics of each class, of which the ImageNet images have two or none.
BY_CLASS = {"mahalanobis", "rmds", "she", "openmax", "temperature_scaling", "kl_matching"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="../shared/data")
    parser.add_argument("--cache", type=Path, default=Path("detectors_cache"))
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--network", choices=NETWORKS, action="append")
    options = parser.parse_args()
    options.cache.mkdir(exist_ok=True)
    rows: list[dict[str, Any]] = [*read_csv(options.output)]
    for name in options.network or NETWORKS:
        case = Case(name, NETWORKS[name], options.data, options.cache)
        for detector in DETECTORS:
            if detector == "mood" or any(
                (row["network"], row["detector"]) == (name, detector) for row in rows
            ):
                continue
            rows += [dict.fromkeys(COLUMNS, "") | row for row in case.measured(detector)]
            write_csv(options.output, rows, COLUMNS)
            mine = [r for r in rows if (r["network"], r["detector"]) == (name, detector)]
            print(name, detector, *map(_short, mine), flush=True)


def _short(row: dict[str, Any]) -> str:
    return row["error"] or f"{row['kind']} {row['ood']} {row['auroc']};"


class Case:
    """One network, its data, and the features of them."""

    def __init__(self, name: str, network: Network, data: str, cache: Path) -> None:
        self.name, self.network, self._data, self._cache = name, network, data, cache
        self.classifier = keras.models.load_model(f"{data}/models/{network.file}")
        self.head = head_classifier(self.classifier)

    def images(self, specification: str, most: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Images, 0 to 255, and labels."""
        source = keras_lodin.data.load(
            f"tfds:{specification}",
            part="all",
            image_shape=(self.network.size, self.network.size, 3),
            input_range=(0, 255),
            data_dir=f"{self._data}/tfds",
        )
        batches = [tuple(map(np.asarray, batch)) for batch in source.batches(self.network.batch)]
        images, labels = (np.concatenate(parts) for parts in zip(*batches, strict=True))
        return images[:most], labels[:most]

    def features(self, specification: str, copy: str = "") -> tuple[np.ndarray, np.ndarray]:
        """Features, stored once, and labels; of copies of a kind."""
        file = self._cache / f"{self.name} {copy} {specification}.npz".replace("/", "_")
        if not file.is_file():
            images, labels = self.images(specification)
            if copy:
                images = CONTRASTS[copy](images)
            found = compute_features(
                self.classifier, (images, labels), batch_size=self.network.batch, verbose=0
            )
            with atomic_write(file) as temporary, open(temporary, "wb") as opened:
                np.savez(opened, **found)
        stored = np.load(file)
        return stored["features"], stored["labels"]

    def measured(self, name: str) -> Iterator[dict[str, Any]]:
        """The rows of one detector; one with the reason where it refuses."""
        common = {"network": self.name, "detector": name}
        if self.name.startswith("imagenet") and name in BY_CLASS:
            yield {**common, "error": "no training data of each class"}
            return
        try:
            steps = name in ("odin", "adascale")
            yield from ({**common, **row} for row in self._kinds(name, steps))
        except ValueError as error:
            yield {**common, "error": str(error).split(". ")[0]}

    def _kinds(self, name: str, steps: bool) -> Iterator[dict[str, Any]]:
        network = self.network
        classifier = self.classifier if steps else self.head
        most = network.stepping if steps else None

        def inputs(specification: str) -> Any:
            if steps:
                return self.images(specification, most)
            return self.features(specification)

        detector = DETECTORS.find(name).suited_to(
            classifier, input_range=(0, 255) if steps else None
        )
        if isinstance(detector, AdaptiveDetector):
            detector.adapt(*inputs(network.train), verbose=0, batch_size=network.batch)
        own = inputs(network.test)[0]
        others = {ood.split(":")[0]: inputs(ood)[0] for ood in network.ood}

        def rows(kind: str) -> Iterator[dict[str, Any]]:
            scores = {ood: self._scores(detector, x) for ood, x in others.items()}
            id_scores = self._scores(detector, own)
            for ood, ood_scores in scores.items():
                low, high = bootstrap_intervals(id_scores, ood_scores, 200, 0)["auroc"]
                yield {
                    "kind": kind,
                    "settings": in_words(detector.settings),
                    "ood": ood,
                    "id_count": len(id_scores),
                    "ood_count": len(ood_scores),
                    "auroc": f"{metrics.auroc(id_scores, ood_scores):.4f}",
                    "auroc_low": f"{low:.4f}",
                    "auroc_high": f"{high:.4f}",
                    "fpr95": f"{metrics.fpr_at_tpr(id_scores, ood_scores):.4f}",
                    "passes": f"{detector.cost_in_passes:g}",
                    "bytes": detector.statistics_bytes,
                }

        yield from rows("default")
        if not detector.tunable:
            return
        choosing = inputs(network.choosing)[0]
        if steps:
            detector.tune(choosing, batch_size=network.batch, verbose=0)
        else:
            copies = [self.features(network.choosing, copy)[0] for copy in CONTRASTS]
            # As many of each kind: the AUROC against all is the mean over the kinds.
            detector.tune(choosing, np.concatenate(copies), verbose=0)
        yield from rows("tuned")
        if isinstance(detector, TunableDetector) and not steps:
            best = max(
                settings_grid(detector.declared_settings(), None, detector.default_settings()),
                key=lambda settings: self._worth(detector, settings, own, others),
            )
            self._set(detector, best)
            yield from rows("hindsight")

    def _worth(self, detector: Any, settings: dict[str, Any], own: Any, others: Any) -> float:
        self._set(detector, settings)
        id_scores = self._scores(detector, own)
        found = [metrics.auroc(id_scores, self._scores(detector, x)) for x in others.values()]
        return float(np.mean(found))

    @staticmethod
    def _set(detector: Any, settings: dict[str, Any]) -> None:
        for name, value in settings.items():
            setattr(detector, name, value)

    def _scores(self, detector: Any, inputs: np.ndarray) -> np.ndarray:
        parts = [
            keras.ops.convert_to_numpy(
                detector(inputs[start : start + self.network.batch])["score"]
            )
            for start in range(0, len(inputs), self.network.batch)
        ]
        return np.concatenate(parts)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    main()
