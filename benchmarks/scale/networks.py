"""The networks of `keras_lodin.models` as pure functions.

The names of layers and weights are Keras's, so that weights go from one to the other by name:
`parameters[layer][weight]` and `statistics[layer][weight]`. Initialisers, momentum and epsilon are
the same; `tests/reference/test_full_scale_against_gqmodel.py` compares them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

_MOMENTUM, _EPSILON = 0.9, 1e-5


class Network(NamedTuple):
    """A classifier of images with values from 0 to 1.

    Attributes:
        initialise: `initialise(key) -> parameters, statistics`.
        logits: `logits(parameters, statistics, x, training) -> logits, statistics`; float32 logits,
            and with `training` the batch's statistics in the normalisation.
    """

    initialise: Callable[..., Any]
    logits: Callable[..., Any]


@functools.lru_cache
def build(name: str, classes: int = 10, dtype: Any = jnp.float32) -> Network:
    """A network by name.

    Args:
        name: `resnet18`, `resnet20`, `resnet18_width16` or `wide_resnet_34_1`, or another width
            or depth in their place.
        classes: number of classes.
        dtype: of the convolutions; statistics and logits are float32.

    Raises:
        ValueError: for another name.
    """
    if name == "resnet20":
        body = _resnet20
    elif name.startswith("resnet18"):
        width = 64 if name == "resnet18" else int(name.removeprefix("resnet18_width"))
        body = functools.partial(_resnet18, width=width)
    elif name.startswith("wide_resnet_"):
        depth, width = map(int, name.split("_")[2:])
        body = functools.partial(_wide_resnet, depth=depth, width=width)
    else:
        raise ValueError(
            f"Expected resnet18, resnet20 or wide_resnet_DEPTH_WIDTH. Received: name={name!r}"
        )

    def run(layers: Any, x: Any) -> Any:
        features = jnp.mean(body(layers, x.astype(dtype)).astype(jnp.float32), (1, 2))
        return layers.dense(features, classes, "logits")

    def initialise(key: Any) -> tuple[Any, Any]:
        layers = _Creation(key)
        run(layers, jnp.zeros((1, 32, 32, 3), dtype))
        return layers.parameters, layers.statistics

    def logits(parameters: Any, statistics: Any, x: Any, training: bool) -> tuple[Any, Any]:
        layers = _Layers(parameters, statistics, training)
        return run(layers, x), layers.after

    return Network(jax.jit(initialise), logits)


def convolved(x: Any, kernel: Any, strides: int) -> Any:
    """A convolution of size 1 or 3 and strides 1 or 2, made of convolutions without strides.

    The second derivative of one with strides holds convolutions of an image full of holes with a
    kernel as large as an image, for which a GPU has no fast program.

    Args:
        x: of shape `(batch, height, width, channels)`, height and width even if `strides` is 2.
        kernel: of shape `(size, size, channels, filters)`.
        strides: 1 or 2.
    """
    size = kernel.shape[0]
    padding = size // 2
    if strides == 2 and size == 1:
        x = x[:, ::2, ::2]
    elif strides == 2:
        # Four neighbours become channels of one pixel, and a kernel of 3, with a row and a column
        # of zeros, one of 2.
        batch, height, width, channels = x.shape
        x = jnp.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)])
        x = x.reshape(batch, height // 2 + 1, 2, width // 2 + 1, 2, channels)
        x = x.transpose(0, 1, 3, 2, 4, 5)
        x = x.reshape(batch, height // 2 + 1, width // 2 + 1, 4 * channels)
        kernel = jnp.pad(kernel, [(0, 1), (0, 1), (0, 0), (0, 0)])
        kernel = kernel.reshape(2, 2, 2, 2, channels, -1).transpose(0, 2, 1, 3, 4, 5)
        kernel = kernel.reshape(2, 2, 4 * channels, -1)
        padding = 0
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (1, 1),
        [(padding, padding)] * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


class _Layers:
    """Applies layers by name."""

    def __init__(self, parameters: Any, statistics: Any, training: bool) -> None:
        self.parameters, self.statistics = parameters, statistics
        self.after = dict(statistics)
        self.training = training

    def convolution(self, x: Any, filters: int, size: int, strides: int, name: str) -> Any:
        """Padded on both sides alike, also where it has strides; `filters` is what is made."""
        return convolved(x, self.parameters[name]["kernel"].astype(x.dtype), strides)

    def norm(self, x: Any, name: str) -> Any:
        own, statistics = self.parameters[name], self.statistics[name]
        wide = x.astype(jnp.float32)
        if self.training:
            # Both sums in one pass over memory. No gradient is stopped: the variance depends on
            # the mean, which counts when it is differentiated twice.
            mean = jnp.mean(wide, (0, 1, 2))
            variance = jnp.mean(jnp.square(wide), (0, 1, 2)) - jnp.square(mean)
            self.after[name] = {
                key: _MOMENTUM * statistics[key] + (1.0 - _MOMENTUM) * value
                for key, value in (("moving_mean", mean), ("moving_variance", variance))
            }
        else:
            mean, variance = statistics["moving_mean"], statistics["moving_variance"]
        scale = own["gamma"] * jax.lax.rsqrt(variance + _EPSILON)
        return (wide * scale + (own["beta"] - mean * scale)).astype(x.dtype)

    def dense(self, x: Any, units: int, name: str) -> Any:
        own = self.parameters[name]
        product = jnp.matmul(x, own["kernel"], precision=jax.lax.Precision.HIGHEST)
        return product + own["bias"]


class _Creation(_Layers):
    """Makes every layer's weights before it is applied."""

    def __init__(self, key: Any) -> None:
        super().__init__({}, {}, False)
        self._key = key

    def _draw(self, initialiser: Any, shape: tuple[int, ...]) -> Any:
        self._key, own = jax.random.split(self._key)
        return initialiser(own, shape, jnp.float32)

    def convolution(self, x: Any, filters: int, size: int, strides: int, name: str) -> Any:
        shape = (size, size, x.shape[-1], filters)
        self.parameters[name] = {"kernel": self._draw(jax.nn.initializers.he_normal(), shape)}
        return super().convolution(x, filters, size, strides, name)

    def norm(self, x: Any, name: str) -> Any:
        # Each an array of its own, as a step gives the memory of every one of them back.
        count = x.shape[-1]
        self.parameters[name] = {"gamma": jnp.ones(count), "beta": jnp.zeros(count)}
        self.statistics[name] = {
            "moving_mean": jnp.zeros(count),
            "moving_variance": jnp.ones(count),
        }
        return super().norm(x, name)

    def dense(self, x: Any, units: int, name: str) -> Any:
        kernel = self._draw(jax.nn.initializers.glorot_uniform(), (x.shape[-1], units))
        self.parameters[name] = {"kernel": kernel, "bias": jnp.zeros(units)}
        return super().dense(x, units, name)


