from __future__ import annotations

import numpy as np
import pytest

from keras_lodin import data
from tests.data.damaged_npz import KINDS, write_damaged


@pytest.fixture
def load(tmp_path):
    """Saves arrays and loads them again: `load(arrays, slice, **options)`."""

    def load(arrays, cut="", **options):
        path = tmp_path / "arrays.npz"
        np.savez(path, **arrays)
        return data.load(f"npz:{path}{cut}", part="test", **options)

    return load


def read(source):
    return [np.concatenate(column) for column in zip(*source.batches(4), strict=True)]


def test_floats_of_any_rank_are_used_exactly_as_they_are(load):
    for shape in ((7, 5), (7, 5, 4), (7, 5, 4, 2), (7, 2, 3, 4, 5)):
        values = np.random.default_rng(0).normal(size=shape).astype("float32")

        source = load({"x": values}, input_range=(0, 255))

        np.testing.assert_array_equal(read(source)[0], values)
        assert source.input_range == (values.min(), values.max())
        assert not source.labelled


def test_integers_other_than_uint8_are_used_as_they_are(load):
    values = np.arange(12).reshape(6, 2)

    np.testing.assert_array_equal(read(load({"x": values}))[0], values.astype("float32"))


def test_uint8_is_taken_for_images(load, colours):
    source = load({"images": colours, "labels": np.arange(12)}, input_range=(-1, 1))

    x, y = read(source)

    np.testing.assert_allclose(x, colours / 127.5 - 1, atol=1e-6)
    np.testing.assert_array_equal(y, range(12))
    assert source.input_range == (-1, 1)


def test_uint8_without_channels_is_grey(load, colours):
    assert load({"x": colours[..., 0]}).shape == (10, 12, 1)
    assert load({"x": colours[..., 0]}, image_shape=(10, 12, 3)).shape == (10, 12, 3)


def test_one_hot_labels_become_class_numbers(load):
    _, y = read(load({"x": np.zeros((4, 2)), "y": np.eye(4)}))

    np.testing.assert_array_equal(y, range(4))


def test_complementary_slices_share_nothing(load):
    values = np.arange(10.0)[:, None]

    (first,), (second,) = (read(load({"x": values}, cut)) for cut in ("[:70%]", "[70%:]"))

    assert (len(first), len(second)) == (7, 3)
    assert sorted(np.concatenate([first, second])[:, 0]) == list(range(10))


def test_slice_keeps_labels_with_their_examples(load):
    values = np.arange(10)

    x, y = read(load({"x": values[:, None].astype("float64"), "y": values}, "[:5]"))

    np.testing.assert_array_equal(x[:, 0], y)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"data": np.zeros(3), "target": np.zeros(3)}, "arrays named 'data', 'target'"),
        ({"y": np.zeros(3)}, "must hold an array named `x`, `images` or `features`"),
        ({"x": np.zeros((0, 4))}, "There is no example"),
        ({"x": np.zeros((5, 0, 8, 1), np.uint8)}, r"no value.*Received: x of shape \(5, 0, 8, 1\)"),
        ({"x": np.zeros((5, 8, 0), np.uint8)}, "no value in its examples"),
        ({"x": np.zeros((5, 0))}, "no value in its examples"),
        ({"x": np.full((3, 2), 1e300)}, "0 NaN and 6 infinite .* in float32"),
        ({"x": np.zeros((3, 2), "c8")}, "real numbers. Received: x of type complex64"),
        ({"x": np.zeros(3, "M8[s]")}, "real numbers. Received: x of type datetime64"),
        ({"x": np.zeros(3, "f4,f4")}, "real numbers. Received: x of type"),
        ({"x": np.zeros((3, 2), bool)}, "real numbers. Received: x of type bool"),
        ({"x": np.array([b"a"])}, "real numbers. Received: x of type"),
        ({"x": np.zeros((3, 2)), "y": np.array(["a", "b", "c"])}, "must be numbers"),
        ({"x": np.zeros((3, 2)), "y": np.zeros((3, 2))}, "one-hot"),
        ({"x": np.array(3.0)}, "There is no example"),
        ({"x": np.array(["a", "b"])}, "must hold real numbers. Received: x of type <U1"),
        ({"x": np.array([{}], object)}, "not a file of plain arrays"),
        ({"x": np.zeros((2, 4, 4, 5), np.uint8)}, r"Received: x of shape \(2, 4, 4, 5\)"),
        ({"x": np.zeros((2, 4), np.uint8)}, "save anything else as float32"),
        ({"x": np.zeros((3, 2)), "y": np.zeros(2)}, "one per example"),
        ({"x": np.zeros((3, 2)), "y": np.array([0, 1, 1.5])}, "whole numbers.*Received: 1.5"),
    ],
)
def test_unusable_arrays_are_explained(load, arrays, message):
    with pytest.raises(ValueError, match=message):
        load(arrays)


def test_nan_is_counted_and_located(load):
    values = np.zeros((5, 4))
    values[2, 1] = values[3, 0] = np.nan

    with pytest.raises(ValueError, match=r"2 NaN and 0 infinite .* example 2 at \(1,\)"):
        load({"x": values})


def test_floats_of_the_wrong_shape_are_refused(load):
    with pytest.raises(ValueError, match=r"takes shape \(batch, 5\).* shape \(3, 4\)"):
        load({"x": np.zeros((3, 4))}, image_shape=(5,))


def test_missing_file_is_named():
    with pytest.raises(
        FileNotFoundError, match=r"no \.npz file at that path. Received: path=missing\.npz"
    ):
        data.load("npz:missing.npz", part="test")


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04 but no archive"])
def test_file_that_is_no_npz_is_refused(tmp_path, content):
    path = tmp_path / "broken.npz"
    path.write_bytes(content)

    with pytest.raises(ValueError, match=r"broken\.npz is not a file of plain arrays"):
        data.load(f"npz:{path}", part="test")


def test_single_array_file_is_refused(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros(3))

    with pytest.raises(ValueError, match=r"a single array, as np\.save writes it"):
        data.load(f"npz:{tmp_path / 'x.npy'}", part="test")


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_file_is_refused_in_one_sentence(kind, tmp_path):
    path = tmp_path / "arrays.npz"
    write_damaged(path, kind)

    with pytest.raises(ValueError, match=r"(?s)arrays\.npz .*Received: .") as caught:
        data.load(f"npz:{path}", part="test")

    assert len(str(caught.value)) < 500


def test_array_larger_than_the_memory_is_refused_unread(tmp_path, monkeypatch):
    path = tmp_path / "arrays.npz"
    np.savez_compressed(path, x=np.zeros((1000, 1000)))
    monkeypatch.setattr("os.sysconf", lambda name: 1000)

    with pytest.raises(ValueError, match=r"at most 1000000, this machine's memory"):
        data.load(f"npz:{path}", part="test")


def test_other_arrays_of_the_file_are_not_read(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros((3, 2)), names=np.array([{}], object))

    assert data.load(f"npz:{tmp_path / 'a.npz'}", part="test").count == 3
