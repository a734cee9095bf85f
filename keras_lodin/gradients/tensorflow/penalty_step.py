"""A training step with a penalty on input gradients, for Keras's TensorFlow trainer."""

from __future__ import annotations

import contextlib
from typing import Any

import tensorflow as tf

from keras_lodin.utils import keras_internals
from keras_lodin.utils.tensor import Tensor

# Of the trainable weights; the predictions, the loss and the mean penalty.
_Gradients = tuple[list[Tensor], Tensor, Tensor, Tensor]


class PenaltyStep:
    """The training step of a `keras.Model` that says what it trains in four methods.

    * `checked_batch(data)`: inputs, labels and sample weights;
    * `penalty_is_due()`: whether this step computes the penalty, a bool or a tensor of one;
    * `penalized_loss(x, y, sample_weight, due)`: the loss, the predictions, the mean penalty;
    * `track_penalty(penalty, due, batch_size)`: what the log says of it.

    It also makes the step traced once, and draws no batch for that. TensorFlow traces a function
    again that made variables in its first call. Keras leaves those of the optimizer and of the
    metrics to that call. In a `tf.distribute` strategy, where it may not, it draws a batch of the
    data to make them by, and drops it: a generator that cannot start again has then lost it, at the
    start of training and before every validation.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._traced = tf.function(self._gradients)

    def train_step(self, data: object) -> dict[str, Tensor]:
        """One step on a batch: forward, input gradients, loss, weight gradients, update."""
        model: Any = self
        due = model.penalty_is_due()
        if due is False:  # and never will be
            return super().train_step(model.prepared_batch(data))  # type: ignore[misc]
        x, y, sample_weight = model.checked_batch(data)
        # Second derivatives are right in a graph alone, so that `run_eagerly` makes one for them.
        gradients_of = self._traced if tf.executing_eagerly() else self._gradients
        gradients, y_pred, loss, penalty = (
            gradients_of(x, y, sample_weight, True)
            if due is True
            else tf.cond(
                due,
                lambda: self._dense(gradients_of(x, y, sample_weight, True)),
                lambda: self._dense(gradients_of(x, y, sample_weight, False)),
            )
        )
        batch_size = tf.shape(x)[0]
        keras_internals.update_loss_tracker(model, loss, batch_size)
        if gradients:
            model.optimizer.apply_gradients(zip(gradients, model.trainable_weights, strict=True))
        model.track_penalty(penalty, due, batch_size)
        return model.compute_metrics(x, y, y_pred, sample_weight)

    def _gradients(self, x: Tensor, y: Tensor, sample_weight: Tensor, due: bool) -> _Gradients:
        model: Any = self
        with tf.GradientTape() as tape:
            loss, y_pred, penalty = model.penalized_loss(x, y, sample_weight, due)
            # Inside the tape: mixed precision must differentiate the scaled loss.
            scaled_loss = model.optimizer.scale_loss(loss)
        return tape.gradient(scaled_loss, model.trainable_weights), y_pred, loss, penalty

    def _dense(self, results: _Gradients) -> _Gradients:
        """What `_gradients` gave, in the form that both branches of a condition can have."""
        model: Any = self
        gradients, y_pred, loss, penalty = results
        dense = [
            tf.zeros_like(variable) if gradient is None else tf.convert_to_tensor(gradient)
            for gradient, variable in zip(gradients, model.trainable_weights, strict=True)
        ]
        return dense, y_pred, loss, penalty

    def test_step(self, data: object) -> dict[str, Tensor]:
        """One validation step, without the penalty: one that nobody computed would read 0."""
        model: Any = self
        return model.without_penalty(super().test_step(model.prepared_batch(data)))  # type: ignore[misc]

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: object = None) -> None:
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


def _one_replica(specification: object) -> object:
    """What one replica gets of a batch, from what a distributed data set says of its batches."""

    def first(part: object) -> object:
        if isinstance(part, tf.OptionalSpec):  # what a generator leaves out
            return None
        return tf.nest.flatten(part, expand_composites=True)[0]

    return tf.nest.map_structure(first, specification)
