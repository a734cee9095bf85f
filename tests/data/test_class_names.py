"""Labels by the names of classes."""

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_lodin import data
from keras_lodin.data.batches import iterate_batches
from keras_lodin.data.class_names import class_names_of, label_places
from keras_lodin.data.label_places import LabelPlaces

KNOWN = ("ash", "birch", "cedar", "elm", "fir")


@given(found=st.permutations(KNOWN), count=st.integers(1, len(KNOWN)))
def test_any_subset_in_any_order_finds_its_places(found, count):
    found = tuple(found[:count])
    places = label_places(found, KNOWN, "the data")
    places = np.arange(count) if places is None else places
    assert [KNOWN[place] for place in places] == list(found)


@pytest.mark.parametrize(
    ("found", "known"),
    [
        (None, KNOWN),
        (KNOWN, None),
        (None, None),
        (KNOWN, KNOWN),
        (("crane", "crane"), ("crane", "crane")),  # as ImageNet has it
        (("0", "1", "2"), ("ash", "birch", "cedar")),
        (("ash", "birch", "cedar"), ("0", "1", "2")),
        (("0", "1"), ("ash", "birch", "cedar")),
        (("n\u0303",), ("\u00f1",)),
    ],
)
def test_labels_stay_where_the_names_agree_or_one_side_has_none(found, known):
    assert label_places(found, known, "the data") is None


@pytest.mark.parametrize(
    ("found", "known", "message"),
    [
        (("7", "8", "9"), ("0", "1", "2"), r"know '7', '8', '9' among.*it knows '0', '1', '2'"),
        (("ash", "oak"), KNOWN, r"does not know 'oak' among"),
        (("Ash",), KNOWN, r"'Ash'.*Did you mean 'ash'\?"),
        (("brich",), KNOWN, r"Did you mean 'birch'\?"),
        (("cat", "dog"), KNOWN, r"'cat', 'dog' among"),
        ((*KNOWN, "yew"), KNOWN, r"'yew' among.*Received: classes 'ash'"),
        (("3", "4"), ("0", "1", "2"), r"'3', '4' among"),
        (("crane",), ("crane", "crane"), r"more than one by the name of 'crane'"),
        ([f"{n}x" for n in range(50)], KNOWN, r"'19x' and 30 more among"),
    ],
)
def test_names_that_the_classifier_does_not_know_are_refused(found, known, message):
    with pytest.raises(ValueError, match=rf"(?s){message}"):
        label_places(found, known, "the data")


def test_a_class_without_examples_needs_no_place():
    places = label_places(("notes", "birch"), KNOWN, "the data", empty=("notes",))
    np.testing.assert_array_equal(places, [-1, 1])


def test_names_of_data_are_found(class_folder):
    folder = data.load(f"dir:{class_folder}", part="test")
    dataset = keras.utils.image_dataset_from_directory(class_folder, verbose=False)
    assert class_names_of(folder) == class_names_of(dataset) == ("apple", "bean", "corn")
    for nameless in (np.zeros(3), (np.zeros(3), np.zeros(3)), dataset.map(lambda x, y: (x, y))):
        assert class_names_of(nameless) is None


def test_labels_beyond_the_classes_are_refused():
    place = LabelPlaces(3, None, np.zeros(2))
    np.testing.assert_array_equal(place(np.array([2, 0])), [2, 0])
    with pytest.raises(ValueError, match=r"Labels must lie in 0\.\.2.*Received: 1 of 2"):
        place(np.array([3, 0]))


# --- Sources -------------------------------------------------------------------------------------


def labels_of(source):
    return np.concatenate([labels for _, labels in iterate_batches(source)])


@pytest.mark.grid(6)
@pytest.mark.parametrize(
    ("specification", "known"),
    [
        ("digits:0-2", ("0", "1", "2")),
        ("digits:0-2", ("2", "1", "0")),
        ("digits:1,2", ("0", "1", "2")),
        ("digits:2,5,9", ("9", "5", "2")),
        ("digits:0-9", tuple("9876543210")),
        ("digits:7", ("5", "6", "7")),
        ("digits:3-5", ("5", "x", "4", "3")),
        ("digits:0,9", tuple("0123456789")),
    ],
)
def test_a_source_takes_the_labels_of_other_names(specification, known):
    source = data.load(specification, part="test")
    mapped = source.with_labels_of(known)
    names = [source.class_names[label] for label in labels_of(source)]
    assert [known[label] for label in labels_of(mapped)] == names
    assert mapped.class_names == (known if mapped is not source else source.class_names)
    assert mapped.count == source.count
    first, second = (next(iter(one.training_batches(8, 0, 0, 1))) for one in (source, mapped))
    np.testing.assert_array_equal(first[0], second[0])
    assert [known[label] for label in second[1]] == [source.class_names[y] for y in first[1]]


def test_a_source_with_a_class_that_is_not_among_them_is_refused():
    with pytest.raises(ValueError, match=r"does not know '7' among the classes of `digits:7`"):
        data.load("digits:7", part="test").with_labels_of(("0", "1"))


def test_a_source_without_labels_or_names_stays_as_it_is(image_npz):
    for specification in ("photos:3", f"npz:{image_npz}"):
        source = data.load(specification, part="test")
        assert source.with_labels_of(KNOWN) is source
