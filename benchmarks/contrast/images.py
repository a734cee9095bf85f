"""Made-up out-of-distribution images, each from in-distribution images alone.

Every function takes images of shape `(batch, height, width, channels)`, the class that the
classifier gives each of them, and a generator; it gives float32 images of the same shape within
the range of the given ones.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import ndimage

from keras_lodin.data.mirrored import mirrored
from keras_lodin.data.scrambled import scrambled

Contrast = Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray]


def partners(classes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """For each sample the place of one that is given another class, where there is one."""
    order = rng.permutation(len(classes))
    found = np.arange(len(classes))
    for shift in range(1, len(classes)):
        other = np.empty_like(order)
        other[order] = np.roll(order, shift)
        open_places = found == np.arange(len(classes))
        differs = classes[other] != classes
        found = np.where(open_places & differs, other, found)
        if (found != np.arange(len(classes))).all():
            break
    return found


def _blocks(count: int) -> Contrast:
    def contrast(images: np.ndarray, classes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        n, height, width, channels = images.shape
        tall, wide = height // count, width // count
        tiles = images[:, : tall * count, : wide * count].reshape(
            n, count, tall, count, wide, channels
        )
        tiles = tiles.transpose(0, 1, 3, 2, 4, 5).reshape(n, count**2, tall, wide, channels)
        order = rng.permuted(np.tile(np.arange(count**2), (n, 1)), axis=1)
        tiles = np.take_along_axis(tiles, order[:, :, None, None, None], axis=1)
        tiles = tiles.reshape(n, count, count, tall, wide, channels).transpose(0, 1, 3, 2, 4, 5)
        result = np.array(images)
        result[:, : tall * count, : wide * count] = tiles.reshape(
            n, tall * count, wide * count, channels
        )
        return result

    return contrast


def blocks16(images: np.ndarray, classes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return scrambled(images, seed=int(rng.integers(1 << 30)))


def feathered(images: np.ndarray, classes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Sixteen blocks that change places, each faded into its neighbours."""
    n, height, width, _ = images.shape
    count = 4
    tall, wide = height // count, width // count
    margins = tall // 4, wide // 4
    padding = [(0, 0), (margins[0],) * 2, (margins[1],) * 2, (0, 0)]
    padded = np.pad(images, padding, mode="reflect")
    total = np.zeros_like(padded)
    weight = np.zeros((1, *padded.shape[1:3], 1), "float32")
    window = np.multiply.outer(_window(tall, margins[0]), _window(wide, margins[1]))
    window = window[None, :, :, None].astype("float32")
    order = rng.permuted(np.tile(np.arange(count**2), (n, 1)), axis=1)

    def place(slot: int) -> tuple[slice, slice]:
        row, column = divmod(slot, count)
        return (
            slice(row * tall, (row + 1) * tall + 2 * margins[0]),
            slice(column * wide, (column + 1) * wide + 2 * margins[1]),
        )

    pieces = np.stack([padded[(slice(None), *place(slot))] for slot in range(count**2)], axis=1)
    for slot in range(count**2):
        where = (slice(None), *place(slot))
        total[where] += window * pieces[np.arange(n), order[:, slot]]
        weight[where] += window
    mixed = total / np.maximum(weight, 1e-6)
    inner = mixed[:, margins[0] : margins[0] + height, margins[1] : margins[1] + width]
    covered = weight[:, margins[0] : margins[0] + height, margins[1] : margins[1] + width] > 0
    return np.where(covered, inner, images).astype("float32")


def _window(size: int, margin: int) -> np.ndarray:
    """1 inside, a raised cosine over `2 * margin` at both ends: neighbours sum to 1."""
    if margin == 0:
        return np.ones(size)
    rise = np.sin(np.pi / 2 * (np.arange(2 * margin) + 0.5) / (2 * margin)) ** 2
    return np.concatenate([rise, np.ones(size - 2 * margin), rise[::-1]])


