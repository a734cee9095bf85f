"""Where a classifier's logits are: found without touching the user's model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import keras
from keras import ops

from keras_lodin.gradients import backend
from keras_lodin.models.classifier_head import ClassifierHead
from keras_lodin.models.classifier_wrapper import ClassifierWrapper
from keras_lodin.models.deployed_classifier import deployed_classifier
from keras_lodin.models.differentiability import integer_inputs
from keras_lodin.models.integer_inputs import inputs_to_take_floats, taking_floats
from keras_lodin.models.one_tensor import (
    Shape,
    in_its_structure,
    input_dtype,
    input_shape,
    stated_input_shape,
    taking_a_tensor,
)
from keras_lodin.models.output_kind import (
    LOGITS,
    PROBABILITIES,
    SCORES,
    kind_of_output,
    made_inputs,
)
from keras_lodin.models.softmax_end import (
    SoftmaxEnd,
    behaves_as_identity,
    find_softmax_end,
    nearest_miss,
)
from keras_lodin.utils.keras_internals import call_of, has_own_way_to_call, runs_its_graph
from keras_lodin.utils.tensor import Tensor

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


def has_exits(classifier: keras.Model) -> bool:
    """Whether a model has several outputs, as networks with early exits do."""
    functional = runs_its_graph(classifier) and not has_own_way_to_call(classifier)
    return functional and len(classifier.outputs) > 1


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
    return _exits_of(_deployed(classifier), from_logits)


def _exits_of(classifier: keras.Model, from_logits: bool | None) -> ClassifierHead:
    if not has_exits(classifier):
        raise ValueError(
            "Expected a network with several exits: a functional `keras.Model` whose outputs are "
            "the logits of each, such as `keras_lodin.models.MSDNet()`. "
            f"Received: classifier={classifier!r}"
        )
    shape = _checked_input_shape(classifier)
    shapes = [tuple(output.shape) for output in classifier.outputs]
    sizes = {shape[-1] for shape in shapes}
    if any(len(shape) != 2 for shape in shapes) or len(sizes) > 1 or min(sizes) < 2:
        raise ValueError(
            "Every exit must return one logit per class for each sample, shape (batch, classes), "
            f"all of the same classes. Received: output shapes {shapes}"
        )
    ends = [keras.Model(classifier.inputs[0], output) for output in classifier.outputs]
    kinds = {_kind(end, shape, shapes[0][1])[0] for end in ends}
    if from_logits is False or kinds != {LOGITS}:
        raise ValueError(
            "The exits must return logits: take the softmax or sigmoid from their ends, and leave "
            "out `from_logits=False`. "
            f"Received: classifier={classifier.name!r}, from_logits={from_logits}, "
            f"exits that return {' and '.join(sorted(kinds))}"
        )
    return _head(classifier, shape, shapes[0][1], exits=len(shapes))


def find_head(classifier: keras.Model, from_logits: bool | None = None) -> ClassifierHead:
    """Finds a classifier's logits.

    The end of a functional or sequential model shows whether it is a softmax; any other model is
    run once, on a few made inputs. What is found is compared with the classifier: the softmax of
    the logits must be what the classifier returns.

    Args:
        classifier: a built Keras model with one input and one output of shape
            `(batch, classes)`. Of a model for training, such as `GQModel`, the classifier inside
            is taken.
        from_logits: True when the classifier returns logits, False when it returns softmax
            probabilities, None to find out. What is said is checked.

    Returns:
        a `ClassifierHead`.

    Raises:
        ValueError: if the model is not such a classifier, returns something else than
            `from_logits` says, or ends in a softmax whose input cannot be reached. The message
            says what to pass instead.
    """
    return _head_of(_deployed(classifier), from_logits)


def find_head_or_exits(classifier: keras.Model, from_logits: bool | None = None) -> ClassifierHead:
    """What `find_exits` finds of a network with several exits, and `find_head` of any other."""
    classifier = _deployed(classifier)
    return (_exits_of if has_exits(classifier) else _head_of)(classifier, from_logits)


def _deployed(classifier: keras.Model) -> keras.Model:
    model = deployed_classifier(classifier)
    if isinstance(model, ClassifierWrapper):
        raise ValueError(
            "Expected a classifier, not a detector, which holds one: pass `detector.classifier`. "
            f"Received: classifier={classifier!r}"
        )
    return model


def _head_of(classifier: keras.Model, from_logits: bool | None) -> ClassifierHead:
    if from_logits not in (None, True, False):
        raise ValueError(
            "`from_logits` must be True, False, or None to find out. "
            f"Received: from_logits={from_logits!r}"
        )
    shape = _checked_input_shape(classifier)
    num_classes = _num_classes(classifier, shape)
    kind, end = _kind(classifier, shape, num_classes)
    received = f"Received: classifier={classifier!r}, from_logits={from_logits}"
    if kind == SCORES:
        raise ValueError(
            f"The classifier {classifier.name!r} returns scores between 0 and 1 that do not add up "
            "to 1: it ends in a sigmoid, or in what acts as one, which scores every class by "
            "itself. Expected logits or a softmax over the classes: end it in `Dense(classes)` "
            "without an activation, and train it with a softmax cross-entropy. "
            f"{received}, last layer {_last_name(classifier)!r}"
        )
    if kind == LOGITS:
        if from_logits is False:
            raise ValueError(
                f"The classifier {classifier.name!r} does not return probabilities, which "
                "`from_logits=False` says: its outputs are not between 0 and 1 with a sum of 1. "
                f"They are taken for logits if `from_logits` is left out. {received}"
            )
        return _head(classifier, shape, num_classes)
    if end is None:
        raise ValueError(
            f"The classifier {classifier.name!r} returns probabilities, and the logits behind them "
            "cannot be reached: the end of the model is not a softmax that can be taken away. "
            f"{nearest_miss(classifier, num_classes)}"
            "Return the logits from it: `Dense(classes)` without an activation as the last layer, "
            "and a loss with `from_logits=True`. Or end it, as a functional or sequential model, "
            "in a plain softmax: `Softmax()`, `Activation('softmax')` or "
            f"`Dense(classes, activation='softmax')`. {received}, last layer "
            f"{_last_name(classifier)!r}"
        )
    if from_logits:
        raise ValueError(
            f"The classifier {classifier.name!r} returns probabilities, rows between 0 and 1 with "
            "a sum of 1, and no logits, which `from_logits=True` says. Leave `from_logits` out: "
            f"the logits before the softmax are then found. {received}"
        )
    return _head(classifier, shape, num_classes, end)


def _head(
    classifier: keras.Model,
    shape: Shape,
    num_classes: int,
    end: SoftmaxEnd | None = None,
    exits: int = 0,
) -> ClassifierHead:
    """A head to the logits before an end, as a function of floats where inputs are quantities."""
    casting = inputs_to_take_floats(classifier)
    are_names = not casting and bool(integer_inputs(classifier))
    return ClassifierHead(
        classifier,
        logits=taking_floats(
            taking_a_tensor(classifier) if end is None else _up_to_logits(classifier, end), casting
        ),
        output=keras.activations.linear if end is None else ops.softmax,
        from_logits=end is None,
        num_classes=num_classes,
        input_shape=shape,
        exits=exits,
        input_dtype=input_dtype(classifier) if are_names else "float32",
        check=(lambda: None) if end is None else end.check,
    )


def _kind(classifier: keras.Model, shape: Shape, num_classes: int) -> tuple[str, SoftmaxEnd | None]:
    """What a classifier returns, and the softmax that it ends in, where that is found."""
    if _ends_in_linear_layer(classifier):
        return LOGITS, None
    end = find_softmax_end(classifier, num_classes)
    run = partial(taking_a_tensor(classifier), training=False)
    dtype = input_dtype(classifier)
    if end is not None:
        models = (classifier, *(call_of(tensor).operation for tensor in end.places[0].calls))
        if not any(map(has_own_way_to_call, models)):
            return PROBABILITIES, end
        inputs = made_inputs(shape, dtype)
        logits = _up_to_logits(classifier, end)(inputs, training=False)
        if end.is_softmax_of(logits, run(inputs)):
            return PROBABILITIES, end
    return kind_of_output(run, made_inputs(shape, dtype)), None


def _last_name(classifier: keras.Model) -> str:
    while runs_its_graph(classifier):
        operation = call_of(classifier.outputs[0]).operation
        if not isinstance(operation, keras.Model):
            return str(operation.name)
        classifier = operation
    return str(classifier.name)


def _checked_input_shape(classifier: keras.Model) -> Shape:
    if not classifier.built:
        raise ValueError(
            "The classifier has no weights yet. Expected a built model: start it with "
            "`keras.Input(shape)`, call `classifier.build((None, ...))`, or run it on one batch. "
            f"Received: classifier={classifier!r}"
        )
    shape = input_shape(classifier)
    if shape is None:
        raise ValueError(
            f"The classifier {classifier.name!r} must take one tensor: make one `keras.Input` of "
            "several, and split it inside. "
            f"Received: inputs of shape {stated_input_shape(classifier)}"
        )
    if input_dtype(classifier) == "string":
        raise ValueError(
            f"The classifier {classifier.name!r} must take numbers. Wrap the part behind what "
            "reads the texts, a model of its own, `keras.Model(tokens, logits)` with "
            "`tokens = keras.Input((length,), dtype='int32')`, and run `TextVectorization` before "
            "it. Received: an input of dtype string"
        )
    _check_free_batch(classifier)
    return shape


def _check_free_batch(classifier: keras.Model) -> None:
    """Raises ValueError for a functional model that takes batches of one size alone."""
    shape = classifier.inputs[0].shape if runs_its_graph(classifier) else (None,)
    if shape[0] is None:
        return
    # It may hold a size of batches and use it nowhere.
    sizes = (shape[0] + 1, *(32 if size is None else size for size in shape[1:]))
    inputs = ops.zeros(sizes, dtype=classifier.inputs[0].dtype)
    try:
        backend.run_eagerly(lambda: taking_a_tensor(classifier)(inputs, training=False))
    except Exception as error:  # whatever its layers raise
        raise ValueError(
            f"The classifier {classifier.name!r} must take batches of any size. Build it with "
            f"`keras.Input({tuple(shape[1:])})` and without `batch_size`, and copy the weights: "
            "`new.set_weights(classifier.get_weights())`. "
            f"Received: inputs of shape {tuple(shape)}"
        ) from error


def _num_classes(classifier: keras.Model, shape: Shape) -> int:
    if runs_its_graph(classifier):
        outputs = classifier.outputs
    else:
        symbolic = keras.KerasTensor(shape, dtype=input_dtype(classifier))
        # Of what `call` returns: a functional model that has one of its own knows its graph's.
        outputs = keras.tree.flatten(
            keras.Operation.compute_output_spec(classifier, in_its_structure(classifier, symbolic))
        )
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


def _ends_in_linear_layer(model: keras.Model) -> bool:
    """Whether a classifier's last layer is one of Keras's own without an activation."""
    while runs_its_graph(model) and not has_own_way_to_call(model):
        call = call_of(model.outputs[0])
        while looks_through(call.operation):
            call = call_of(call.inputs[0])
        model = call.operation
        if not isinstance(model, keras.Model):
            return type(model) in LINEAR and behaves_as_identity(model.activation)
    return False


def looks_through(operation: keras.Operation) -> bool:
    """Whether a layer gives the values that it gets, in another shape perhaps."""
    if type(operation) is keras.layers.Activation:
        return behaves_as_identity(operation.activation)
    return type(operation) in PASS_THROUGH


def _up_to_logits(model: keras.Model, end: SoftmaxEnd) -> Callable[..., Tensor]:
    """A function from the model's inputs to the logits before the softmax that it ends in."""
    parts = []
    for tensor in end.places[0].calls:
        call = call_of(tensor)
        parts.append(_up_to(model, call.inputs))
        model = call.operation
    parts.append(_up_to(model, [place.tensor for place in end.places]))

    def logits(inputs: Tensor, training: bool | None = None) -> Tensor:
        values = [inputs]
        for part in parts:
            values = part(values[0], training)
        return end.logits(values, training)

    return logits


def _up_to(
    model: keras.Model, tensors: Sequence[keras.KerasTensor]
) -> Callable[[Tensor, bool | None], list[Tensor]]:
    """The part of a functional model up to some of its tensors; the identity at the input."""
    if len(tensors) == 1 and any(tensors[0] is source for source in model.inputs):
        return lambda inputs, training: [inputs]
    # A model, which forgets before each call what its layers added to the loss in the last one.
    part = keras.Model(model.inputs[0], list(tensors), name=f"{model.name}_before_softmax")
    # Keras unpacks a list of one.
    return lambda inputs, training: keras.tree.flatten(part(inputs, training=training))
