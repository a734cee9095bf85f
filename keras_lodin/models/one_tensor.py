"""A model with one input and one tensor for it, however the model was built."""

from __future__ import annotations

from collections.abc import Callable

import keras

from keras_lodin.utils.tensor import Tensor

# Of a batch of inputs; None where a size is free.
Shape = tuple[int | None, ...]


def input_dtype(model: keras.Model) -> str:
    """The type of a model's input."""
    inputs = getattr(model, "inputs", None)
    return str(keras.backend.standardize_dtype(inputs[0].dtype if inputs else model.input_dtype))


def stated_input_shape(model: keras.Model) -> object:
    """The shape of a model's input as it says; a list of shapes, or what else it was built on."""
    inputs = getattr(model, "inputs", None)
    if inputs:
        return inputs[0].shape if len(inputs) == 1 else [tuple(one.shape) for one in inputs]
    return (model.get_build_config() or {}).get("input_shape")


def input_shape(model: keras.Model) -> Shape | None:
    """The shape of a model's one input, the batch first and free; None where it takes several."""
    shape = stated_input_shape(model)
    if isinstance(shape, (tuple, list)) and all(
        one is None or isinstance(one, int) for one in shape
    ):
        return (None, *shape[1:])
    return None


def in_its_structure(model: keras.Model, tensor: Tensor) -> Tensor:
    """A tensor in the list or dictionary that a model takes its one input in."""
    structure = getattr(model, "input", None)
    if isinstance(structure, (list, tuple, dict)):
        return keras.tree.map_structure(lambda _: tensor, structure)
    return tensor


def taking_a_tensor(model: keras.Model) -> Callable[..., Tensor]:
    """The model as a function of its one input tensor, however it wants that to be wrapped.

    A model built as `keras.Model(other.inputs, ...)` takes a list of one tensor, and Keras warns
    when it gets the tensor itself. One output may come in a list or by a name; of several, the
    function returns a list.
    """

    def call(inputs: Tensor, training: bool | None = None) -> Tensor:
        outputs = keras.tree.flatten(model(in_its_structure(model, inputs), training=training))
        return outputs[0] if len(outputs) == 1 else outputs

    return call