def warp(images: np.ndarray, classes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Smooth distortions by up to about a seventh of the image: no edge is added."""
    n, height, width, channels = images.shape
    rows, columns = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    result = np.empty(images.shape, "float32")
    for i in range(n):
        shifts = []
        for size in (height, width):
            coarse = rng.uniform(-1.0, 1.0, (6, 6))
            fine = ndimage.zoom(coarse, (height / 6, width / 6), order=3)[:height, :width]
            shifts.append(0.15 * size * fine)
        for channel in range(channels):
            result[i, ..., channel] = ndimage.map_coordinates(
                images[i, ..., channel],
                [rows + shifts[0], columns + shifts[1]],
                order=1,
                mode="reflect",
            )
    return result


def phase(images: np.ndarray, classes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The same amplitudes of all frequencies with random phases, the same in all channels."""
    low, high = images.min(), images.max()
    result = np.empty(images.shape, "float32")
    for i, image in enumerate(images):
        spectrum = np.fft.fft2(image, axes=(0, 1))
        angles = np.angle(np.fft.fft2(rng.normal(size=image.shape[:2])))
        angles[0, 0] = 0.0  # The mean colour stays.
        mixed = spectrum * np.exp(1j * angles)[..., None]
        result[i] = np.fft.ifft2(mixed, axes=(0, 1)).real
    return np.clip(result, low, high)


def texture(images: np.ndarray, classes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return mirrored(images, rng)


def zoom(images: np.ndarray, classes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random sixth of height and width, enlarged to the whole."""
    low, high = images.min(), images.max()
    result = np.empty(images.shape, "float32")
    height, width = images.shape[1:3]
    for i, image in enumerate(images):
        sides = max(3, height // 6), max(3, width // 6)
        top, left = rng.integers(height - sides[0] + 1), rng.integers(width - sides[1] + 1)
        part = image[top : top + sides[0], left : left + sides[1]]
        factors = (height / sides[0], width / sides[1], 1)
        result[i] = ndimage.zoom(part, factors, order=3, mode="nearest", grid_mode=True)
    return np.clip(result, low, high)


def mean(images: np.ndarray, classes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The mean of two images that are given different classes."""
    return ((images + images[partners(classes, rng)]) / 2).astype("float32")


def mosaic(images: np.ndarray, classes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Four quarters, three of which come from images that are given other classes."""
    result = np.array(images, "float32")
    height, width = images.shape[1] // 2, images.shape[2] // 2
    for rows, columns in (
        (slice(None, height), slice(width, None)),
        (slice(height, None), slice(None, width)),
        (slice(height, None), slice(width, None)),
    ):
        result[:, rows, columns] = images[partners(classes, rng)][:, rows, columns]
    return result


def blur(images: np.ndarray, classes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    sigma = images.shape[1] / 16
    return ndimage.gaussian_filter(images, (0, sigma, sigma, 0)).astype("float32")


def speckle(images: np.ndarray, classes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    low, high = images.min(), images.max()
    noise = rng.normal(0.0, 0.5, images.shape)
    return np.clip(low + (images - low) * (1.0 + noise), low, high).astype("float32")


def inverted(images: np.ndarray, classes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return (images.min() + images.max() - images).astype("float32")


def noise(images: np.ndarray, classes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Uniform noise over the range of the images."""
    return rng.uniform(images.min(), images.max(), images.shape).astype("float32")


def cloud(images: np.ndarray, classes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Smooth noise of a random coarseness, stretched over the range of the images."""
    low, high = float(images.min()), float(images.max())
    result = np.empty(images.shape, "float32")
    for i, shape in enumerate(images.shape[1:] for _ in images):
        sigma = shape[0] * 2.0 ** rng.uniform(-6, -2)
        smooth = ndimage.gaussian_filter(rng.normal(size=shape), (sigma, sigma, 0), mode="wrap")
        smooth = smooth - smooth.min()
        result[i] = low + (high - low) * smooth / max(smooth.max(), 1e-12)
    return result


def pixels(images: np.ndarray, classes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """All pixels of an image in another order."""
    n, height, width, channels = images.shape
    order = rng.permuted(np.tile(np.arange(height * width), (n, 1)), axis=1)[..., None]
    flat = images.reshape(n, height * width, channels)
    return np.take_along_axis(flat, order, axis=1).reshape(images.shape).astype("float32")


CONTRASTS: dict[str, Contrast] = {
    "blocks4": _blocks(2),
    "blocks16": blocks16,
    "blocks64": _blocks(8),
    "feathered": feathered,
    "warp": warp,
    "phase": phase,
    "texture": texture,
    "zoom": zoom,
    "mean": mean,
    "mosaic": mosaic,
    "blur": blur,
    "speckle": speckle,
    "inverted": inverted,
    "noise": noise,
    "cloud": cloud,
    "pixels": pixels,
}
