"""Where a classifier's logits are: found without touching the user's model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_lodin.differentiability import integer_inputs
from keras_lodin.eager_values import run_eagerly
from keras_lodin.integer_inputs import inputs_to_take_floats, taking_floats
from keras_lodin.keras_internals import producer

# Operations that turn logits into logits, looked through in search of the head.
PASS_THROUGH = (keras.layers.Flatten, keras.layers.Reshape, keras.layers.Dropout)
# Operations after which a tensor cannot be a softmax output.
LINEAR = (
    keras.layers.Dense,
    keras.layers.EinsumDense,
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
)


@dataclass(frozen=True)
class ClassifierHead:
    """A classifier, split into a function to its logits and one from logits to its output.

    Attributes:
        logits: `(inputs, training=None) -> (batch, classes)`; shares the classifier's weights.
            For a classifier with several exits, a list of such tensors, the first exit first.
        output: maps logits to what the classifier itself returns (identity or softmax).
        from_logits: True when the classifier itself returns logits.
        num_classes: the number of classes.
        input_shape: the input's shape with the batch first, `(None, ...)`.
        exits: how many exits the classifier has; 0 for one that has one output, no list.
        input_dtype: what `logits` takes: "float32", also of a classifier of integers that are
            quantities, such as pixels; the type of its input where they are names, such as tokens.
    """

    logits: Callable[..., Any]
    output: Callable[[Any], Any]
    from_logits: bool
    num_classes: int
    input_shape: tuple[int | None, ...]
    exits: int = 0
    input_dtype: str = "float32"


def has_exits(classifier: keras.Model) -> bool:
    """Whether a model has several outputs, as networks with early exits do."""
    return is_functional(classifier) and len(classifier.outputs) > 1


def find_exits(classifier: keras.Model, from_logits: bool | None = None) -> ClassifierHead:
    """Finds the logits of a classifier with several exits.

    Args:
        classifier: a functional Keras model with one input and a list of outputs of shape
            `(batch, classes)` each, the logits of its exits, the earliest first.
        from_logits: True or None. Exits that end in a softmax are refused.

    Returns:
        a `ClassifierHead` whose `logits` are a list.

    Raises:
        ValueError: if the model is not such a classifier.
    """
    if not isinstance(classifier, keras.Model) or not has_exits(classifier):
        raise ValueError(
            "Expected a network with several exits: a functional `keras.Model` whose outputs are "
            "the logits of each, such as `keras_lodin.models.MSDNet()`. "
            f"Received: classifier={classifier!r}"
        )
    input_shape = _input_shape(classifier)
    shapes = [tuple(output.shape) for output in classifier.outputs]
    sizes = {shape[-1] for shape in shapes}
    if any(len(shape) != 2 for shape in shapes) or len(sizes) > 1 or min(sizes) < 2:
        raise ValueError(
            "Every exit must return one logit per class for each sample, shape (batch, classes), "
            f"all of the same classes. Received: output shapes {shapes}"
        )
    ends = [keras.Model(classifier.inputs[0], output) for output in classifier.outputs]
    if from_logits is False or not all(_ends_in_logits(end, input_shape) for end in ends):
        raise ValueError(
            "The exits must return logits: take the softmax from their ends, and leave out "
            "`from_logits=False`. "
            f"Received: classifier={classifier.name!r}, from_logits={from_logits}"
        )
    head = ClassifierHead(
        _taking_a_tensor(classifier),
        lambda logits: logits,
        True,
        shapes[0][1],
        input_shape,
        exits=len(shapes),
    )
    return _taking_floats(head, classifier)


def find_head(classifier: keras.Model, from_logits: bool | None = None) -> ClassifierHead:
    """Finds a classifier's logits.

    Args:
        classifier: a built Keras model with one input and one output of shape
            `(batch, classes)`.
        from_logits: True when the classifier returns logits, False when it returns softmax
            probabilities, None to find out. The classifier's last layer tells for functional and
            sequential models; otherwise it is run once, on random input.

    Returns:
        a `ClassifierHead`.

    Raises:
        ValueError: if the model is not such a classifier, or if it ends in a softmax whose input
            cannot be reached. The message says what to pass instead.
    """
    if not isinstance(classifier, keras.Model):
        raise ValueError(
            "`classifier` must be a `keras.Model`; `keras.models.load_model` makes one of a file. "
            f"Received: classifier={classifier!r} of type {type(classifier).__name__}"
        )
    input_shape = _input_shape(classifier)
    num_classes = _num_classes(classifier, input_shape)
    told = from_logits
    if from_logits is None:
        from_logits = _ends_in_logits(classifier, input_shape)
    if from_logits:
        logits = _taking_a_tensor(classifier)
        head = ClassifierHead(logits, lambda logits: logits, True, num_classes, input_shape)
        return _taking_floats(head, classifier)
    before_softmax = _before_softmax(classifier)
    if before_softmax is None:
        raise ValueError(
            f"The classifier {classifier.name!r} is taken to return probabilities, and the logits "
            "behind them cannot be reached. Expected a model that returns logits, or a functional "
            "or sequential model whose last layer is `Softmax`, `Activation('softmax')` or "
            "`Dense(..., activation='softmax')`. Return the logits from it, and pass "
            f"`from_logits=True`. Received: classifier={classifier!r}, from_logits={told}"
        )
    head = ClassifierHead(before_softmax, ops.softmax, False, num_classes, input_shape)
    return _taking_floats(head, classifier)


def _taking_floats(head: ClassifierHead, classifier: keras.Model) -> ClassifierHead:
    """The head of a classifier of integers as a function of floats, where they are quantities."""
    casting = inputs_to_take_floats(classifier)
    if casting:
        return replace(head, logits=taking_floats(head.logits, casting))
    if integer_inputs(classifier):
        return replace(
            head, input_dtype=keras.backend.standardize_dtype(classifier.inputs[0].dtype)
        )
    return head


def _input_shape(classifier: keras.Model) -> tuple[int | None, ...]:
    if not classifier.built:
        raise ValueError(
            "The classifier has no weights yet. Expected a built model: start it with "
            "`keras.Input(shape)`, call `classifier.build((None, ...))`, or run it on one batch. "
            f"Received: classifier={classifier!r}"
        )
    shape: Any
    if is_functional(classifier):
        inputs = classifier.inputs
        shape = inputs[0].shape if len(inputs) == 1 else [tuple(x.shape) for x in inputs]
    else:
        shape = (classifier.get_build_config() or {}).get("input_shape")
    if not isinstance(shape, (tuple, list)) or not all(
        size is None or isinstance(size, int) for size in shape
    ):
        raise ValueError(
            f"The classifier {classifier.name!r} must take one tensor: make one `keras.Input` of "
            "several, and split it inside. "
            f"Received: inputs of shape {shape}"
        )
    dtype = keras.backend.standardize_dtype(inputs[0].dtype) if is_functional(classifier) else ""
    if dtype == "string":
        raise ValueError(
            f"The classifier {classifier.name!r} must take numbers. Wrap the part behind what "
            "reads the texts, a model of its own, `keras.Model(tokens, logits)` with "
            "`tokens = keras.Input((length,), dtype='int32')`, and run `TextVectorization` before "
            "it. Received: an input of dtype string"
        )
    _check_free_batch(classifier)
    return (None, *shape[1:])


def _check_free_batch(classifier: keras.Model) -> None:
    """Raises ValueError for a functional model that takes batches of one size alone."""
    shape = classifier.inputs[0].shape if is_functional(classifier) else (None,)
    if shape[0] is None:
        return
    # It may hold a size of batches and use it nowhere.
    sizes = (shape[0] + 1, *(32 if size is None else size for size in shape[1:]))
    inputs = ops.zeros(sizes, dtype=classifier.inputs[0].dtype)
    try:
        run_eagerly(lambda: _taking_a_tensor(classifier)(inputs, training=False))
    except Exception as error:  # whatever its layers raise
        raise ValueError(
            f"The classifier {classifier.name!r} must take batches of any size. Build it with "
            f"`keras.Input({tuple(shape[1:])})` and without `batch_size`, and copy the weights: "
            "`new.set_weights(classifier.get_weights())`. "
            f"Received: inputs of shape {tuple(shape)}"
        ) from error


def _taking_a_tensor(model: keras.Model) -> Callable[..., Any]:
    """The model as a function of its one input tensor, however it wants that to be wrapped.

    A model built as `keras.Model(other.inputs, ...)` takes a list of one tensor, and Keras warns
    when it gets the tensor itself. One output may come in a list or by a name; of several, the
    function returns a list.
    """
    structure = getattr(model, "input", None)

    def call(inputs: Any, training: bool | None = None) -> Any:
        if isinstance(structure, (list, tuple, dict)):
            inputs = keras.tree.map_structure(lambda _: inputs, structure)
        outputs = keras.tree.flatten(model(inputs, training=training))
        return outputs[0] if len(outputs) == 1 else outputs

    return call


def _num_classes(classifier: keras.Model, input_shape: tuple[int | None, ...]) -> int:
    if is_functional(classifier):
        outputs = classifier.outputs
    else:
        dtype = classifier.input_dtype
        symbolic = keras.KerasTensor(input_shape, dtype=dtype)
        outputs = keras.tree.flatten(classifier.compute_output_spec(symbolic))
    shapes = [tuple(output.shape) for output in outputs]
    if len(shapes) != 1:
        raise ValueError(
            f"The classifier {classifier.name!r} must have one output, the logits of shape "
            "(batch, classes). Take the one with the logits, `keras.Model(model.inputs, "
            "model.outputs[0])`. A network with early exits goes whole into a MOODDetector, and "
            "`keras_lodin.models.at_exit(model)` into the others. "
            f"Received: {len(shapes)} outputs, of shapes {shapes}"
        )
    if len(shapes[0]) != 2 or shapes[0][1] is None or shapes[0][1] < 2:
        raise ValueError(
            f"The classifier {classifier.name!r} must return one logit per class for each "
            "sample, shape (batch, classes) with at least two classes; a regression output or a "
            "single sigmoid has no out-of-distribution score here. Give a classifier of two "
            f"classes two outputs, `Dense(2)`. Received: output shape {shapes[0]}"
        )
    return shapes[0][1]


def is_functional(model: Any) -> bool:
    """Whether the model's graph of layers is known: functional models and built `Sequential`s."""
    return isinstance(model, keras.Model) and bool(getattr(model, "inputs", None))


