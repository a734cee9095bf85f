"""The names of Keras that are not public, all in one place.

Checked with Keras 3.10 to 3.15 (`tests/utils/test_keras_internals.py` holds each to its
contract). When
a new Keras moves one, this is the module to mend.
"""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
from keras.src.backend.common import global_state
from keras.src.backend.common.stateless_scope import (
    get_stateless_scope as get_stateless_scope,
)
from keras.src.losses.loss import unscale_loss_for_distribution as unscale_loss_for_distribution
from keras.src.models.functional import Functional, operation_fn
from keras.src.models.sequential import Sequential
from keras.src.trainers.data_adapters import data_adapter_utils
from keras.src.trainers.data_adapters.data_adapter import DataAdapter
from keras.src.trainers.data_adapters.data_adapter_utils import (
    unpack_x_y_sample_weight as unpack_x_y_sample_weight,
)

from keras_lodin.utils.tensor import Tensor


class Call(NamedTuple):
    """One call of an operation on symbolic tensors.

    Attributes:
        operation: a layer, a model or an operation without weights.
        number: which of the operation's calls it is.
        inputs: the tensors that the operation took.
        output: which of the tensors that it made was asked for.
    """

    operation: keras.Operation
    number: int
    inputs: list[keras.KerasTensor]
    output: int


def call_of(tensor: keras.KerasTensor) -> Call:
    """The call that made a symbolic tensor."""
    operation, number, output = tensor._keras_history
    return Call(operation, number, operation._inbound_nodes[number].input_tensors, output)


def run_node(
    tensor: keras.KerasTensor,
    operation: keras.Operation,
    values: Mapping[int, Tensor],
    training: bool | None,
) -> Tensor:
    """Calls an operation as it was called to make a symbolic tensor, on other values.

    Args:
        tensor: the symbolic tensor.
        operation: the operation that made it, or one to put in its place.
        values: a value for each symbolic tensor that the call read, by the tensor's `id`.
        training: whether in training mode, for an operation that asks.

    Returns:
        what the operation returns, of several outputs the one that `tensor` stands for.
    """
    return run_call(call_of(tensor), operation, values, training)[call_of(tensor).output]


def run_call(
    call: Call, operation: keras.Operation, values: Mapping[int, Tensor], training: bool | None
) -> list[Tensor]:
    """Calls an operation as in one call on symbolic tensors, on other values.

    Args:
        call: the call.
        operation: its operation, or one to put in its place.
        values: a value for each symbolic tensor that the call read, by the tensor's `id`.
        training: whether in training mode, for an operation that asks.

    Returns:
        all that the operation returns, as a flat list.
    """
    args, kwargs = call.operation._inbound_nodes[call.number].arguments.fill_in(values)
    return list(keras.tree.flatten(operation_fn(operation, training=training)(*args, **kwargs)))


def runs_its_graph(model: keras.Model) -> bool:
    """Whether a model computes what its graph of layers says, and nothing else.

    A subclass of a functional or sequential model may have a graph and a `call` of its own.
    """
    return (
        isinstance(model, (Functional, Sequential))
        and bool(getattr(model, "inputs", None))
        and type(model).call in (Functional.call, Sequential.call)
        and "call" not in vars(model)
    )


_FLOAT_INPUTS_LOCK = threading.RLock()


@contextlib.contextmanager
def float_inputs(tensors: Sequence[keras.KerasTensor]) -> Iterator[None]:
    """Within it, models do not cast what they are given to the integer types of these inputs.

    Args:
        tensors: symbolic tensors, inputs of functional or sequential models.
    """
    # A functional model has the type of its input's tensor, a sequential one that of its layer. A
    # model that is built of the same tensors, to run a part of another, has their types too.
    typed = [*tensors, *(call_of(tensor).operation for tensor in tensors)]
    with _FLOAT_INPUTS_LOCK:
        types = [one._dtype for one in typed]
        for one in typed:
            one._dtype = "float32"
        try:
            yield
        finally:
            for one, dtype in zip(typed, types, strict=True):
                one._dtype = dtype


def is_of_keras(operation: object, package: str) -> bool:
    """Whether an operation's class is Keras's own, of its package "layers" or "ops", say."""
    return f"{type(operation).__module__}.".startswith(f"keras.src.{package}.")


def has_own_way_to_call(model: keras.Model) -> bool:
    """Whether calling a model does something before or after its `call` that Keras does not."""
    return type(model).__call__ is not Functional.__call__


