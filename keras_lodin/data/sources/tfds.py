"""`tfds:NAME[:SPLIT]`: image data sets of TensorFlow Datasets."""

from __future__ import annotations

import functools
import operator
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_lodin.data.named_source import SOURCES, NamedSource, Request
from keras_lodin.data.pipeline import pixel_transform, resolve_shapes
from keras_lodin.data.source import Source
from keras_lodin.utils.registry import did_you_mean

# Where no split is named, the first of these that the data set has.
_SPLITS_OF_PARTS = {
    "train": ("train[:90%]",),
    "calibration": ("train[90%:]",),
    "test": ("test", "validation"),
    "all": ("test", "validation"),
}
# Training shuffles encoded images, within windows of this size when a data set is larger.
_WINDOW_BYTES = 512 * 1024**2


@SOURCES.register(
    "tfds",
    description="tfds:NAME[:SPLIT]: TensorFlow Datasets; tfds:cifar10, tfds:cifar10:test[:50%]",
    position=3,
)
@dataclass(frozen=True)
class TensorFlowDataset(NamedSource):
    """Images of a TensorFlow dataset, in the order in which they are stored.

    A data set that is not in `data_dir` is downloaded to there, with the progress bars of
    TensorFlow Datasets. Without an `image_shape` images are brought to that of the data set, of its
    first image if they differ. They are read by TensorFlow on every backend of Keras.

    Args:
        dataset: Name of the data set.
        split: A split in the language of TensorFlow Datasets, slices included. `None` is
            `train[:90%]` for part `"train"`, `train[90%:]` for `"calibration"`, and `test`, or
            else `validation`, for `"test"` and `"all"`.
    """

    dataset: str
    split: str | None

    reads_data_dir = True

    @classmethod
    def parse(cls, argument: str) -> TensorFlowDataset:
        """The name of the data set, and a split."""
        # Only the first colon separates: a split may hold others, as in test[:50%].
        dataset, _, split = argument.partition(":")
        if not dataset:
            raise ValueError("The name of a TensorFlow dataset is missing.")
        return cls(dataset, split or None)

    @property
    def has_parts(self) -> bool:
        """A named split is taken whole."""
        return self.split is None

    def missing(self, data_dir: str | os.PathLike[str] | None) -> str | None:
        """Whether the data set is unknown, or not to be downloaded by itself."""
        try:
            name = ":".join(filter(None, ("tfds", self.dataset, self.split)))
            builder = _find_builder(name, self.dataset, data_dir)
        except (ImportError, ValueError, OSError) as error:
            return str(error)
        instructions = builder.MANUAL_DOWNLOAD_INSTRUCTIONS
        if not builder.info.splits and instructions:
            return (
                f"TensorFlow Datasets cannot download {self.dataset!r} by itself: "
                f"{' '.join(instructions.split())}"
            )
        return None

    def load(self, request: Request) -> Source:
        """A `Source`, labelled if the data set has class labels.

        Raises:
            FileNotFoundError: If there is no folder `data_dir`.
            ImportError: If TensorFlow or TensorFlow Datasets is not installed.
            OSError: If the data set has to be downloaded and cannot be.
            ValueError: If data set or split are unknown, or hold no 8-bit images.
        """
        tfds = _tensorflow_datasets()
        # On all of Keras's backends: TensorFlow Datasets reads by tf.data.
        from keras_lodin.data.readers import tensorflow as reader

        name = request.name
        builder = _find_builder(name, self.dataset, request.data_dir)
        if not builder.info.splits:
            try:
                builder.download_and_prepare()
            # Data sets fail in many ways: no network, a changed page, a manual download, a package.
            except Exception as error:
                raise OSError(
                    f"The data set {self.dataset!r} is not in {builder.data_path} and could not be "
                    f"downloaded. Received: {error}"
                ) from error
        info = builder.info
        split = _find_split(name, info, self.split, request.part)
        image_key, label_key = _find_features(name, info)

        def stored(chosen: Any) -> Any:
            rows = builder.as_dataset(
                split=chosen,
                decoders={image_key: tfds.decode.SkipDecoding()},
                # One file after the other, and no copy of the data set in memory.
                read_config=tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False),
            )
            return rows.map(
                lambda row: tuple(row[key] for key in (image_key, label_key) if key is not None)
            )

        decode_pixels = info.features[image_key].decode_example
        natural = info.features[image_key].shape
        if None in natural:
            natural = tuple(decode_pixels(next(iter(stored(split)))[0]).shape)
        shapes = resolve_shapes(name, natural, request.image_shape)
        transform = pixel_transform(reader, shapes, request.input_range)
        bytes_per_example = info.dataset_size / max(info.splits.total_num_examples, 1)
        return Source(
            name,
            stored(split),
            lambda rows: reader.mapped(
                rows, lambda encoded, *label: (transform(decode_pixels(encoded)), *label)
            ),
            shape=shapes[1],
            input_range=request.input_range,
            count=info.splits[split].num_examples,
            labelled=label_key is not None,
            class_names=None if label_key is None else tuple(info.features[label_key].names),
            window=max(1, int(_WINDOW_BYTES / max(bytes_per_example, 1))),
            reader=reader,
            some_records=lambda first, count: stored(_places(info, split, first, count)),
        )


