from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_lodin import data
from keras_lodin.data.sources.slices import select
from keras_lodin.data.specification import SOURCES, parse


@pytest.mark.parametrize(
    ("text", "kind", "options"),
    [
        ("digits", "digits", {"classes": tuple(range(10))}),
        ("digits:0-6", "digits", {"classes": (0, 1, 2, 3, 4, 5, 6)}),
        ("digits:5,1,3", "digits", {"classes": (1, 3, 5)}),
        ("digits:0-2,2,9", "digits", {"classes": (0, 1, 2, 9)}),
        ("photos", "photos", {"count": 1000}),
        ("photos:50", "photos", {"count": 50}),
        ("tfds:cifar10", "tfds", {"dataset": "cifar10", "split": None}),
        ("tfds:cifar10:test[:50%]", "tfds", {"dataset": "cifar10", "split": "test[:50%]"}),
        ("tfds:a/b:train+test", "tfds", {"dataset": "a/b", "split": "train+test"}),
        ("dir:some/where", "dir", {"path": "some/where", "slice_text": None}),
        ("dir:C:/images[20%:]", "dir", {"path": "C:/images", "slice_text": "[20%:]"}),
        ("npz:a.npz[-5:]", "npz", {"path": "a.npz", "slice_text": "[-5:]"}),
        ("npz:a[1].npz", "npz", {"path": "a[1].npz", "slice_text": None}),
        ("noise:uniform", "noise", {"distribution": "uniform", "count": 1000}),
        ("noise:gaussian:7", "noise", {"distribution": "gaussian", "count": 7}),
    ],
)
def test_specification_is_taken_apart(text, kind, options):
    named = parse(text)

    assert type(named) is SOURCES[kind]
    assert vars(named) == options


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("digit:0-6", "Did you mean 'digits'"),
        ("Noise:uniform", "Did you mean 'noise'"),
        ("tfsd:cifar10", "Did you mean 'tfds'"),
        (
            "",
            "The kind of data source must be one of digits, photos, tfds, openood, dir, npz, noise",
        ),
        ("digits:0-12", "'0-12' is not a digit"),
        ("digits:6-0", "runs backwards"),
        ("digits:a", "'a' is not a digit"),
        ("photos:-3", "'-3' is not a positive whole number"),
        ("photos:0", "'0' is not a positive whole number"),
        ("tfds:", "name of a TensorFlow dataset is missing"),
        ("dir:", "path is missing"),
        ("npz:", "path is missing"),
        ("noise:pink", "'pink' is not a kind of noise: there are uniform, gaussian"),
        ("noise", "'' is not a kind of noise"),
        ("noise:uniform:many", "'many' is not a positive whole number"),
    ],
)
def test_mistake_is_explained_with_the_way_to_write_it(text, message):
    with pytest.raises(ValueError, match=r"written as|must be one of") as error:
        parse(text)

    assert message in str(error.value)
    assert f"Received: specification={text!r}" in str(error.value)


def test_unknown_kind_lists_all_kinds():
    with pytest.raises(ValueError, match="must be one of") as error:
        parse("./images")

    assert all(kind in str(error.value) for kind in SOURCES)


def test_specification_that_is_no_string_is_refused():
    with pytest.raises(ValueError, match="is a string such as"):
        parse(3)


@given(count=st.integers(2, 300), percent=st.integers(0, 100), sign=st.sampled_from(["", "-"]))
def test_complementary_slices_are_disjoint_and_complete(count, percent, sign):
    parts = []
    for text in (f"[:{sign}{percent}%]", f"[{sign}{percent}%:]"):
        try:
            parts.append(select("npz:x", count, text))
        except ValueError as error:
            assert "is empty" in str(error)  # noqa: PT017 (an empty part is the exception here)

    assert sorted(np.concatenate(parts)) == list(range(count))


def test_slice_is_a_cut_of_one_fixed_random_order():
    whole = select("npz:x", 10, "[:]")

    assert sorted(whole) == list(range(10))
    assert list(whole) != list(range(10))
    np.testing.assert_array_equal(select("npz:x", 10, "[2:5]"), whole[2:5])
    np.testing.assert_array_equal(select("npz:x", 10, "[-3:]"), whole[-3:])
    np.testing.assert_array_equal(select("npz:x", 10, "[:80%]"), whole[:8])
    np.testing.assert_array_equal(select("npz:x", 10, None), range(10))


def test_empty_slice_is_refused():
    with pytest.raises(ValueError, match=r"slice \[10:\] of 10 examples is empty"):
        select("npz:x", 10, "[10:]")


@pytest.mark.parametrize("specification", ["digits:0-6", "photos:10", "noise:uniform"])
def test_what_is_made_on_the_spot_is_never_missing(specification):
    assert data.missing(specification) is None


def test_folders_and_archives_are_looked_for(tmp_path):
    assert data.missing(f"dir:{tmp_path}") is None
    assert data.missing(f"dir:{tmp_path}/no") == f"there is nothing at {tmp_path}/no"
    np.savez(tmp_path / "some.npz", x=np.zeros((2, 4)))
    assert data.missing(f"npz:{tmp_path}/some.npz[:50%]") is None


def test_a_data_set_that_will_be_downloaded_is_not_missing(tmp_path):
    assert data.missing("tfds:cifar10:test", tmp_path) is None
    assert not list(tmp_path.iterdir())


def test_a_data_set_that_nobody_can_download_says_what_to_do(tmp_path):
    message = data.missing("tfds:imagenet2012:train", tmp_path)
    assert "cannot download 'imagenet2012' by itself" in message


def test_an_unknown_data_set_is_missing_with_the_nearest_name(tmp_path):
    assert "cifar10" in data.missing("tfds:cifar1", tmp_path)


def test_a_specification_in_no_language_is_refused():
    with pytest.raises(ValueError, match="Did you mean 'digits'"):
        data.missing("digit:0-6")
