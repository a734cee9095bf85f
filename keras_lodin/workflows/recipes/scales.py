"""Where a recipe's data come from, and how much of everything: the published scale and less."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from keras_lodin.utils.registry import Registry


@dataclass(frozen=True)
class OODSet:
    """An out-of-distribution data set.

    Args:
        specification: in the language of `keras_lodin.data`; `{data}` stands for the folder of the
            data sets.
        download: for a folder, what to put there and where it is from.
    """

    specification: str
    download: str = ""


@dataclass(frozen=True)
class Data:
    """The data of an in-distribution task.

    Args:
        train: specification to train on, and to take statistics of.
        validation: specification to watch during training; None for the held-out part of `train`.
        test: specification of the in-distribution test data.
        ood: the out-of-distribution test sets.
    """

    train: str
    validation: str | None
    test: str
    ood: tuple[OODSet, ...]


@dataclass(frozen=True)
class Scale:
    """How large everything is.

    Args:
        name: what the command line calls it.
        description: a sentence that says what is smaller than published.
        data: a recipe's `id` to its data. A recipe without data has no such scale.
        networks: a recipe's network to the one that takes its place.
        training: a recipe's `id` to the settings of `Training` that differ.
    """

    name: str
    description: str
    data: Mapping[str, Data]
    networks: Mapping[str, str] = field(default_factory=dict)
    training: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


_ODIN_PAGE = "linked from the page of the ODIN code, github.com/facebookresearch/odin"
_FULL_OOD = (
    OODSet("tfds:svhn_cropped"),
    OODSet("tfds:dtd"),
    OODSet("tfds:places365_small"),
    OODSet("tfds:mnist"),
    OODSet("tfds:fashion_mnist"),
    OODSet("dir:{data}/LSUN", f"LSUN (crop): the images of LSUN.tar.gz, {_ODIN_PAGE}"),
    OODSet(
        "dir:{data}/LSUN_resize", f"LSUN (resize): the images of LSUN_resize.tar.gz, {_ODIN_PAGE}"
    ),
    OODSet("dir:{data}/iSUN", f"iSUN: the images of iSUN.tar.gz, {_ODIN_PAGE}"),
)

_FULL = Scale(
    "full",
    "The published scale, for a machine with a GPU.",
    {
        "cifar10": Data("tfds:cifar10:train", None, "tfds:cifar10:test", _FULL_OOD),
        "cifar100": Data("tfds:cifar100:train", None, "tfds:cifar100:test", _FULL_OOD),
        "imagenet": Data(
            "tfds:imagenet2012:train",
            "tfds:imagenet_v2:test[:10%]",
            "tfds:imagenet2012:validation",
            (OODSet("tfds:dtd"), OODSet("tfds:places365_small")),
        ),
    },
)

# As they came through one codec: JPEG of quality 75, so that compression tells none of them apart.
_SMALL_OOD = (
    OODSet("tfds:dtd10_jpeg75:test"),
    OODSet("tfds:mnist_jpeg75:test[:2000]"),
    OODSet("tfds:fashion_mnist_jpeg75:test[:2000]"),
)
_NARROW = {
    "wide_resnet_40_4": "wide_resnet_40_1",
    "resnet18": "resnet18_width16",
    "resnet34": "resnet34_width16",
}

_SMALL = Scale(
    "small",
    "For two cores: 5,000 training images, 5 epochs, networks of a quarter of the width (MSDNet "
    "and WRN-34-1 whole), JPEG-compressed images, 2,000 test images. CIFAR-100's place is taken by "
    "170 classes of Tiny ImageNet, 3 epochs; ImageNet's by 911 photographs of 410 classes.",
    {
        "cifar10": Data(
            "tfds:cifar10_jpeg75:train[:5000]",
            "tfds:cifar10_jpeg75:train[49000:]",
            "tfds:cifar10_jpeg75:test[:2000]",
            (OODSet("tfds:tiny_imagenet_jpeg75:test[:2000]"), *_SMALL_OOD),
        ),
        "cifar100": Data(
            "tfds:tiny_imagenet_jpeg75:test[:5000]",
            "tfds:tiny_imagenet_jpeg75:test[5000:6500]",
            "tfds:tiny_imagenet_jpeg75:test[6500:]",
            (OODSet("tfds:cifar10_jpeg75:test[:2000]"), *_SMALL_OOD),
        ),
        "imagenet": Data(
            "tfds:imagenet_like_299:test[:50%]",
            None,
            "tfds:imagenet_like_299:test[50%:]",
            (OODSet("tfds:dtd10_jpeg75:test[:400]"), OODSet("photos:400")),
        ),
    },
    _NARROW,
    {
        "cifar10": {"epochs": 5},
        "cifar100": {"epochs": 3},
        "imagenet": {"batch_size": 8},
    },
)

_DIGITS_DATA = Data(
    "digits:0-6",
    None,
    "digits:0-6",
    (OODSet("digits:7-9"), OODSet("photos:500"), OODSet("noise:uniform:500")),
)
_DIGITS = Scale(
    "digits",
    "Offline, in a minute or two: scikit-learn's digits of 8 x 8 pixels, 0 to 6 against 7 to 9, "
    "narrow networks, 8 epochs. It shows that a recipe runs, and nothing about CIFAR.",
    {"cifar10": _DIGITS_DATA, "cifar100": _DIGITS_DATA},
    _NARROW,
    {"cifar10": {"epochs": 8, "augment": None}, "cifar100": {"epochs": 8, "augment": None}},
)

SCALES: Registry[Scale] = Registry("scale")
for _place, _scale in enumerate((_FULL, _SMALL, _DIGITS)):
    SCALES.register(_scale.name, position=_place)(_scale)