def _convolution_norm(layers: Any, x: Any, filters: int, size: int, strides: int, name: str) -> Any:
    x = layers.convolution(x, filters, size, strides, f"{name}_conv")
    return layers.norm(x, f"{name}_norm")


def _basic_block(layers: Any, x: Any, filters: int, strides: int, name: str, shortcut: Any) -> Any:
    y = _convolution_norm(layers, x, filters, 3, strides, f"{name}_1")
    y = _convolution_norm(layers, jax.nn.relu(y), filters, 3, 1, f"{name}_2")
    return jax.nn.relu(y + shortcut)


def _resnet18(layers: Any, x: Any, width: int) -> Any:
    x = jax.nn.relu(_convolution_norm(layers, x, width, 3, 1, "stem"))
    for stage in range(4):
        for block in range(2):
            filters = width * 2**stage
            strides = 2 if stage > 0 and block == 0 else 1
            name = f"stage{stage + 1}_block{block + 1}"
            shortcut = x
            if strides != 1 or x.shape[-1] != filters:
                shortcut = _convolution_norm(layers, x, filters, 1, strides, f"{name}_shortcut")
            x = _basic_block(layers, x, filters, strides, name, shortcut)
    return x


def _resnet20(layers: Any, x: Any) -> Any:
    x = jax.nn.relu(_convolution_norm(layers, x, 16, 3, 1, "stem"))
    for stage, filters in enumerate((16, 32, 64)):
        for block in range(3):
            strides = 2 if stage > 0 and block == 0 else 1
            shortcut = x
            if strides != 1:
                missing = filters - x.shape[-1]
                sides = (missing // 2, missing - missing // 2)
                shortcut = jnp.pad(x[:, ::strides, ::strides], [(0, 0)] * 3 + [sides])
            name = f"stage{stage + 1}_block{block + 1}"
            x = _basic_block(layers, x, filters, strides, name, shortcut)
    return x


def _wide_resnet(layers: Any, x: Any, depth: int, width: int) -> Any:
    x = layers.convolution(x, 16, 3, 1, "stem_conv")
    for stage in range(3):
        filters = 16 * 2**stage * width
        for block in range((depth - 4) // 6):
            strides = 2 if stage > 0 and block == 0 else 1
            name = f"stage{stage + 1}_block{block + 1}"
            shortcut = x
            y = jax.nn.relu(layers.norm(x, f"{name}_1_norm"))
            if strides != 1 or x.shape[-1] != filters:
                shortcut = layers.convolution(y, filters, 1, strides, f"{name}_shortcut_conv")
            y = layers.convolution(y, filters, 3, strides, f"{name}_1_conv")
            y = jax.nn.relu(layers.norm(y, f"{name}_2_norm"))
            x = layers.convolution(y, filters, 3, 1, f"{name}_2_conv") + shortcut
    return jax.nn.relu(layers.norm(x, "last_norm"))
