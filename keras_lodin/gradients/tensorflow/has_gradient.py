"""Whether a function has a gradient, told from a trace of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

from keras_lodin.utils.tensor import Tensor


def has_gradient(
    function: Callable[..., Tensor], tensors: Sequence[keras.KerasTensor], watched: Sequence[int]
) -> bool:
    """Whether a function of tensors has a gradient with respect to some of them.

    A gradient that is zero by its rule, as that of the sign, is none. True also where the function
    cannot be run: whoever does will say why.

    Args:
        function: of tensors; of several outputs the first counts.
        tensors: their shapes and types.
        watched: the numbers of those that the gradient is for, which are given as floats.
    """
    specifications = [
        tf.TensorSpec(
            tensor.shape,
            "float32" if number in watched and "float" not in tensor.dtype else tensor.dtype,
        )
        for number, tensor in enumerate(tensors)
    ]
    found = []

    def run(*values: Tensor) -> None:
        chosen = [values[number] for number in watched]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(chosen)
            output = function(*values)
        output = keras.tree.flatten(output)[0]
        if output.dtype.is_floating:
            found.extend(tape.gradient(output, chosen))

    try:
        # Not within `tf.init_scope`: there tapes record nothing.
        tf.function(run, autograph=False).get_concrete_function(*specifications)
    except Exception:  # whatever a user's layer raises
        return True
    return any(gradient is not None and not _is_nothing(gradient) for gradient in found)


def _is_nothing(gradient: Tensor) -> bool:
    made_by = gradient.op
    return made_by.type == "ZerosLike" or (
        made_by.type == "Fill" and tf.get_static_value(made_by.inputs[1]) == 0
    )