def predicts_as_called(model: keras.Model) -> bool:
    """Whether `predict` is Keras's own, which returns what calling the model does."""
    names = ("predict", "predict_step", "predict_on_batch", "make_predict_function")
    return all(
        getattr(type(model), name) is getattr(Functional, name) and name not in vars(model)
        for name in names
    )


def shallow_copy(layer: keras.layers.Layer, **attributes: object) -> keras.layers.Layer:
    """A layer on the same weights, some of whose attributes differ.

    Made without its constructor, and without telling the layer, which stays as it is.
    """
    twin = object.__new__(type(layer))
    vars(twin).update({**vars(layer), **attributes})
    return twin


class BuiltOfPreparedBatches:
    """Makes a `keras.Model` build its loss and its metrics of batches as its step takes them apart.

    The model says how in `prepared_batch`.
    """

    def _symbolic_build(self, iterator: Any = None, data_batch: object = None) -> None:
        model: Any = self

        def prepared(given: Any) -> object:
            batch = given[0] if isinstance(given, (list, tuple)) else next(given)
            return model.prepared_batch(batch)

        if iterator is not None:  # from which Keras draws only if it must
            iterator = ((0, 0, [prepared(given)]) for _, _, given in iterator)
        if data_batch is not None:
            data_batch = model.prepared_batch(data_batch)
        super()._symbolic_build(iterator, data_batch)  # type: ignore[misc]


class BuiltOfSpecifications:
    """Makes a `keras.Model` on TensorFlow build what it trains with of what is known of a batch.

    In a `tf.distribute` strategy Keras draws a batch of the data to do so, and drops it: a
    generator that cannot start again has then lost it, at the start of training and before every
    validation. Where a host has several replicas or there are several hosts it fails, as it takes
    the mean of what the replicas got (keras#20585).

    The model says in `_one_replicas` what one replica gets, and takes a batch apart in
    `prepared_batch`.
    """

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: object = None) -> None:
        """What Keras calls before it trains or evaluates."""
        model: Any = self
        metrics = model._compile_metrics
        if model.optimizer.built and (metrics is None or metrics.built):
            return
        if iterator is not None:
            data_batch = model._one_replicas(iterator._distributed_dataset.element_spec)
        # What is wrong with a batch, the step says better.
        with model.distribute_strategy.scope(), contextlib.suppress(Exception):
            model._symbolic_build(data_batch=model.prepared_batch(data_batch))


def reducible(logs: dict[str, Tensor]) -> dict[str, Tensor]:
    """What a step returns, so that Keras can take the mean over several hosts.

    It takes it over the first axis, which a number does not have; of vectors it makes numbers.
    """
    return {name: keras.ops.reshape(value, (1,)) for name, value in logs.items()}


def lay_batches_through(function: Callable[[Any, Any], Any]) -> None:
    """Lets a function choose where JAX lays a batch of Keras's loops, from now on.

    Keras settles it by the first batch of a pass, and fails where a later one has another size that
    the devices cannot share.

    Args:
        function: from an array and the `jax.sharding.NamedSharding` that Keras chose, to another.
    """
    from keras.src.backend.jax import distribution_lib

    original = distribution_lib.distribute_data_input
    if getattr(original, "is_ours", False):
        return

    def changed(batch: Any, layout: Any, batch_dim_name: str) -> Any:
        chosen = function(batch, getattr(layout, "backend_layout", layout))
        return original(batch, chosen, batch_dim_name)

    changed.is_ours = True  # type: ignore[attr-defined]
    distribution_lib.distribute_data_input = changed


def loss_is_mean(model: keras.Model) -> bool:
    """Whether every compiled loss is a mean over the samples, and not their sum."""
    losses = keras.tree.flatten(model._compile_loss._user_loss) if model._compile_loss else []
    return all(getattr(one, "reduction", "mean") not in ("sum", "none", None) for one in losses)


_STATISTICS_LOCK = threading.RLock()


