"""The networks, their in-distribution data and real out-of-distribution sets.

Images are float32 from 0 to 255. `fit` serves statistics and banks, `select` everything that
chooses, `test` the figures. Networks that are trained here saw other images than these.
"""

from __future__ import annotations

import importlib.util
import string
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import keras
import matplotlib
import numpy as np
import tensorflow_datasets as tfds
from keras import layers
from PIL import Image, ImageDraw, ImageFont

# Letters that pass for digits are left out.
LETTERS = [letter for letter in string.ascii_letters if letter not in "bBDgGIijlLoOqQsSzZ"]
PHOTOGRAPHS = ("brick", "coins", "grass", "gravel", "hubble_deep_field", "ihc", "moon", "page",
               "retina")  # fmt: skip


@dataclass
class Setting:
    """A trained classifier with its data; labels are in the order of its logits."""

    model: keras.Model
    fit: np.ndarray
    fit_labels: np.ndarray
    select: np.ndarray
    select_labels: np.ndarray
    test: np.ndarray
    test_labels: np.ndarray
    ood: dict[str, np.ndarray]


class Data:
    """Everything that is read or drawn, by name."""

    def __init__(self, data: Path, cache_folder: Path) -> None:
        self.data = data
        self.cache = cache_folder

    @cache  # noqa: B019 (one instance, as long as the program)
    def read(self, name: str, split: str) -> tuple[np.ndarray, np.ndarray]:
        """Images, uint8, and labels of a TFDS split."""
        source = tfds.load(name, data_dir=self.data / "tfds", split=split, as_supervised=True)
        pairs = list(source.as_numpy_iterator())
        return np.stack([image for image, _ in pairs]), np.array([label for _, label in pairs])

    def images(self, name: str, split: str) -> np.ndarray:
        """Images alone, float32."""
        return self.read(name, split)[0].astype("float32")

    def trained(
        self,
        name: str,
        make: Callable[[], tuple[keras.Model, int]],
        images: np.ndarray,
        labels: np.ndarray,
    ) -> keras.Model:
        """A network that is trained once and kept."""
        path = self.cache / f"{name}.keras"
        if not path.exists():
            keras.utils.set_random_seed(0)
            model, epochs = make()
            model.compile(
                keras.optimizers.Adam(
                    keras.optimizers.schedules.CosineDecay(2e-3, epochs * (len(images) // 64))
                ),
                keras.losses.SparseCategoricalCrossentropy(from_logits=True),
                metrics=["accuracy"],
            )
            model.fit(images, labels, batch_size=64, epochs=epochs, verbose=2)
            path.parent.mkdir(parents=True, exist_ok=True)
            model.save(path)
        return keras.models.load_model(path)

    def setting(self, network: str) -> Setting:
        """A network of the experiment with its sets."""
        return getattr(self, f"_{network}")()

    def _cifar10_resnet20(self) -> Setting:
        images, labels = self.read("cifar10_jpeg75", "test[:3000]")
        fit, fit_labels = self.read("cifar10_jpeg75", "train[:5000]")
        ood = {
            name: self.images(f"{name}_jpeg75", "test[:1000]")
            for name in ("tiny_imagenet", "dtd10", "mnist", "fashion_mnist")
        }
        return Setting(
            keras.models.load_model(self.data / "models" / "cifar10_resnet20.keras"),
            fit.astype("float32"),
            fit_labels,
            images[:1000].astype("float32"),
            labels[:1000],
            images[1000:].astype("float32"),
            labels[1000:],
            ood | {"photo_tiles": photo_tiles(600, 32), "noise": drawn_noise(600, (32, 32, 3))},
        )

    def _cifar6_cnn(self) -> Setting:
        """Six animals; the four vehicles are what it does not know."""
        kept = [2, 3, 4, 5, 6, 7]
        images, labels = self.read("cifar10_jpeg75", "train")
        own = np.isin(labels, kept)
        images, labels = images[own].astype("float32"), np.searchsorted(kept, labels[own])
        tests, test_labels = self.read("cifar10_jpeg75", "test")
        known = np.isin(test_labels, kept)
        ours, our_labels = tests[known].astype("float32"), np.searchsorted(kept, test_labels[known])
        ood = {"held_out_classes": tests[~known][:1000].astype("float32")} | {
            name: self.images(f"{name}_jpeg75", "test[:1000]")
            for name in ("dtd10", "mnist", "fashion_mnist")
        }
        return Setting(
            self.trained("cifar6_cnn", lambda: (_cnn((32, 32, 3), 6, (32, 64, 128)), 6),
                         images, labels),
            images[:5000],
            labels[:5000],
            ours[:1000],
            our_labels[:1000],
            ours[1000:3000],
            our_labels[1000:3000],
            ood | {"photo_tiles": photo_tiles(600, 32), "noise": drawn_noise(600, (32, 32, 3))},
        )  # fmt: skip

    def _fashion7_cnn(self) -> Setting:
        """Seven kinds of clothes; bags, sandals and ankle boots are what it does not know."""
        kept = [0, 1, 2, 3, 4, 6, 7]
        images, labels = self.read("fashion_mnist28", "test")
        known = np.isin(labels, kept)
        ours, our_labels = images[known].astype("float32"), np.searchsorted(kept, labels[known])
        train, select = 2100, 2800
        return Setting(
            self.trained("fashion7_cnn", lambda: (_cnn((28, 28, 1), 7, (32, 64, 128)), 25),
                         ours[:train], our_labels[:train]),
            ours[:train],
            our_labels[:train],
            ours[train:select],
            our_labels[train:select],
            ours[select:],
            our_labels[select:],
            {
                "held_out_classes": images[~known][:1000].astype("float32"),
                "mnist": self.images("mnist28", "test[:1000]"),
                "letters": letters(1000),
                "cifar10": self._grey("cifar10_jpeg75", "test[:600]"),
                "dtd10": self._grey("dtd10_jpeg75", "test[:1000]"),
                "noise": drawn_noise(600, (28, 28, 1)),
            },
        )  # fmt: skip

    def _mnist_cnn(self) -> Setting:
        return self._digits("mnist_cnn", _mnist_network)

    def _mnist_bn_cnn(self) -> Setting:
        return self._digits("mnist_bn_cnn", lambda: (_cnn((28, 28, 1), 10, (16, 32, 64)), 12))

    def _digits(self, name: str, make: Callable[[], tuple[keras.Model, int]]) -> Setting:
        images, labels = self.read("mnist28", "test")
        images = images.astype("float32")
        return Setting(
            self.trained(name, make, images[:3000], labels[:3000]),
            images[:3000],
            labels[:3000],
            images[3000:4000],
            labels[3000:4000],
            images[4000:],
            labels[4000:],
            {
                "letters": letters(1000),
                "fashion_mnist": self.images("fashion_mnist28", "test[:1000]"),
                "cifar10": self._grey("cifar10_jpeg75", "test[:600]"),
                "dtd10": self._grey("dtd10_jpeg75", "test[:1000]"),
                "noise": drawn_noise(600, (28, 28, 1)),
            },
        )

    def _imagenet_efficientnet_lite0(self) -> Setting:
        """Of 911 photographs there are three parts; banks and statistics are small ones."""
        images, labels = self.read("imagenet_like_299", "test")
        order = np.random.default_rng(0).permutation(len(images))
        size = (224, 224)
        ours, our_labels = resized(images[order], size), labels[order]
        return Setting(
            keras.models.load_model(self.data / "models" / "imagenet_efficientnet_lite0.keras"),
            ours[:311],
            our_labels[:311],
            ours[311:611],
            our_labels[311:611],
            ours[611:],
            our_labels[611:],
            {
                "photo_tiles": photo_tiles(150, 224),
                "dtd10": resized(self.images("dtd10_jpeg75", "test[:150]"), size),
                "tiny_imagenet": resized(self.images("tiny_imagenet_jpeg75", "test[:150]"), size),
                "cifar10": resized(self.images("cifar10_jpeg75", "test[:150]"), size),
                "fashion_mnist": resized(self.images("fashion_mnist_jpeg75", "test[:150]"), size),
                "letters": np.repeat(letters(150, 224), 3, axis=-1),
                "noise": drawn_noise(150, (224, 224, 3)),
            },
        )

    # --- Trained for `choose_regret.py` alone -------------------------------------------------

    def _cifar5_resnet8(self) -> Setting:
        """Planes, birds, cats, horses, trucks; CIFAR-10's other five are what it does not know."""
        kept = [0, 2, 3, 7, 9]
        images, labels = self.read("cifar10_jpeg75", "train")
        own = np.isin(labels, kept)
        images, labels = images[own].astype("float32"), np.searchsorted(kept, labels[own])
        tests, test_labels = self.read("cifar10_jpeg75", "test")
        known = np.isin(test_labels, kept)
        ours, our_labels = tests[known].astype("float32"), np.searchsorted(kept, test_labels[known])
        ood = {"held_out_classes": tests[~known][:1000].astype("float32")} | {
            name: self.images(f"{name}_jpeg75", "test[:1000]")
            for name in ("tiny_imagenet", "dtd10", "mnist", "fashion_mnist")
        }
        return Setting(
            self.trained("cifar5_resnet8", lambda: (_resnet8((32, 32, 3), 5), 8), images, labels),
            images[:5000],
            labels[:5000],
            ours[:1000],
            our_labels[:1000],
            ours[1000:3000],
            our_labels[1000:3000],
            ood | {"photo_tiles": photo_tiles(600, 32), "noise": drawn_noise(600, (32, 32, 3))},
        )

    def _mnist7_mlp(self) -> Setting:
        """Digits 0 to 6 without a convolution; 7, 8 and 9 are what it does not know."""
        images, labels = self.read("mnist28", "test")
        known = labels < 7
        ours, our_labels = images[known].astype("float32"), labels[known]
        train, select = 2000, 2750
        return Setting(
            self.trained("mnist7_mlp", lambda: (_dense((28, 28, 1), 7), 20),
                         ours[:train], our_labels[:train]),
            ours[:train],
            our_labels[:train],
            ours[train:select],
            our_labels[train:select],
            ours[select:],
            our_labels[select:],
            {
                "held_out_classes": images[~known][:1000].astype("float32"),
                "letters": letters(1000),
                "fashion_mnist": self.images("fashion_mnist28", "test[:1000]"),
                "cifar10": self._grey("cifar10_jpeg75", "test[:600]"),
                "dtd10": self._grey("dtd10_jpeg75", "test[:1000]"),
                "noise": drawn_noise(600, (28, 28, 1)),
            },
        )  # fmt: skip

    def _fashion6_gelu(self) -> Setting:
        """Six kinds of clothes, features that can be negative; pullovers, coats, shirts and
        sneakers are what it does not know.
        """
        kept = [0, 1, 3, 5, 8, 9]
        images, labels = self.read("fashion_mnist28", "test")
        known = np.isin(labels, kept)
        ours, our_labels = images[known].astype("float32"), np.searchsorted(kept, labels[known])
        train, select = 1800, 2400
        return Setting(
            self.trained("fashion6_gelu",
                         lambda: (_cnn((28, 28, 1), 6, (24, 48, 96), "gelu"), 25),
                         ours[:train], our_labels[:train]),
            ours[:train],
            our_labels[:train],
            ours[train:select],
            our_labels[train:select],
            ours[select:],
            our_labels[select:],
            {
                "held_out_classes": images[~known][:1000].astype("float32"),
                "mnist": self.images("mnist28", "test[:1000]"),
                "letters": letters(1000),
                "cifar10": self._grey("cifar10_jpeg75", "test[:600]"),
                "dtd10": self._grey("dtd10_jpeg75", "test[:1000]"),
                "noise": drawn_noise(600, (28, 28, 1)),
            },
        )  # fmt: skip

    def _grey(self, name: str, split: str) -> np.ndarray:
        grey = self.images(name, split).mean(axis=-1, keepdims=True)
        return resized(grey, (28, 28))


def _cnn(
    shape: tuple[int, ...], classes: int, widths: tuple[int, ...], activation: str = "relu"
) -> keras.Model:
    inputs = keras.Input(shape)
    x = layers.Rescaling(1 / 255)(inputs)
    for place, width in enumerate(widths):
        for _ in range(2 if place else 1):
            x = layers.Conv2D(width, 3, padding="same", use_bias=False)(x)
            x = layers.BatchNormalization(momentum=0.9)(x)
            x = layers.Activation(activation)(x)
        if place < len(widths) - 1:
            x = layers.MaxPooling2D()(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(classes)(layers.Dropout(0.2)(x)))


def _resnet8(shape: tuple[int, ...], classes: int) -> keras.Model:
    """Three residual blocks of two convolutions."""

    def convolved(x: keras.KerasTensor, width: int, strides: int, size: int) -> keras.KerasTensor:
        x = layers.Conv2D(width, size, strides, padding="same", use_bias=False)(x)
        return layers.BatchNormalization(momentum=0.9)(x)

    inputs = keras.Input(shape)
    x = layers.ReLU()(convolved(layers.Rescaling(1 / 255)(inputs), 16, 1, 3))
    for width, strides in ((16, 1), (32, 2), (64, 2)):
        inside = convolved(layers.ReLU()(convolved(x, width, strides, 3)), width, 1, 3)
        x = layers.ReLU()(layers.Add()([inside, convolved(x, width, strides, 1)]))
    return keras.Model(inputs, layers.Dense(classes)(layers.GlobalAveragePooling2D()(x)))


def _dense(shape: tuple[int, ...], classes: int) -> keras.Model:
    """Two hidden layers of 256."""
    inputs = keras.Input(shape)
    x = layers.Flatten()(layers.Rescaling(1 / 255)(inputs))
    for _ in range(2):
        x = layers.Dropout(0.2)(layers.Dense(256, activation="relu")(x))
    return keras.Model(inputs, layers.Dense(classes)(x))


def _mnist_network() -> tuple[keras.Model, int]:
    """The textbook's: two convolutions and a hidden layer."""
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Rescaling(1 / 255),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(128, activation="relu"),
            layers.Dense(10),
        ]
    ), 12