def _last_operation(
    model: keras.Model, looked_through: tuple[type, ...] = PASS_THROUGH
) -> tuple[Any, Any]:
    """The last operation that changes values, with its input; steps over the others."""
    operation, source = producer(model.outputs[0])
    while isinstance(operation, looked_through) or activation_name(operation) == "linear_only":
        operation, source = producer(source)
    return operation, source


def activation_name(operation: Any) -> str | None:
    """Name of an operation's activation, "linear_only" for `Activation("linear")`."""
    # `keras.ops.softmax` in a functional model is an operation of the layer's own name.
    if type(operation).__name__ == "Softmax":
        return "softmax"
    activation = getattr(operation, "activation", None)
    name = getattr(activation, "__name__", None)
    if name == "linear" and isinstance(operation, keras.layers.Activation):
        return "linear_only"
    return name


def _ends_in_logits(classifier: keras.Model, input_shape: tuple[int | None, ...]) -> bool:
    model = classifier
    while is_functional(model):
        operation, _ = _last_operation(model)
        name = activation_name(operation)
        if name == "softmax":
            return False
        if name == "linear" and isinstance(operation, LINEAR):
            return True
        if name in ("sigmoid", "hard_sigmoid"):
            raise ValueError(
                f"The classifier {classifier.name!r} ends in a {name}, which scores every class "
                "by itself. Expected logits or a softmax over the classes: end it in "
                "`Dense(classes)` without an activation, and train it with a softmax "
                f"cross-entropy. Received: last layer {operation.name!r}"
            )
        if not isinstance(operation, keras.Model):
            break
        model = operation
    return not _returns_probabilities(classifier, input_shape)


