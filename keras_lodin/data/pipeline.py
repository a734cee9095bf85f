"""From decoded pixels to what a classifier takes: channels, size and value range."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import ModuleType

import numpy as np

from keras_lodin.data.value_range import Bounds
from keras_lodin.utils.tensor import Tensor


def resolve_shapes(
    name: str, natural: tuple[int, int, int], image_shape: tuple[int | None, ...] | None
) -> tuple[tuple[int, int, int], tuple[int, ...]]:
    """Settles the shape that images are resized to, and the shape that examples have.

    Args:
        name: The specification, for messages.
        natural: Height, width and channels (1 or 3) of the images as stored.
        image_shape: The per-example shape that the classifier takes, or `None` for the natural
            one. An unknown dimension, `None`, keeps the natural size.

    Returns:
        The image's (height, width, channels) and the example's shape. They differ only for a
        classifier that takes no images: its shape must then hold as many values as an image, which
        is reshaped (a digit of 8x8x1 becomes a vector of 64).

    Raises:
        ValueError: If images cannot be brought to `image_shape`.
    """
    if image_shape is None:
        return natural, natural
    if len(image_shape) == 3:
        height, width, channels = (
            there if wanted is None else wanted
            for there, wanted in zip(natural, image_shape, strict=True)
        )
        if channels not in (1, 3):
            raise ValueError(
                f"The images of {name!r} have {natural[2]} channel(s), which can be turned into 1 "
                f"(grey) or 3 (RGB), channels last, but the classifier takes {channels}. "
                f"Received: image_shape={image_shape}"
            )
        return (height, width, channels), (height, width, channels)
    known = tuple(size for size in image_shape if size is not None)
    if len(known) == len(image_shape) and math.prod(known) == math.prod(natural):
        return natural, known
    raise ValueError(
        f"The images of {name!r} have shape {natural}, {math.prod(natural)} values, which do not "
        f"fit a classifier that takes shape {image_shape}. Received: image_shape={image_shape}"
    )


def to_channels(reader: ModuleType, pixels: Tensor, channels: int) -> Tensor:
    """Turns an image grey or RGB.

    Args:
        reader: Who reads, see `keras_lodin.data.readers`.
        pixels: An image, shape (height, width, channels) with 1 to 4 channels: grey, grey with
            alpha, RGB or RGB with alpha. Alpha is ignored.
        channels: 1 or 3.

    Returns:
        The image as float32, values in the range they had. Grey is the luma of ITU-R BT.601.
    """
    pixels = reader.floats(pixels)
    stored = pixels.shape[2]
    if stored in (2, 4):
        pixels = pixels[:, :, : stored - 1]
    if pixels.shape[2] == channels:
        return pixels
    return reader.grey(pixels) if channels == 1 else reader.colour(pixels)


def pixel_transform(
    reader: ModuleType,
    shapes: tuple[tuple[int, int, int], tuple[int, ...]],
    input_range: Bounds,
    largest: float = 255.0,
) -> Callable[[Tensor], Tensor]:
    """Builds the function that makes an example of an image's pixels.

    The whole image is resized (bilinear, with antialiasing when it shrinks), without keeping its
    aspect ratio and without cropping.

    Args:
        reader: Who reads, see `keras_lodin.data.readers`.
        shapes: The image's and the example's shape, from `resolve_shapes`.
        input_range: Where 0 and `largest` go, linearly; two numbers, or two arrays that broadcast
            against an example.
        largest: The largest value a pixel can take.

    Returns:
        A function from an image, any numeric type, shape (height, width, channels) with known
        channels, to an example, float32 of the example's shape.
    """
    (height, width, channels), example_shape = shapes
    low, high = input_range
    # One factor, which is exactly 1 when nothing is to be scaled; or one for each feature.
    scale = (high - low) / largest
    per_feature = np.ndim(scale) > 0

    def transform(pixels: Tensor) -> Tensor:
        image = to_channels(reader, pixels, channels)
        if tuple(image.shape[:2]) != (height, width):
            image = reader.resized(image, (height, width))
        if per_feature:
            image = reader.reshape(image, example_shape)
        # Rounding may leave the range by the last bit.
        image = reader.clipped(image * scale + low, low, high)
        return reader.reshape(image, example_shape)

    return transform