def resized(images: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.concatenate(
        [
            np.asarray(keras.ops.image.resize(images[i : i + 64].astype("float32"), size))
            for i in range(0, len(images), 64)
        ]
    )


def drawn_noise(count: int, shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(99).uniform(0, 255, (count, *shape)).astype("float32")


def letters(count: int, size: int = 28) -> np.ndarray:
    """White letters on black, in the fonts that Matplotlib brings, turned and sheared a little."""
    fonts = sorted(Path(matplotlib.get_data_path(), "fonts", "ttf").glob("DejaVu*.ttf"))
    fonts = [path for path in fonts if "Display" not in path.name]
    rng = np.random.default_rng(7)
    result = np.empty((count, size, size, 1), "float32")
    for i in range(count):
        font = ImageFont.truetype(str(rng.choice(fonts)), 20 * 8)
        canvas = Image.new("L", (28 * 8, 28 * 8))
        drawing = ImageDraw.Draw(canvas)
        drawing.text((14 * 8, 14 * 8), str(rng.choice(LETTERS)), 255, font, anchor="mm")
        turn, shear = np.deg2rad(rng.uniform(-15, 15)), rng.uniform(-0.2, 0.2)
        middle = 14 * 8
        matrix = np.array([[1.0, shear], [0.0, 1.0]]) @ np.array(
            [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
        )
        shift = np.array([middle, middle]) - matrix @ [middle, middle]
        turned = canvas.transform(
            canvas.size, Image.Transform.AFFINE,
            (*matrix[0], shift[0], *matrix[1], shift[1]), Image.Resampling.BILINEAR,
        )  # fmt: skip
        result[i, ..., 0] = turned.resize((size, size), Image.Resampling.BOX)
    return result


def photo_tiles(count: int, size: int) -> np.ndarray:
    """Squares out of nine pictures of surfaces and from science that scikit-image brings; the
    pictures are few, so their tiles are no independent samples.
    """
    pictures = []
    found = importlib.util.find_spec("skimage")
    if found is None or found.origin is None:
        raise SystemExit("The photographs come with scikit-image: pip install scikit-image")
    for name in PHOTOGRAPHS:
        (path,) = Path(found.origin).parent.glob(f"data/{name}.*")
        pictures.append(Image.open(path).convert("RGB"))
    rng = np.random.default_rng(5)
    result = np.empty((count, size, size, 3), "float32")
    for i in range(count):
        picture = pictures[i % len(pictures)]
        side = int(rng.uniform(0.4, 1.0) * min(picture.size))
        left = int(rng.integers(picture.size[0] - side + 1))
        top = int(rng.integers(picture.size[1] - side + 1))
        tile = picture.crop((left, top, left + side, top + side))
        result[i] = tile.resize((size, size), Image.Resampling.BICUBIC)
    return result
