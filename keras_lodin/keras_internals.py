"""The names of Keras that are not public, all in one place.

Checked with Keras 3.10 to 3.15 (`tests/test_keras_internals.py` holds each to its contract). When
a new Keras moves one, this is the module to mend.
"""

from __future__ import annotations

import warnings
from typing import Any

from keras.src.export import tf2onnx_lib
from keras.src.losses.loss import unscale_loss_for_distribution
from keras.src.trainers.data_adapters.data_adapter_utils import unpack_x_y_sample_weight

__all__ = [
    "compute_dtypes",
    "compute_loss",
    "layer_names",
    "patch_tf2onnx",
    "producer",
    "scaled_for_distribution",
    "unpack_x_y_sample_weight",
    "unscale_loss_for_distribution",
    "update_loss_tracker",
]


def producer(tensor: Any) -> tuple[Any, Any]:
    """The operation that made a symbolic tensor, and that operation's first input tensor."""
    history = tensor._keras_history
    node = history.operation._inbound_nodes[history.node_index]
    inputs = node.input_tensors
    return history.operation, inputs[0] if inputs else None


def compute_loss(model: Any, x: Any, y: Any, y_pred: Any, sample_weight: Any) -> Any:
    """The compiled loss plus regularisers, as `Model.train_step` computes it."""
    return model._compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=True)


def scaled_for_distribution(model: Any, loss: Any) -> Any:
    """An extra loss term, scaled for `tf.distribute` as Keras scales its own terms."""
    return model._aggregate_additional_loss(loss)


def update_loss_tracker(model: Any, loss: Any, batch_size: Any) -> None:
    """Records a step's loss in the metric named "loss"."""
    model._loss_tracker.update_state(unscale_loss_for_distribution(loss), sample_weight=batch_size)


def layer_names(model: Any) -> list[str]:
    """Names of all layers in a model, those inside of other layers too, and of its operations."""
    layers = model._flatten_layers(include_self=False)
    names = {layer.name for layer in layers}
    return sorted(names | {operation.name for operation in getattr(model, "operations", ())})


def compute_dtypes(model: Any) -> dict[str, str]:
    """The type that each layer in a model computes in, by the layer's name."""
    return {layer.name: layer.compute_dtype for layer in model._flatten_layers(include_self=False)}


def patch_tf2onnx() -> None:
    """Makes tf2onnx run under numpy 2."""
    with warnings.catch_warnings():
        # It asks numpy for a name that is gone, which numpy warns about.
        warnings.simplefilter("ignore", FutureWarning)
        tf2onnx_lib.patch_tf2onnx()
