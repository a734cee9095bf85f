"""Groups and shifted data, put in order before anything is scored."""

import pytest

from keras_lodin.evaluation.data_sets import data_sets


def test_groups_and_single_sets_stand_side_by_side():
    ood = {"near": {"tin": 1, "lsun": 2}, "any words": {"svhn": 3}, "noise": 4}
    sets = data_sets("cifar10", 0, ood, {"snow": 5})
    assert sets.groups == {"tin": "near", "lsun": "near", "svhn": "any words", "noise": None}
    assert list(sets.by_name.items()) == [
        *(("cifar10", 0), ("snow", 5), ("tin", 1), ("lsun", 2), ("svhn", 3), ("noise", 4))
    ]
    assert sets.in_distribution == ("cifar10", "snow")
    assert sets.spectra == {False: ("cifar10",), True: ("cifar10", "snow")}
    assert data_sets("cifar10", 0, ood, {}).spectra == {False: ("cifar10",)}


def test_a_dict_by_the_name_of_the_input_is_data_and_no_group():
    sets = data_sets("id", 0, {"svhn": {"images": 1}}, {}, {"images"})
    assert sets.groups == {"svhn": None}
    assert sets.by_name["svhn"] == {"images": 1}
    assert data_sets("id", 0, {"far": {"svhn": 1}}, {}, {"images"}).groups == {"svhn": "far"}


@pytest.mark.parametrize(
    ("ood", "shifted", "message"),
    [
        ({"near": {}}, {}, r"at least one data set.*Received: ood_data\['near'\]={}"),
        ({"near": {"a": 1}, "far": {"a": 2}}, {}, "name of its own.*Received: 'a' twice"),
        ({"near": {"a": 1}, "a": 2}, {}, "name of its own.*Received: 'a' twice in `ood_data`$"),
        ({"a": 1}, {"a": 2}, "Received: 'a' twice in `ood_data` and `shifted`"),
        ({"near": {"id": 1}}, {}, "different names.*id_name='id', which is also in `ood_data`"),
        ({"a": 1}, {"id": 1}, "another name in `shifted`.*Received: id_name='id'"),
    ],
)
def test_what_cannot_be_told_apart_is_refused(ood, shifted, message):
    with pytest.raises(ValueError, match=message):
        data_sets("id", 0, ood, shifted)
