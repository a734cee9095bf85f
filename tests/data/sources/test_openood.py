from __future__ import annotations

import shutil

import numpy as np
import pytest

from keras_lodin import data
from keras_lodin.data.specification import overlap, parse


def read(specification, part="test", **options):
    source = data.load(specification, part=part, **{"input_range": (0, 255), **options})
    return [np.concatenate(column) for column in zip(*source.batches(5), strict=True)]


def pixels(colours, name):
    """What `write_openood` writes under a list's name."""
    return np.roll(colours, len(name), axis=2).astype("float32")


@pytest.fixture
def copy(openood_dir, tmp_path):
    """A copy to take things away from."""
    return shutil.copytree(openood_dir, tmp_path / "copy")


@pytest.mark.parametrize(
    ("part", "name"),
    [("train", "train"), ("calibration", "val"), ("test", "test"), ("all", "test")],
)
def test_parts_of_the_id_data_are_lists_with_labels(openood_dir, colours, part, name):
    x, y = read("openood:cifar10:id", part, data_dir=openood_dir)
    np.testing.assert_array_equal(x, pixels(colours, f"{name}_cifar10"))
    np.testing.assert_array_equal(y, np.arange(12) % 3)


@pytest.mark.parametrize(("sets", "name"), [("tin", "test_tin"), ("validation", "val_tin")])
def test_other_data_have_neither_labels_nor_parts(openood_dir, colours, sets, name):
    for part in ("train", "test"):
        (x,) = read(f"openood:cifar10:{sets}:{openood_dir}", part)
        np.testing.assert_array_equal(x, pixels(colours, name))


def test_a_group_is_its_data_sets_and_loads_as_all_of_them(openood_dir, colours):
    assert data.members("openood:cifar10:far") == tuple(
        f"openood:cifar10:{name}" for name in ("mnist", "svhn", "texture", "places365")
    )
    near = f"openood:cifar10:near:{openood_dir}"
    assert data.members(near) == (
        f"openood:cifar10:cifar100:{openood_dir}",
        f"openood:cifar10:tin:{openood_dir}",
    )
    assert data.members("openood:cifar10:tin") == ("openood:cifar10:tin",)
    assert parse(near).group == "near"
    assert parse("openood:cifar10:tin").group is None
    (x,) = read(near)
    expected = [pixels(colours, name) for name in ("test_cifar100", "test_tin")]
    np.testing.assert_array_equal(x, np.concatenate(expected))


@pytest.mark.parametrize(
    ("specification", "lists", "folders"),
    [
        ("cifar100:near", ["cifar100/test_cifar10", "cifar100/test_tin"], "classic"),
        ("imagenet:near", ["imagenet/test_ssb_hard", "imagenet/test_ninco"], "largescale"),
        ("imagenet:textures", ["imagenet/test_textures"], "classic"),
        ("imagenet:imagenet_r", ["imagenet/test_imagenet_r"], "largescale"),
        ("imagenet200:imagenet_r", ["imagenet200/test_imagenet200_r"], "largescale"),
        ("imagenet200:validation", ["imagenet200/val_openimage_o"], "largescale"),
    ],
)
def test_lists_and_folders_are_those_of_openood(specification, lists, folders):
    found = parse(f"openood:{specification}")._lists("test")
    assert [one.path for one in found] == [f"benchmark_imglist/{name}.txt" for name in lists]
    assert {one.images for one in found} == {f"images_{folders}"}


def test_all_that_is_missing_is_named_at_once(copy):
    (copy / "benchmark_imglist/cifar10/test_svhn.txt").unlink()
    (copy / "benchmark_imglist/cifar10/test_mnist.txt").unlink()
    (copy / "images_classic/test_texture/1/03.png").unlink()
    (copy / "images_classic/test_texture/1/05.png").unlink()
    shutil.rmtree(copy / "images_classic/test_places365")
    expected = (
        f"the image lists benchmark_imglist/cifar10/test_mnist.txt, "
        f"benchmark_imglist/cifar10/test_svhn.txt are not in {copy}; "
        f"2 of the 12 images of benchmark_imglist/cifar10/test_texture.txt are not in "
        f"{copy / 'images_classic'}, the first of them test_texture/1/03.png; "
        f"12 of the 12 images of benchmark_imglist/cifar10/test_places365.txt are not in "
        f"{copy / 'images_classic'}, the first of them test_places365/0/00.png "
        "(scripts/download/download.sh of https://github.com/Jingkang50/OpenOOD fetches lists and "
        "images)"
    )
    assert data.missing("openood:cifar10:far", copy) == expected
    with pytest.raises(FileNotFoundError) as caught:
        read("openood:cifar10:far", data_dir=copy)
    assert str(caught.value) == f"{expected}. Received: 'openood:cifar10:far'"
    assert data.missing("openood:cifar10:near", copy) is None


def test_without_a_folder_it_is_asked_for():
    assert "--data-dir" in data.missing("openood:cifar10:near")
    with pytest.raises(FileNotFoundError, match=r"--data-dir.*Received: 'openood:cifar10:id'"):
        read("openood:cifar10:id")


@pytest.mark.parametrize("text", ["a.png\n", "a.png one\n", " 3\n"])
def test_a_list_that_is_none_is_refused_with_its_line(copy, text):
    path = copy / "benchmark_imglist/cifar10/test_tin.txt"
    path.write_text(path.read_text() + "\n" + text)
    with pytest.raises(ValueError, match=r"test_tin\.txt is no list of OpenOOD.*Received: line 14"):
        read("openood:cifar10:tin", data_dir=copy)
    path.write_text("\n")
    with pytest.raises(ValueError, match="names no image"):
        read("openood:cifar10:tin", data_dir=copy)


@pytest.mark.parametrize(
    ("specification", "message"),
    [
        ("openood", "benchmark must be one of cifar10, cifar100, imagenet200, imagenet"),
        ("openood:cifar1O:near", "Did you mean 'cifar10'"),
        ("openood:cifar10", "Of cifar10 there are id, near, far, cifar100, tin, mnist"),
        ("openood:cifar10:shifted", "Of cifar10 there are id"),
        ("openood:imagenet:shift", "Did you mean 'shifted'"),
    ],
)
def test_other_names_are_answered_with_the_nearest(specification, message):
    with pytest.raises(ValueError, match=message):
        parse(specification)


def test_data_of_one_list_are_the_same(openood_dir):
    assert overlap("openood:cifar10:near", "openood:cifar10:tin")
    assert not overlap("openood:cifar10:near", "openood:cifar10:tin", whole=True)
    assert overlap(f"openood:cifar10:far:{openood_dir}", f"openood:cifar10:far:{openood_dir}/.")
    assert not overlap("openood:cifar10:near", "openood:cifar10:validation")
    assert not overlap("openood:cifar10:tin", "openood:cifar100:tin")
    assert not overlap("openood:cifar10:tin", f"openood:cifar10:tin:{openood_dir}")


def test_a_changed_list_is_other_data(copy):
    specification = f"openood:cifar10:tin:{copy}"
    before = data.files_identity(specification)
    path = copy / "benchmark_imglist/cifar10/test_tin.txt"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))
    assert data.files_identity(specification) != before
    assert data.files_identity("openood:cifar10:tin") is None
