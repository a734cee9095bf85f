"""The classifier that a user's `predict` runs: what is wrapped, trained and exported."""

from __future__ import annotations

from collections.abc import Iterator

import keras
import numpy as np
from keras import ops

from keras_lodin.models.classifier_wrapper import ClassifierWrapper
from keras_lodin.models.one_tensor import Shape, input_dtype, input_shape, taking_a_tensor
from keras_lodin.models.output_kind import made_inputs
from keras_lodin.utils.keras_internals import predicts_as_called, runs_its_graph
from keras_lodin.utils.tensor import Tensor


def deployed_classifier(model: keras.Model) -> keras.Model:
    """The model that computes what `model.predict` does.

    Most models are that themselves, detectors among them. Of a model for training (`GQModel`) it
    is the classifier inside. Of one that has a `preprocessor` which `predict` applies and calling
    the model does not (KerasHub's classifiers) it is a new one, of both, on the same weights.

    Args:
        model: a `keras.Model` with one input.

    Returns:
        a `keras.Model` whose `predict` is its `call`.

    Raises:
        ValueError: for what is no model, and for one whose `predict` and `call` differ in a way
            that cannot be made one.
    """
    if not isinstance(model, keras.Model):
        raise ValueError(
            "`classifier` must be a `keras.Model`; `keras.models.load_model` makes one of a file. "
            f"Received: classifier={model!r} of type {type(model).__name__}"
        )
    if isinstance(model, ClassifierWrapper):
        return model.deployed()
    if predicts_as_called(model):
        return model
    # What takes no one tensor, or has no weights yet, is refused where the head is sought.
    shape = input_shape(model) if model.built else None
    return model if shape is None else _with_its_predict(model, _sized(model, shape))


def _with_its_predict(model: keras.Model, shape: Shape) -> keras.Model:
    inputs = ops.convert_to_numpy(made_inputs(shape, input_dtype(model)))
    try:
        predicted = model.predict(inputs, verbose=0)
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise ValueError(_difference(model, f"fails on such inputs: {reason}")) from error
    called = _only_tensor(_call(model, inputs))
    if _agrees(predicted, called):
        return model
    for whole in _with_preprocessing(model, shape):
        if _agrees(predicted, _only_tensor(whole(inputs, training=False))):
            return whole
    raise ValueError(_difference(model, f"differs by up to {_gap(predicted, called)}"))


def _with_preprocessing(model: keras.Model, shape: Shape) -> Iterator[keras.Model]:
    """The model behind its preprocessor, or behind what that converts images with."""
    preprocessor = getattr(model, "preprocessor", None)
    for layer in (preprocessor, getattr(preprocessor, "image_converter", None)):
        if not isinstance(layer, keras.layers.Layer):
            continue
        own_shape = input_shape(layer) if runs_its_graph(layer) else None
        inputs = keras.Input((own_shape or shape)[1:])
        try:
            outputs = _call(model, layer(inputs))
        except Exception:  # a preprocessor of text, for example, takes no such input
            continue
        yield keras.Model(inputs, outputs, name=f"{model.name}_with_preprocessor")


def _sized(model: keras.Model, shape: Shape) -> Shape:
    """The shape of a model's input, with the sizes that its image converter makes images of."""
    converter = getattr(getattr(model, "preprocessor", None), "image_converter", None)
    size = getattr(converter, "image_size", None)
    if size is not None and len(shape) == 4 and None in shape[1:3]:
        return (None, *size, shape[3])
    return shape


def _call(model: keras.Model, inputs: Tensor) -> Tensor:
    return taking_a_tensor(model)(inputs, training=False)


def _only_tensor(outputs: Tensor) -> np.ndarray | None:
    """What a model returned as an array, if that is one tensor."""
    flat = keras.tree.flatten(outputs)
    return ops.convert_to_numpy(ops.cast(flat[0], "float32")) if len(flat) == 1 else None


def _of_the_shape(predicted: object, called: np.ndarray | None) -> np.ndarray | None:
    """What `predict` returned, if that is one array of the shape that the call returns."""
    flat = keras.tree.flatten(predicted)
    if called is None or len(flat) != 1 or np.shape(flat[0]) != called.shape:
        return None
    return np.asarray(flat[0], "float32")


def _agrees(predicted: object, called: np.ndarray | None) -> bool:
    """Whether `predict` returns what the call does, or its softmax.

    Not its largest class: that is the same for many other inputs too.
    """
    found = _of_the_shape(predicted, called)
    if found is None or called is None:
        return False
    softmax = ops.convert_to_numpy(ops.softmax(called))
    return any(_is_close(found, expected) for expected in (called, softmax))


def _is_close(found: np.ndarray, expected: np.ndarray) -> bool:
    """Whether two batches of outputs agree, sample by sample, to the rounding of half precision."""
    axes = tuple(range(1, expected.ndim))
    scale = np.max(np.abs(np.nan_to_num(expected)), axis=axes, keepdims=True)
    close = np.isclose(found / (scale + 1e-6), expected / (scale + 1e-6), 0.0, 1e-2, equal_nan=True)
    return bool(close.all())


def _gap(predicted: object, called: np.ndarray | None) -> str:
    found = _of_the_shape(predicted, called)
    if found is None or called is None:
        shapes = [tuple(np.shape(value)) for value in keras.tree.flatten(predicted)]
        return f"more than its values: `predict` gives {len(shapes)} outputs of shapes {shapes}"
    return f"{np.nanmax(np.abs(found - called)):.2g}"


def _difference(model: keras.Model, what: str) -> str:
    kind = type(model)
    names = ("predict", "predict_step", "predict_on_batch", "make_predict_function")
    own = [n for n in names if getattr(kind, n) is not getattr(keras.Model, n) or n in vars(model)]
    preprocessor = getattr(model, "preprocessor", None)
    if preprocessor is None:
        cause = f"{kind.__name__} has a {' and a '.join(f'`{name}`' for name in own)} of its own"
    else:
        cause = f"its `preprocessor`, a {type(preprocessor).__name__}, is run by `predict` alone"
    return (
        f"What the classifier {model.name!r} predicts is not what it computes when it is called: "
        f"{cause}. Expected one model of both. Put what `predict` does to the inputs into it, as "
        "layers, `keras.Model(inputs, classifier(preprocessing(inputs)))`; or, for inputs that are "
        "preprocessed already, pass `keras.Model(inputs, classifier(inputs))`, with "
        f"`inputs = keras.Input(shape)`. Received: classifier={model!r}, "
        f"whose `predict` {what}"
    )