def _returns_probabilities(classifier: keras.Model, input_shape: tuple[int | None, ...]) -> bool:
    """Runs the classifier on two random inputs: rows of a softmax add up to 1, logits do not."""
    sizes = [2, *(32 if size is None else size for size in input_shape[1:])]
    inputs = np.random.default_rng(0).uniform(size=sizes)
    call = _taking_a_tensor(classifier)
    outputs = ops.cast(call(ops.cast(inputs, classifier.input_dtype)), "float32")
    outputs = ops.convert_to_numpy(outputs)
    return bool((outputs >= 0.0).all() and np.allclose(outputs.sum(axis=-1), 1.0, atol=1e-2))


def _before_softmax(model: keras.Model) -> Callable[..., Any] | None:
    """A function from the model's inputs to the input of its last softmax."""
    if not is_functional(model):
        return None
    # Not over reshapes: behind them the softmax may run over another axis.
    operation, source = _last_operation(model, looked_through=(keras.layers.Dropout,))
    if isinstance(operation, keras.Model):
        inner = _before_softmax(operation)
        if inner is None or operation is model:
            return None
        return _chain(_up_to(model, source), inner)
    if activation_name(operation) != "softmax":
        return None
    if isinstance(operation, keras.layers.Dense):
        return _chain(_up_to(model, source), linear_part(operation))
    if isinstance(operation, keras.layers.Activation) or not hasattr(operation, "activation"):
        return _up_to(model, source)
    return None


def _up_to(model: keras.Model, tensor: Any) -> Callable[..., Any]:
    """The part of a functional model up to one of its tensors; the identity at the input."""
    if any(tensor is source for source in model.inputs):
        return lambda inputs, training=None: inputs
    return keras.Model(model.inputs[0], tensor, name=f"{model.name}_before_softmax")


def linear_part(dense: keras.layers.Dense) -> Callable[..., Any]:
    """A `Dense` layer without its activation, on the same weights."""

    def linear(inputs: Any, training: bool | None = None) -> Any:
        # In the layer's own precision: a float32 head of a half-precision network stays float32.
        dtype = dense.compute_dtype
        outputs = ops.matmul(ops.cast(inputs, dtype), ops.cast(dense.kernel, dtype))
        return outputs if dense.bias is None else outputs + ops.cast(dense.bias, dtype)

    return linear


def _chain(first: Callable[..., Any], second: Callable[..., Any]) -> Callable[..., Any]:
    return lambda inputs, training=None: second(first(inputs, training=training), training=training)
