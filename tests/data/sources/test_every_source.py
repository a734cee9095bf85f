"""What holds for every source, whatever its kind."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from keras_lodin import data
from tests.data.conftest import READERS

SPECIFICATIONS = {
    "digits:0-6": {},
    "digits": {"image_shape": (64,)},
    "photos:30": {"image_shape": (16, 16, 1)},
    "noise:uniform:30": {"image_shape": (4, 5, 3)},
    "noise:gaussian:30": {"image_shape": (6,)},
    "tfds:toy_images": {},
    "tfds:toy_images:train[5:]": {"image_shape": (None, None, 1)},
    "openood:cifar10:id:{openood_dir}": {},
    "openood:cifar10:near:{openood_dir}": {"image_shape": (6, 6, 3)},
    "dir:{flat_folder}": {},
    "dir:{class_folder}[:75%]": {"image_shape": (8, 8, 3), "input_range": (-1, 1)},
    "npz:{image_npz}": {"image_shape": (6, 6, 1), "input_range": (0, 255)},
    "npz:{vector_npz}[25%:]": {},
}

FIXTURES = ("openood_dir", "flat_folder", "class_folder", "image_npz", "vector_npz")

# TensorFlow's data sets are read by tf.data whatever the backend.
CASES = [
    (template, name)
    for template in SPECIFICATIONS
    for name in READERS
    if name == "tf.data" or "tfds" not in template
]


@pytest.fixture(params=CASES, ids=" ".join)
def load(request, tfds_dir, monkeypatch):
    template, reader = request.param
    options = SPECIFICATIONS[template]
    monkeypatch.setattr(data.readers, "READER", READERS[reader])
    paths = {name: request.getfixturevalue(name) for name in FIXTURES if name in template}

    def load(part="test"):
        return data.load(template.format(**paths), part=part, data_dir=tfds_dir, **options)

    load.options = options
    return load


def collect(dataset):
    return [[np.asarray(column) for column in batch] for batch in dataset]


def assert_same(batches, others):
    assert len(batches) == len(others)
    for batch, other in zip(batches, others, strict=True):
        for column, expected in zip(batch, other, strict=True):
            np.testing.assert_array_equal(column, expected)


@pytest.mark.grid(8)
def test_same_specification_gives_the_same_pixels(load):
    source = load()
    first = collect(source.batches(5))

    assert_same(first, collect(source.batches(5)))
    assert_same(first, collect(load().batches(5)))


@pytest.mark.grid(4)
def test_examples_have_the_promised_shape_type_range_and_count(load):
    source = load()
    low, high = source.input_range

    batches = collect(source.batches(5))

    for x, *y in batches:
        assert x.dtype == np.float32
        assert x.shape[1:] == source.shape
        assert low <= x.min() <= x.max() <= high
        assert len(y) == source.labelled
    wanted = load.options.get("image_shape", source.shape)
    assert all(want in (None, size) for want, size in zip(wanted, source.shape, strict=True))
    assert all(len(batch[0]) == 5 for batch in batches[:-1])
    assert source.steps_per_epoch(5) == len(batches)
    assert source.count == sum(len(batch[0]) for batch in batches)
    assert source.skipped == []


def test_labels_count_from_zero_up_to_the_number_of_classes(load):
    source = load()
    if not source.labelled:
        assert source.class_names is None
        assert {len(batch) for batch in collect(source.batches(5))} == {1}
        return

    labels = np.concatenate([y for _, y in collect(source.batches(5))])

    assert labels.dtype == np.int64
    assert labels.min() == 0
    if source.class_names is not None:
        assert labels.max() < len(source.class_names)


@pytest.mark.grid(8)
def test_an_epoch_holds_every_example_once(load):
    source = load()

    def pixels(dataset):
        return sorted(example.tobytes() for x, *_ in collect(dataset) for example in x)

    assert pixels(source.training_batches(5, 0, 0, 1)) == pixels(source.batches(5))


@pytest.mark.grid(12)
def test_resumed_training_sees_what_the_uninterrupted_run_saw(load):
    source = load("train")
    augment = "crop-flip" if len(source.shape) == 3 else None
    steps = source.steps_per_epoch(50)

    whole = collect(source.training_batches(50, 7, 0, 3, augment))
    tf.random.set_seed(99)  # the global seed must not matter
    resumed = collect(load("train").training_batches(50, 7, 2, 3, augment))

    assert len(whole) == 3 * steps
    assert len(resumed) == steps
    assert_same(resumed, whole[2 * steps :])


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ({"part": "validation"}, "`part` must be one of 'train', 'calibration', 'test', 'all'"),
        ({"input_range": (1, 0)}, r"two finite numbers.*Received: input_range=\(1, 0\)"),
    ],
)
def test_arguments_out_of_range_are_refused(argument, message):
    with pytest.raises(ValueError, match=message):
        data.load("digits", **{"part": "test", **argument})


def test_names_are_the_known_kinds():
    assert data.names() == ("digits", "photos", "tfds", "openood", "dir", "npz", "noise")
    assert all(data.SOURCES.description(kind).startswith(kind) for kind in data.SOURCES)


BY_BOTH = {name: options for name, options in SPECIFICATIONS.items() if "tfds" not in name}


@pytest.mark.grid(2)
@pytest.mark.parametrize(("template", "options"), BY_BOTH.items(), ids=BY_BOTH.keys())
def test_both_readers_give_the_same(template, options, request, read_by_both):
    """The same order, labels, crops and mirror images, and pixels to one grey level."""
    paths = {name: request.getfixturevalue(name) for name in FIXTURES if name in template}

    def read():
        source = data.load(template.format(**paths), part="train", **options)
        augment = "crop-flip" if len(source.shape) == 3 else None
        batches = collect(source.batches(5)) + collect(source.training_batches(5, 3, 1, 3, augment))
        return source.input_range, batches

    (input_range, theirs), (_, ours) = read_by_both(read)
    assert len(theirs) == len(ours)
    low, high = input_range
    for (x, *y), (others, *other_labels) in zip(ours, theirs, strict=True):
        assert x.dtype == others.dtype
        assert x.shape == others.shape
        np.testing.assert_allclose(x, others, rtol=0.0, atol=1e-4 * (high - low))
        assert [one.dtype for one in y] == [one.dtype for one in other_labels]
        np.testing.assert_array_equal(y, other_labels)


def test_both_readers_map_labels_and_skip_the_same_files(class_folder, read_by_both):
    (class_folder / "bean" / "broken.png").write_bytes(b"broken")

    def read():
        source = data.load(f"dir:{class_folder}", part="test")
        mapped = source.with_labels_of(("corn", "bean", "apple"))
        labels = np.concatenate([y for _, y in collect(mapped.training_batches(5, 0, 0, 1))])
        return labels.tolist(), [path for path, _ in source.skipped], mapped.steps_per_epoch(5)

    theirs, ours = read_by_both(read)
    assert theirs == ours
    assert len(ours[1]) == 1
