"""The names of Keras that are not public, all in one place.

Checked with Keras 3.10 to 3.15 (`tests/test_keras_internals.py` holds each to its contract). When
a new Keras moves one, this is the module to mend.
"""

from __future__ import annotations

import contextlib
import warnings
from typing import Any, NamedTuple

import tensorflow as tf
from keras.src.export import tf2onnx_lib
from keras.src.losses.loss import unscale_loss_for_distribution
from keras.src.models.functional import operation_fn
from keras.src.trainers.data_adapters.data_adapter_utils import unpack_x_y_sample_weight

__all__ = [
    "ReadyToTrace",
    "call_of",
    "compute_dtypes",
    "compute_loss",
    "layer_names",
    "layers_of",
    "patch_tf2onnx",
    "producer",
    "run_for_inference",
    "scaled_for_distribution",
    "steps_taken",
    "unpack_x_y_sample_weight",
    "unscale_loss_for_distribution",
    "update_loss_tracker",
]


class Call(NamedTuple):
    """One call of an operation on symbolic tensors.

    Attributes:
        operation: a layer, a model or an operation without weights.
        number: which of the operation's calls it is.
        inputs: the tensors that the operation took.
        output: which of the tensors that it made was asked for.
    """

    operation: Any
    number: int
    inputs: list[Any]
    output: int


def call_of(tensor: Any) -> Call:
    """The call that made a symbolic tensor."""
    operation, number, output = tensor._keras_history
    return Call(operation, number, operation._inbound_nodes[number].input_tensors, output)


def producer(tensor: Any) -> tuple[Any, Any]:
    """The operation that made a symbolic tensor, and that operation's first input tensor."""
    call = call_of(tensor)
    return call.operation, call.inputs[0] if call.inputs else None


def run_for_inference(function: Any, inputs: list[Any]) -> list[Any]:
    """A `keras.Function` of lists, run as a functional model runs with `training=False`."""
    return function._run_through_graph(
        inputs, operation_fn=lambda operation: operation_fn(operation, training=False)
    )


class ReadyToTrace:
    """Makes a `keras.Model` whose training step is traced once, and that draws no batch for it.

    TensorFlow traces a function again that made variables in its first call. Keras leaves those of
    the optimizer and of the metrics to that call. In a `tf.distribute` strategy, where it may not,
    it draws a batch of the data to make them by, and drops it: a generator that cannot start again
    has then lost it, at the start of training and before every validation.
    """

    def prepared_batch(self, data: Any) -> Any:
        """A batch, or its specification, as the step takes it apart."""
        return data

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        """What Keras calls before it trains or evaluates."""
        model: Any = self
        metrics = model._compile_metrics
        if model.optimizer.built and (metrics is None or metrics.built):
            return
        if iterator is not None:
            data_batch = _one_replica(iterator._distributed_dataset.element_spec)
        # What is wrong with a batch, the step says better.
        with model.distribute_strategy.scope(), contextlib.suppress(Exception):
            model._symbolic_build(data_batch=model.prepared_batch(data_batch))


def _one_replica(specification: Any) -> Any:
    """What one replica gets of a batch, from what a distributed data set says of its batches."""

    def first(part: Any) -> Any:
        if isinstance(part, tf.OptionalSpec):  # what a generator leaves out
            return None
        return tf.nest.flatten(part, expand_composites=True)[0]

    return tf.nest.map_structure(first, specification)


def compute_loss(model: Any, x: Any, y: Any, y_pred: Any, sample_weight: Any) -> Any:
    """The compiled loss plus regularisers, as `Model.train_step` computes it."""
    return model._compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=True)


def scaled_for_distribution(model: Any, loss: Any) -> Any:
    """An extra loss term, scaled for `tf.distribute` as Keras scales its own terms."""
    return model._aggregate_additional_loss(loss)


def update_loss_tracker(model: Any, loss: Any, batch_size: Any) -> None:
    """Records a step's loss in the metric named "loss"."""
    model._loss_tracker.update_state(unscale_loss_for_distribution(loss), sample_weight=batch_size)


def steps_taken(optimizer: Any) -> Any:
    """How many batches an optimizer has taken: with gradient accumulation, several an iteration."""
    while hasattr(optimizer, "inner_optimizer"):  # mixed precision wraps the one that counts
        optimizer = optimizer.inner_optimizer
    return optimizer._iterations


def layers_of(model: Any) -> list[Any]:
    """All layers in a model, those inside of other layers too."""
    return list(model._flatten_layers(include_self=False))


def layer_names(model: Any) -> list[str]:
    """Names of all layers in a model, those inside of other layers too, and of its operations."""
    names = {layer.name for layer in layers_of(model)}
    return sorted(names | {operation.name for operation in getattr(model, "operations", ())})


def compute_dtypes(model: Any) -> dict[str, str]:
    """The type that each layer in a model computes in, by the layer's name."""
    return {layer.name: layer.compute_dtype for layer in layers_of(model)}


def patch_tf2onnx() -> None:
    """Makes tf2onnx run under numpy 2."""
    with warnings.catch_warnings():
        # It asks numpy for a name that is gone, which numpy warns about.
        warnings.simplefilter("ignore", FutureWarning)
        tf2onnx_lib.patch_tf2onnx()