@contextlib.contextmanager
def batch_statistics_through(function: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Within it, the mean and variance of a batch reach BatchNormalization through a function."""
    with _STATISTICS_LOCK:
        moments = keras.layers.BatchNormalization._moments

        def changed(layer: keras.layers.Layer, inputs: Tensor, mask: Tensor) -> list[Tensor]:
            return [function(one) for one in moments(layer, inputs, mask)]

        keras.layers.BatchNormalization._moments = changed
        try:
            yield
        finally:
            keras.layers.BatchNormalization._moments = moments


def compute_loss(
    model: keras.Model, x: Tensor, y: Tensor, y_pred: Tensor, sample_weight: Tensor
) -> Tensor:
    """The compiled loss plus regularisers, as `Model.train_step` computes it."""
    return model._compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=True)


def scaled_for_distribution(model: keras.Model, loss: Tensor) -> Tensor:
    """An extra loss term, scaled for `tf.distribute` as Keras scales its own terms."""
    return model._aggregate_additional_loss(loss)


def update_loss_tracker(model: keras.Model, loss: Tensor, batch_size: Tensor) -> None:
    """Records a step's loss in the metric named "loss"."""
    model._loss_tracker.update_state(unscale_loss_for_distribution(loss), sample_weight=batch_size)


def steps_taken(optimizer: keras.Optimizer) -> keras.Variable:
    """How many batches an optimizer has taken: with gradient accumulation, several an iteration."""
    while hasattr(optimizer, "inner_optimizer"):  # mixed precision wraps the one that counts
        optimizer = optimizer.inner_optimizer
    return optimizer._iterations


def own_value(variable: keras.Variable) -> np.ndarray | None:
    """What a variable holds; None while the JAX trainer has taken it out."""
    return None if variable._value is None else np.asarray(variable._value)


def own_values(variables: Iterable[keras.Variable]) -> list[Tensor | None]:
    """What variables hold, as tensors of the backend."""
    return [variable._value for variable in variables]


def variables_of_training(model: keras.Model) -> list[keras.Variable]:
    """The variables of a model, of its metrics and of its optimizer, once each."""
    optimizer = getattr(model, "optimizer", None)
    found = [*model.variables, *model.metrics_variables, *getattr(optimizer, "variables", ())]
    return list({id(variable): variable for variable in found}.values())


def put_back(variables: Iterable[keras.Variable], values: Iterable[Tensor | None]) -> None:
    """Gives values to those variables that have none and are not about to make their first."""
    for variable, value in zip(variables, values, strict=True):
        if variable._value is None and value is not None and not value.is_deleted():
            variable._value = value


def layers_of(model: keras.Model) -> list[keras.layers.Layer]:
    """All layers in a model, those inside of other layers too."""
    return list(model._flatten_layers(include_self=False))


def layer_names(model: keras.Model) -> list[str]:
    """Names of all layers in a model, those inside of other layers too, and of its operations."""
    names = {layer.name for layer in layers_of(model)}
    return sorted(names | {operation.name for operation in getattr(model, "operations", ())})


def compute_dtypes(model: keras.Model) -> dict[str, str]:
    """The type that each layer in a model computes in, by the layer's name."""
    return {layer.name: layer.compute_dtype for layer in layers_of(model)}


def writing_legacy_file() -> bool:
    """Whether configurations are being asked for to be written to an HDF5 file."""
    return bool(global_state.get_global_attribute("use_legacy_config", False))


def serialized_to_share(model: keras.Model) -> dict[str, Any]:
    """The configuration of a model that the model around it may hold a second time.

    While a file is written, Keras notes in the configurations of an object that it met again that
    they are the same object. The first one, if it is part of another's configuration, has been
    copied by then, and without the note that object would be loaded twice, its weights once.
    """
    config: dict[str, Any] = keras.saving.serialize_keras_object(model)
    if global_state.get_global_attribute("shared_objects/id_to_config_map") is not None:
        config["shared_object_id"] = id(model)
    return config


def patch_tf2onnx() -> None:
    """Makes tf2onnx run under numpy 2."""
    from keras.src.export import tf2onnx_lib

    with warnings.catch_warnings():
        # It asks numpy for a name that is gone, which numpy warns about.
        warnings.simplefilter("ignore", FutureWarning)
        tf2onnx_lib.patch_tf2onnx()


class IterableData(DataAdapter):
    """Batches that `fit`, `evaluate` and `predict` take on JAX and PyTorch, by iteration alone.

    Keras takes a class of a user's only where each batch can be asked for by its number; a
    generator ends with the first epoch. Subclasses have `__iter__`, which starts a pass over
    tuples of arrays, and `num_batches`, None where that is not known.
    """

    batch_size = None

    def get_numpy_iterator(self) -> Iterator[Any]:
        """A pass, for Keras's own loops."""
        return iter(self)

    def get_jax_iterator(self) -> Iterator[Any]:
        """A pass, for JAX."""
        return iter(self)

    def get_torch_dataloader(self) -> Iterable[Any]:
        """The passes, for PyTorch."""
        return data_adapter_utils.get_torch_dataloader(self)
