"""How complex an image is: the number of bytes it compresses to."""

from __future__ import annotations

from keras_lodin.data import readers
from keras_lodin.data.value_range import Bounds
from keras_lodin.utils.late_keras import ops
from keras_lodin.utils.tensor import Tensor

_CHANNELS = (1, 2, 3, 4)


def png_sizes(images: Tensor, input_range: Bounds) -> Tensor:
    """The size of each image as a PNG file, after Lin, Roy & Li (2021).

    Pillow's `image.save(file, "PNG", optimize=True)` writes files of these sizes, so that
    another program can compute them too.

    Args:
        images: batch of shape `(batch, height, width, channels)`, 1 to 4 channels. Values outside
            `input_range` are clipped to it, and NaN is its lowest value.
        input_range: `(lo, hi)`, the values that become 0 and 255.

    Returns:
        float32 tensor of shape `(batch,)`, bytes.
    """
    low, high = input_range
    pixels = (ops.cast(images, "float32") - low) * (255.0 / (high - low))
    pixels = ops.where(ops.isnan(pixels), 0.0, ops.clip(pixels, 0.0, 255.0))
    return readers.READER.png_sizes(ops.cast(ops.round(pixels), "uint8"))


def check_image_shape(shape: tuple[int | None, ...]) -> None:
    """Raises ValueError unless inputs of a shape are images that PNG can hold."""
    if len(shape) != 3 or shape[-1] not in _CHANNELS:
        raise ValueError(
            "Only images of 1 to 4 channels, (height, width, channels), have a size as a PNG file. "
            f"Received: inputs of shape {tuple(shape)}"
        )
