"""`tfds:NAME[:SPLIT]`: image data sets of TensorFlow Datasets."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import tensorflow as tf

from keras_lodin.data.pipeline import pixel_transform, resolve_shapes
from keras_lodin.data.source import Source
from keras_lodin.utils.registry import did_you_mean

if TYPE_CHECKING:
    import tensorflow_datasets as tfds

# Where no split is named, the first of these that the data set has.
_SPLITS_OF_PARTS = {
    "train": ("train[:90%]",),
    "calibration": ("train[90%:]",),
    "test": ("test", "validation"),
    "all": ("test", "validation"),
}
# Training shuffles encoded images, within windows of this size when a data set is larger.
_WINDOW_BYTES = 512 * 1024**2


def load_tensorflow_dataset(
    name: str,
    dataset: str,
    split: str | None,
    *,
    part: str,
    image_shape: tuple[int | None, ...] | None,
    input_range: tuple[float, float],
    data_dir: str | os.PathLike[str] | None,
) -> Source:
    """Loads images of a TensorFlow dataset, in the order in which they are stored.

    A data set that is not in `data_dir` is downloaded to there, with the progress bars of
    TensorFlow Datasets.

    Args:
        name: The specification.
        dataset: Name of the data set.
        split: A split in the language of TensorFlow Datasets, slices included. `None` is
            `train[:90%]` for part `"train"`, `train[90%:]` for `"calibration"`, and `test`, or
            else `validation`, for `"test"` and `"all"`.
        part: Which part of the data set, where `split` is `None`.
        image_shape: Shape of one example, or `None` for that of the images (of the first image,
            if they differ).
        input_range: Where the values 0 and 255 go.
        data_dir: Folder of the data sets; `None` for that of TensorFlow Datasets.

    Returns:
        A `Source`, labelled if the data set has class labels.

    Raises:
        FileNotFoundError: If there is no folder `data_dir`.
        OSError: If the data set has to be downloaded and cannot be.
        ValueError: If data set or split are unknown, or hold no 8-bit images.
    """
    # Imported where it is needed, so that importing the package stays fast.
    import tensorflow_datasets as tfds

    builder = find_builder(name, dataset, data_dir)
    if not builder.info.splits:
        try:
            builder.download_and_prepare()
        # Data sets fail in many ways: no network, a changed page, a manual download, a package.
        except Exception as error:
            raise OSError(
                f"The data set {dataset!r} is not in {builder.data_path} and could not be "
                f"downloaded. Received: {error}"
            ) from error
    info = builder.info
    split = _find_split(name, info, split, part)
    image_key, label_key = _find_features(name, info)
    stored = builder.as_dataset(
        split=split,
        decoders={image_key: tfds.decode.SkipDecoding()},
        # One file after the other, and no copy of the data set in memory.
        read_config=tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False),
    )
    records = stored.map(
        lambda row: (row[image_key],) if label_key is None else (row[image_key], row[label_key])
    )

    decode_pixels = info.features[image_key].decode_example
    natural = info.features[image_key].shape
    if None in natural:
        natural = tuple(decode_pixels(next(iter(records))[0]).shape)
    shapes = resolve_shapes(name, natural, image_shape)
    transform = pixel_transform(shapes, input_range)
    bytes_per_example = info.dataset_size / max(info.splits.total_num_examples, 1)
    return Source(
        name,
        records,
        lambda rows: rows.map(
            lambda encoded, *label: (transform(decode_pixels(encoded)), *label),
            num_parallel_calls=tf.data.AUTOTUNE,
        ),
        shape=shapes[1],
        input_range=input_range,
        count=info.splits[split].num_examples,
        labelled=label_key is not None,
        class_names=None if label_key is None else tuple(info.features[label_key].names),
        window=max(1, int(_WINDOW_BYTES / max(bytes_per_example, 1))),
    )


def find_builder(
    name: str, dataset: str, data_dir: str | os.PathLike[str] | None
) -> tfds.core.DatasetBuilder:
    """The builder of a data set by name; nothing is downloaded.

    Args:
        name: The specification, for messages.
        dataset: Name of the data set.
        data_dir: Folder of the data sets; `None` for that of TensorFlow Datasets.

    Raises:
        FileNotFoundError: If there is no folder `data_dir`.
        ValueError: If the data set is unknown.
    """
    import tensorflow_datasets as tfds

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


def _find_split(name: str, info: tfds.core.DatasetInfo, split: str | None, part: str) -> str:
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


def _find_features(name: str, info: tfds.core.DatasetInfo) -> tuple[str, str | None]:
    """Finds the image and the class label: the supervised pair if it is one, else by type."""
    import tensorflow_datasets as tfds

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
