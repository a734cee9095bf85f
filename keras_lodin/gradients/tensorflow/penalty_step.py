"""A training step with a penalty on input gradients, for Keras's TensorFlow trainer."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from keras_lodin.gradients.tensorflow.replicas_of import has_several_hosts
from keras_lodin.utils import keras_internals
from keras_lodin.utils.tensor import Tensor

# Of the trainable weights; the predictions, the loss and the mean penalty.
_Gradients = tuple[list[Tensor], Tensor, Tensor, Tensor]


class PenaltyStep(keras_internals.BuiltOfSpecifications):
    """The training step of a `keras.Model` that says what it trains in four methods.

    * `checked_batch(data)`: inputs, labels and sample weights;
    * `penalty_is_due()`: whether this step computes the penalty, a bool or a tensor of one;
    * `penalized_loss(x, y, sample_weight, due)`: the loss, the predictions, the mean penalty;
    * `track_penalty(penalty, due, batch_size)`: what the log says of it.

    It also makes the step traced once, and draws no batch for that: TensorFlow traces a function
    again that made variables in its first call, to which Keras leaves those of the optimizer and of
    the metrics. On several replicas every sample of a batch counts the same, however they are
    shared out.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._traced = tf.function(self._gradients)

    def train_step(self, data: object) -> dict[str, Tensor]:
        """One step on a batch: forward, input gradients, loss, weight gradients, update."""
        model: Any = self
        due = model.penalty_is_due()
        if due is False and tf.distribute.get_strategy().num_replicas_in_sync == 1:
            return super().train_step(model.prepared_batch(data))  # type: ignore[misc]
        x, y, sample_weight = model.checked_batch(data)
        batch_size = tf.shape(x)[0]
        share = _share(model, batch_size)
        # Second derivatives are right in a graph alone, so that `run_eagerly` makes one for them.
        gradients_of = (
            self._in_a_graph if due is not False and tf.executing_eagerly() else self._gradients
        )
        gradients, y_pred, loss, penalty = (
            gradients_of(x, y, sample_weight, due, share)
            if isinstance(due, bool)
            else tf.cond(
                due,
                lambda: self._dense(gradients_of(x, y, sample_weight, True, share)),
                lambda: self._dense(gradients_of(x, y, sample_weight, False, share)),
            )
        )
        keras_internals.update_loss_tracker(model, loss, batch_size)
        if gradients:
            model.optimizer.apply_gradients(zip(gradients, model.trainable_weights, strict=True))
        if due is not False:
            model.track_penalty(penalty, due, batch_size)
        return _reducible(model.compute_metrics(x, y, y_pred, sample_weight))

    def _in_a_graph(self, *arguments: Any) -> _Gradients:
        """What `_gradients` gives, traced."""
        # Of a plain call `tf.config.run_functions_eagerly(True)` would make an eager one.
        return self._traced.get_concrete_function(*arguments)(*arguments)

    def _gradients(
        self, x: Tensor, y: Tensor, sample_weight: Tensor, due: bool, share: Tensor | None
    ) -> _Gradients:
        model: Any = self
        with tf.GradientTape() as tape:
            loss, y_pred, penalty = model.penalized_loss(x, y, sample_weight, due)
            # Inside the tape: mixed precision must differentiate the scaled loss.
            shared = loss if share is None else loss * tf.cast(share, loss.dtype)
            scaled_loss = model.optimizer.scale_loss(shared)
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
        logs = super().test_step(model.prepared_batch(data))  # type: ignore[misc]
        return _reducible(model.without_penalty(logs))

    def _one_replicas(self, specification: object) -> object:
        """What one replica gets of a batch, of what a distributed data set says of its batches."""

        def first(part: object) -> object:
            if isinstance(part, tf.OptionalSpec):  # what a generator leaves out
                return None
            return tf.nest.flatten(part, expand_composites=True)[0]

        return tf.nest.map_structure(first, specification)


def _share(model: Any, batch_size: Tensor) -> Tensor | None:
    """What a replica's loss counts, in numbers of replicas, so that each sample counts the same.

    Keras takes the mean over the replicas of the means over their samples, of which they have
    unlike numbers in the last batch of an epoch.

    Returns:
        None where Keras is right: on one device, and where samples are added up.
    """
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    if replicas == 1 or not keras_internals.loss_is_mean(model):
        return None
    own = tf.cast(batch_size, tf.float32)
    total = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, own)
    return own * replicas / total


def _reducible(logs: dict[str, Tensor]) -> dict[str, Tensor]:
    several = has_several_hosts(tf.distribute.get_strategy())
    return keras_internals.reducible(logs) if several else logs