def _tensorflow_datasets() -> Any:
    """The package, imported where it is needed, so that importing this one stays fast."""
    try:
        # It imports without TensorFlow, and fails later in other words.
        import tensorflow  # noqa: F401
        import tensorflow_datasets
    except ImportError as error:
        raise ImportError(
            "Data sets of TensorFlow Datasets are read by TensorFlow, whatever Keras's backend: "
            "`pip install tensorflow tensorflow-datasets` installs both. Images in a folder "
            "('dir:PATH') and arrays in a file ('npz:PATH') need neither. "
            f"Received: {error}"
        ) from None
    return tensorflow_datasets


def _find_builder(name: str, dataset: str, data_dir: str | os.PathLike[str] | None) -> Any:
    """The builder of a data set by name; nothing is downloaded."""
    tfds = _tensorflow_datasets()
    if data_dir is not None and not Path(data_dir).is_dir():
        raise FileNotFoundError(
            f"There is no folder {data_dir} with data sets. Received: data_dir={str(data_dir)!r}"
        )
    try:
        builder = tfds.builder(dataset, data_dir=data_dir)
    except tfds.core.registered.DatasetNotFoundError:
        prepared = [] if data_dir is None else _prepared_in(Path(data_dir))
        known = prepared + tfds.list_builders(with_community_datasets=False)
        there = f" {data_dir} holds: {', '.join(prepared) or 'none'}." if data_dir else ""
        raise ValueError(
            f"Unknown data set {dataset!r}.{did_you_mean(dataset, known)}{there} Received: {name!r}"
        ) from None
    return builder


def _prepared_in(data_dir: Path) -> list[str]:
    # NAME/VERSION and NAME/CONFIG/VERSION hold a data set.
    found = (
        path for depth in ("*/*", "*/*/*") for path in data_dir.glob(f"{depth}/dataset_info.json")
    )
    return sorted({path.relative_to(data_dir).parts[0] for path in found})


def _find_split(name: str, info: Any, split: str | None, part: str) -> str:
    candidates = _SPLITS_OF_PARTS[part] if split is None else (split,)
    for candidate in candidates:
        try:
            if info.splits[candidate].num_examples:
                return candidate
        except (KeyError, ValueError):
            continue
    there = ", ".join(
        f"{key} ({value.num_examples:,} examples)" for key, value in info.splits.items()
    )
    what = (
        f"{' or '.join(candidates)}, which is its {part!r} part where no split is named"
        if split is None
        else repr(split)
    )
    first = next(iter(info.splits))
    raise ValueError(
        f"The data set {info.name!r} has no examples in {what}. It has the splits: {there}. "
        f"Name one as in 'tfds:{info.name}:{first}' or 'tfds:{info.name}:{first}[:50%]'. "
        f"Received: {name!r}"
    )


def _places(info: Any, split: str, first: int, count: int) -> Any:
    """Some examples of a split, by their places in the parts that it is made of."""
    read = _tensorflow_datasets().core.ReadInstruction
    places = []
    for part in read.from_spec(split).to_absolute(info.splits):
        start = part.from_ or 0
        stop = info.splits[part.splitname].num_examples if part.to is None else part.to
        from_, to = start + first, min(start + first + count, stop)
        if from_ < to:
            places.append(read(part.splitname, from_=from_, to=to, unit="abs"))
            count -= to - from_
        first = max(0, first - (stop - start))
    return functools.reduce(operator.add, places)


def _find_features(name: str, info: Any) -> tuple[str, str | None]:
    """Finds the image and the class label: the supervised pair if it is one, else by type."""
    tfds = _tensorflow_datasets()
    features = dict(info.features)
    supervised = info.supervised_keys or ()
    in_order = [key for key in supervised if isinstance(key, str)] + list(features)
    images = [
        key
        for key in in_order
        if isinstance(features[key], tfds.features.Image) and features[key].np_dtype == "uint8"
    ]
    labels = [key for key in in_order if isinstance(features[key], tfds.features.ClassLabel)]
    if not images:
        raise ValueError(
            f"The data set {info.name!r} has no feature of 8-bit images. "
            f"Received: {name!r} with features {', '.join(features)}"
        )
    return images[0], labels[0] if labels else None
