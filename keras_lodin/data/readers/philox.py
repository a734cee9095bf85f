"""TensorFlow's random numbers of a seed alone, in NumPy.

On a CPU `tf.random.split`, `fold_in`, `stateless_uniform`, `stateless_normal` and
`stateless_shuffle` are Philox-4x32-10 (Salmon et al. 2011), with a key and a counter that are drawn
with the seed as a counter. Whole numbers, orders and uniform numbers are the same to the last bit;
normal ones differ by float32 rounding, up to 2e-6, because logarithm and sine do.

A seed is two int64 along the last axis; of many seeds, those of the axes before it, each one's
numbers are drawn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

_MULTIPLIERS = np.array([0xD2511F53, 0xCD9E8D57], "uint64")
_KEY_STEPS = np.array([0x9E3779B9, 0xBB67AE85], "uint64")
_SCRAMBLING_KEY = np.array([0x3EC8F720, 0x02461E29], "uint64")
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_ROUNDS = 10


def _philox(counter: np.ndarray, key: np.ndarray) -> np.ndarray:
    """Blocks of four random words, (..., 4), of counters (..., 4) and keys (..., 2).

    All are uint64 below 2^32, so that products are whole.
    """
    # Word by word, which is faster than in pairs: each lies closely in memory.
    first, second, third, fourth = np.moveaxis(counter, -1, 0)
    low_key, high_key = np.moveaxis(key, -1, 0)
    for _ in range(_ROUNDS):
        one, other = first * _MULTIPLIERS[0], third * _MULTIPLIERS[1]
        first, second = (other >> _HALF) ^ second ^ low_key, other & _LOW
        third, fourth = (one >> _HALF) ^ fourth ^ high_key, one & _LOW
        low_key, high_key = (low_key + _KEY_STEPS[0]) & _LOW, (high_key + _KEY_STEPS[1]) & _LOW
    return np.stack(np.broadcast_arrays(first, second, third, fourth), axis=-1)


def _words(seed: ArrayLike, count: int) -> np.ndarray:
    """Random uint32 of seeds (..., 2): shape (..., count)."""
    seed = np.asarray(seed, "int64").astype("uint64")
    halves = np.stack([seed & _LOW, seed >> _HALF], axis=-1)
    scrambled = _philox(halves.reshape(*seed.shape[:-1], 4), _SCRAMBLING_KEY)[..., None, :]
    blocks = np.arange(-(-count // 4), dtype="uint64")
    numbered = np.stack([blocks & _LOW, blocks >> _HALF], axis=-1)
    shape = (*scrambled.shape[:-2], len(blocks), 2)
    counter = [np.broadcast_to(part, shape) for part in (numbered, scrambled[..., 2:])]
    words = _philox(np.concatenate(counter, axis=-1), scrambled[..., :2])
    return words.reshape(*shape[:-2], -1)[..., :count].astype("uint32")


def _whole_numbers(seed: ArrayLike, count: int) -> np.ndarray:
    """Random int64 of seeds (..., 2): shape (..., count)."""
    words = _words(seed, 2 * count).astype("uint64")
    return (words[..., ::2] | (words[..., 1::2] << _HALF)).astype("int64")


def _fractions(seed: ArrayLike, count: int) -> np.ndarray:
    """Random float32 from 0 up to and without 1, of seeds (..., 2): shape (..., count)."""
    # The bits behind the point of a number from 1 to 2.
    bits = _words(seed, count) & np.uint32(0x7FFFFF) | np.uint32(0x3F800000)
    return bits.view("float32") - np.float32(1)


def split(seed: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """`tf.random.split(seed, 2)`."""
    numbers = _whole_numbers(seed, 4)
    return numbers[..., :2], numbers[..., 2:]


def fold_in(seed: ArrayLike, data: ArrayLike) -> np.ndarray:
    """`tf.random.fold_in(seed, data)`, of one seed and any number of data, int64."""
    first = _whole_numbers(seed, 1)[..., 0]
    return np.stack(np.broadcast_arrays(first, np.asarray(data, "int64")), axis=-1)


def integers(count: int, seed: ArrayLike) -> np.ndarray:
    """`tf.random.stateless_uniform((count,), seed, maxval=tf.int32.max, dtype=tf.int32)`."""
    return (_words(seed, count) % np.uint32(2**31 - 1)).astype("int32")


def uniform(
    shape: Sequence[int], seed: ArrayLike, minval: ArrayLike = 0.0, maxval: ArrayLike = 1.0
) -> np.ndarray:
    """`tf.random.stateless_uniform(shape, seed, minval, maxval)`."""
    low, high = np.asarray(minval, "float32"), np.asarray(maxval, "float32")
    fractions = _fractions(seed, math.prod(shape))
    return fractions.reshape((*fractions.shape[:-1], *shape)) * (high - low) + low


def normal(
    shape: Sequence[int], seed: ArrayLike, mean: ArrayLike = 0.0, stddev: ArrayLike = 1.0
) -> np.ndarray:
    """`tf.random.stateless_normal(shape, seed, mean, stddev)`, of one seed."""
    count = math.prod(shape)
    fractions = _fractions(seed, count + count % 2)
    radius = np.sqrt(np.float32(-2) * np.log(np.maximum(fractions[::2], np.float32(1e-7))))
    angle = np.float32(2 * np.pi) * fractions[1::2]
    pairs = np.stack([np.sin(angle) * radius, np.cos(angle) * radius], axis=-1)
    values = pairs.reshape(-1)[:count].reshape(shape)
    return values * np.asarray(stddev, "float32") + np.asarray(mean, "float32")


def permutation(count: int, seed: ArrayLike) -> np.ndarray:
    """`tf.random.experimental.stateless_shuffle(tf.range(count), seed)`, int64."""
    order = list(range(count))
    left = np.arange(count, 1, -1, dtype="uint32")
    for place, distance in enumerate((_words(seed, len(left)) % left).tolist()):
        other = place + distance
        order[place], order[other] = order[other], order[place]
    return np.array(order, "int64")
