"""Which values a classifier's input expects."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import keras
import numpy as np
from numpy.typing import ArrayLike

from keras_lodin.data.value_range import (
    ASSUMED,
    CLASSIFIER,
    GIVEN,
    UNKNOWN,
    Bounds,
    InputRange,
    checked_input_range,
)
from keras_lodin.models.layer_graph import GraphPart, sources
from keras_lodin.utils.keras_internals import call_of, runs_its_graph
from keras_lodin.utils.tensor import Tensor

# `(lo, hi)` as a user has it, of numbers or arrays; or as another part of the package found it.
GivenRange = InputRange | Sequence[ArrayLike]

# A free size of the input, while the first layers are tried.
_FREE_SIZE = 32
# Constant inputs: what the first layers make of them tells scale and offset, for a classifier of
# values from 0 to 1 as for one of pixels.
_TRIED = (0.0, 1.0, 255.0)
# Preprocessing ends with values that spread over about 1 (scaled) to 10 (divided by a small
# standard deviation).
_NARROWEST, _WIDEST = 0.5, 12.0
# One range for all features is refused where it is this many times a feature's own spread, and the
# features' spreads differ by the other factor.
_WIDTHS_IN_SPREADS, _UNEQUAL_SPREADS = 200.0, 10.0


def guess_input_range(classifier: keras.Model) -> Bounds:
    """The range of input values that a classifier was made for, as far as it shows.

    Args:
        classifier: a Keras model.

    Returns:
        the bounds of `judge_input_range`, whatever they are known from.
    """
    return judge_input_range(classifier).bounds


def judge_input_range(classifier: keras.Model) -> InputRange:
    """The range of input values that a classifier was made for, judged by what it does first.

    What comes before the first layer with weights (`Rescaling`, `Normalization`, operations such
    as `x / 255` and `preprocess_input`, a `Lambda`, cropping and augmentation on the way) is run
    on constant inputs, and taken for what brings inputs of the range to about one unit.

    Args:
        classifier: a Keras model.

    Returns:
        an `InputRange` of origin "classifier" where that shows the range. Where nothing comes
        first, 0 to 1 of origin "assumed"; so, too, the likelier of 0 to 1 and 0 to 255 where what
        comes first is no usual way to treat either, as a `Normalization` of a table's features;
        "unknown" where it does not run on constant inputs, or is no scaling of them at all.

    Example:
    ```python
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Flatten()(inputs / 255.0)
    judge_input_range(keras.Model(inputs, keras.layers.Dense(2)(x))).bounds    # (0.0, 255.0)
    ```
    """
    if not runs_its_graph(classifier):
        return _by_layers(classifier)
    if str(classifier.inputs[0].dtype) == "uint8":
        return InputRange(0.0, 255.0, CLASSIFIER)
    try:
        tried = _tried(classifier)
    except Exception:  # a Lambda can raise anything
        return InputRange(0.0, 1.0, UNKNOWN)
    return _judged(*tried, _is_image(classifier.inputs[0].shape))


def resolve_input_range(
    given: GivenRange | None, classifier: keras.Model | None, shape: Sequence[int | None] | None
) -> InputRange:
    """The range that a user or a file gave, checked; or else what the classifier shows.

    Args:
        given: `(lo, hi)`, of numbers or arrays; an `InputRange`, as a file holds it; or None.
        classifier: a Keras model; None for one that will be made for the range, by default for
            that from 0 to 1.
        shape: shape of one of its inputs; None where it is not known.

    Raises:
        ValueError: for a range that is none, and for one range for all features of a table whose
            units, as the classifier's own `Normalization` has them, differ: a step of one size
            would be nothing in the one and beyond everything in the other.
    """
    if given is None:
        made = InputRange(0.0, 1.0, ASSUMED)
        return made if classifier is None else judge_input_range(classifier)
    if isinstance(given, InputRange):
        return InputRange(*checked_input_range(given.bounds, shape), given.origin)
    low, high = checked_input_range(given, shape)
    one_for_all = not isinstance(low, np.ndarray)
    if shape is not None and len(shape) == 1 and one_for_all and runs_its_graph(classifier):
        _check_units(float(low), float(high), classifier)
    return InputRange(low, high, GIVEN)


def _tried(classifier: keras.Model) -> tuple[np.ndarray, np.ndarray]:
    """What the first layers make of constant inputs of 0, 1 and 255, and the widest step thither.

    Two float64 arrays, with an answer to each of the three.
    """
    tensor = classifier.inputs[0]
    shape = [_FREE_SIZE if size is None else size for size in tensor.shape[1:]]
    inputs = np.stack([np.full(shape, value) for value in _TRIED]).astype(tensor.dtype)
    widest = np.asarray(inputs, "float32")
    values = keras.ops.convert_to_tensor(inputs)
    for part in _first_parts(classifier):
        made = part([values], training=False)
        widest = max([widest, *map(_float32, made)], key=_width)
        values = made[-1]
    answers = np.take(_float32(values), range(len(_TRIED)), axis=0)
    return answers.astype("float64"), widest.astype("float64")


def _float32(values: Tensor) -> np.ndarray:
    return keras.ops.convert_to_numpy(keras.ops.cast(values, "float32"))


def _width(values: np.ndarray) -> float:
    """By how much the answers to two constants differ, at most."""
    return float(np.abs(values[1] - values[0]).max(initial=0.0))


def _first_parts(model: keras.Model) -> Iterator[GraphPart]:
    """From the input to what enters the first layer with weights, of nested models."""
    while runs_its_graph(model) and len(model.inputs) == 1:
        before, following = _preprocessing(model)
        if before:
            yield GraphPart(model.inputs, before)
        if following is None:
            return
        model = following


def _preprocessing(
    model: keras.Model,
) -> tuple[list[keras.KerasTensor], keras.Operation | None]:
    """The tensors on the way to the first layer with weights, and that layer."""
    inside = {id(model.inputs[0])}
    way: dict[int, list[keras.KerasTensor]] = {id(model.inputs[0]): []}
    for tensor in sources(model.outputs):
        if id(tensor) in inside:
            continue
        call = call_of(tensor)
        # Constants and inputs of no layer come without a way.
        before = [source for source in call.inputs if id(source) in inside]
        if not before:
            continue
        if len(before) < len(call.inputs) or not _is_preprocessing(call.operation):
            return way[id(before[0])], call.operation
        inside.add(id(tensor))
        way[id(tensor)] = [*max((way[id(source)] for source in before), key=len), tensor]
    return [], None


def _is_preprocessing(operation: keras.Operation) -> bool:
    """Whether an operation has nothing in it that was learnt."""
    if not getattr(operation, "weights", None) or isinstance(operation, keras.layers.Normalization):
        return True
    if runs_its_graph(operation):
        return all(map(_is_preprocessing, operation.layers))
    # A standardisation of a user's own; one of Keras's layers with such weights is frozen, or not.
    foreign = not type(operation).__module__.startswith("keras.")
    return (
        foreign
        and not isinstance(operation, keras.Model)
        and operation.trainable
        and not operation.trainable_weights
    )


def _judged(values: np.ndarray, widest: np.ndarray, image: bool) -> InputRange:
    """The range of what the first layers make of constant inputs, as `_tried` returns it."""
    at_zero, at_one, at_most = values
    if not np.isfinite(values).all():
        return InputRange(0.0, 1.0, UNKNOWN)
    difference = at_most - at_zero
    largest = np.abs(difference).max(initial=0.0)
    if largest == 0.0:
        return InputRange(0.0, 1.0, ASSUMED)  # every sample is scaled by its own values
    moved = np.abs(difference) > 1e-6 * largest  # the rest is padding
    scale, offset = difference[moved] / 255.0, at_zero[moved]
    error = np.abs(at_one[moved] - offset - scale)
    if (error > 0.1 * np.abs(scale) + 2e-3 * np.maximum(1.0, np.abs(offset))).any():
        clipped = np.allclose(at_most[moved], at_one[moved]) and at_one[moved].max() <= 1.0
        return InputRange(0.0, 1.0, CLASSIFIER if clipped else UNKNOWN)
    uniform = np.ptp(scale) <= 0.02 * np.abs(scale).max() and np.ptp(offset) <= 0.02 * max(
        1.0, np.abs(offset).max()
    )
    if uniform:
        known = _scaled_from(float(np.median(scale)), float(np.median(offset)))
        if known is None and np.allclose(scale, 1.0, 1e-2) and np.allclose(offset, 0.0, 0.0, 1e-2):
            # Inputs that are brought to pixels may be brought back by what follows.
            undone, lowest = _width(widest), float(np.abs(widest[0]).max(initial=0.0))
            known = _scaled_from(undone, lowest) if undone > 100.0 else None
            if known is None:
                return InputRange(0.0, 1.0, ASSUMED)
        if known is not None:
            return InputRange(*known, CLASSIFIER)
    size, zero = float(np.median(np.abs(scale))), float(np.median(-offset / scale))
    if image:
        known = _standardised_from(size, zero)
        if known is not None:
            return InputRange(*known, CLASSIFIER)
    return InputRange(0.0, 255.0 if size < 0.1 or zero > 1.0 else 1.0, ASSUMED)


def _scaled_from(scale: float, offset: float) -> tuple[float, float] | None:
    """The range that `scale * x + offset` brings to 0 to 1 or -1 to 1, or from them to pixels."""
    if scale <= 0.0:
        return None
    if abs(offset) < 1e-2:
        highest = 1.0 / scale
        if 250.0 <= scale <= 260.0:
            return 0.0, 1.0
        # Counts of some other number of bits: 0 to 16, 0 to 1023.
        for bits in (4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 16):
            for count in (2.0**bits - 1.0, 2.0**bits):
                if abs(highest - count) < 5e-3 * count:
                    return 0.0, count
    elif abs(offset + 1.0) < 1e-2:
        highest = 2.0 / scale
    elif abs(offset + 0.5) < 1e-2:
        highest = 1.0 / scale
    else:
        to_pixels = 120.0 <= scale <= 135.0 and abs(offset - scale) < 2.0
        to_unit = abs(scale - 0.5) < 5e-3 and abs(offset - 0.5) < 5e-3
        return (-1.0, 1.0) if to_pixels or to_unit else None
    if 250.0 <= highest <= 260.0:
        return 0.0, 255.0
    # Without an offset it is the identity, which shows nothing.
    return (0.0, 1.0) if abs(highest - 1.0) < 1e-2 and abs(offset) >= 1e-2 else None


def _standardised_from(size: float, zero: float) -> tuple[float, float] | None:
    """The range of images whose mean `zero` is subtracted, and that are multiplied by `size`."""
    if _NARROWEST <= 255.0 * size <= _WIDEST and -30.0 <= zero <= 300.0:
        return 0.0, 255.0
    if _NARROWEST <= size <= 1.5 * _WIDEST and 0.05 <= zero <= 0.95:
        return 0.0, 1.0
    if 0.9 <= size <= 1.1 and 50.0 <= zero <= 200.0:  # centred, not scaled
        return 0.0, 255.0
    return None


def _is_image(shape: Sequence[int | None]) -> bool:
    return len(shape) == 4 and (shape[-1] in (1, 3, 4) or shape[1] in (1, 3, 4))


def _by_layers(classifier: keras.Model) -> InputRange:
    """What a subclassed model shows, whose layers are in the order of its attributes."""
    for layer in getattr(classifier, "layers", []):
        if runs_its_graph(layer):
            return judge_input_range(layer)
        if isinstance(layer, keras.layers.Rescaling) and np.ndim(layer.scale) == 0:
            known = _scaled_from(float(layer.scale), float(np.mean(layer.offset)))
            if known is not None:
                return InputRange(*known, CLASSIFIER)
            return InputRange(0.0, 255.0 if abs(layer.scale) < 0.1 else 1.0, ASSUMED)
        if isinstance(layer, keras.layers.Normalization):
            mean = keras.ops.convert_to_numpy(layer.mean)
            return InputRange(0.0, 255.0 if np.max(mean) > 1.0 else 1.0, ASSUMED)
        if layer.weights:  # The preprocessing ends where learning begins.
            break
    return InputRange(0.0, 1.0, ASSUMED)


def _check_units(low: float, high: float, classifier: keras.Model) -> None:
    try:
        values, _ = _tried(classifier)
    except Exception:  # a Lambda can raise anything
        return
    scales = np.abs(values[1] - values[0])
    scales = scales[np.isfinite(scales) & (scales > 0.0)]
    if not scales.size or scales.max() < _UNEQUAL_SPREADS * scales.min():
        return
    # Keras divides a constant feature by a small number of its own.
    spreads = 1.0 / scales[scales < 1e6]
    if not spreads.size or high - low <= _WIDTHS_IN_SPREADS * spreads.min():
        return
    raise ValueError(
        "The classifier standardises features of different units, with standard deviations from "
        f"{spreads.min():.3g} to {spreads.max():.3g}, and a step that is a fraction of one range "
        "would be of one size in all of them. Pass a range for each feature, "
        "`input_range=(x.min(axis=0), x.max(axis=0))` of training data x; or leave it out, and "
        "`tune` and `calibrate` read it off their data. "
        f"Received: input_range=({low:g}, {high:g})"
    )
