"""What the networks of the literature are made of, as they initialise, pad and normalise it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from keras import layers

from keras_lodin.utils.tensor import Tensor


def stages(blocks: Sequence[int]) -> Iterator[tuple[int, int, str]]:
    """For each block of several stages the number of its stage, its strides and its name.

    All stages but the first begin with a block that halves height and width.

    Args:
        blocks: how many blocks each stage has.
    """
    for stage, count in enumerate(blocks):
        for block in range(count):
            strides = 2 if stage > 0 and block == 0 else 1
            yield stage, strides, f"stage{stage + 1}_block{block + 1}"


def convolution(
    x: Tensor, filters: int, size: int, strides: int, name: str, suffix: str = ""
) -> Tensor:
    """A convolution without an offset, padded on both sides alike, as the literature pads.

    Keras's "same" pads a strided convolution on one side only. `suffix` ends the name of the
    convolution, and not that of the padding.
    """
    if strides > 1 and size > 1:
        x = layers.ZeroPadding2D(size // 2, name=f"{name}_pad")(x)
    return layers.Conv2D(
        filters,
        size,
        strides,
        padding="valid" if strides > 1 else "same",
        use_bias=False,
        # Of the papers, and of the published Learning ODIN code.
        kernel_initializer="he_normal",
        name=name + suffix,
    )(x)


def normalization(x: Tensor, name: str) -> Tensor:
    """BatchNormalization with the literature's momentum and epsilon."""
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}_norm")(x)


def normalization_relu(x: Tensor, name: str) -> Tensor:
    """BatchNormalization and ReLU."""
    return layers.ReLU(name=f"{name}_relu")(normalization(x, name))


def logits(x: Tensor, num_classes: int, prefix: str = "") -> Tensor:
    """The mean over positions, in a layer `features`, and the logits of it, in a layer `logits`."""
    x = layers.GlobalAveragePooling2D(name=f"{prefix}features")(x)
    # Statistics and scores are float32 whatever the precision of the convolutions.
    return layers.Dense(num_classes, dtype="float32", name=f"{prefix}logits")(x)
