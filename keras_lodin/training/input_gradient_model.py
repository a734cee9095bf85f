"""Training with a penalty on the gradients of the INPUTS, inside Keras's own training step."""

from __future__ import annotations

import warnings
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from keras_lodin.gradients.forward_pass import ForwardPass
from keras_lodin.models.classifier_wrapper import ClassifierWrapper
from keras_lodin.models.differentiability import check_differentiable
from keras_lodin.models.head import find_head_or_exits
from keras_lodin.utils import keras_internals
from keras_lodin.utils.tensor import Tensor

# Of the trainable weights; the predictions, the loss and the mean penalty.
_Gradients = tuple[list[Tensor], Tensor, Tensor, Tensor]


class InputGradientModel(keras_internals.ReadyToTrace, ClassifierWrapper):
    """Trains a classifier with `loss = compiled loss + weight * penalty`.

    The base of the models whose penalty is made of input gradients. It is computed inside
    `train_step` with nested gradient tapes, on the one forward pass that the loss is computed on.
    A subclass says what it is in `penalty`.

    Everything else is Keras's: `compile`, `fit`, callbacks, sample weights, mixed precision,
    distribution, `.keras` files. Validation reports the compiled loss and metrics alone.

    Args:
        classifier: see `GQModel`.
        weight: weight of the penalty; with 0 it is not computed.
        log_name: what the training log calls the mean penalty before it is weighted.
        every: the penalty is computed on every k-th step, with k times the weight.
        from_logits: see `GQModel`.
        name: name of the model.
        **kwargs: of `keras.Model`.

    Raises:
        ValueError: for a model that is not a classifier.
    """

    def __init__(
        self,
        classifier: keras.Model,
        weight: float,
        log_name: str,
        every: int,
        from_logits: bool | None,
        name: str | None,
        **kwargs: Any,
    ) -> None:
        head = find_head_or_exits(classifier, from_logits)
        classifier = head.classifier
        super().__init__(name=name, dtype=kwargs.pop("dtype", classifier.dtype_policy), **kwargs)
        self.classifier = classifier
        self.every = every
        self.from_logits = head.from_logits
        self._weight = float(weight)
        self._log_name = log_name
        self._evaluates = False
        self._head = head
        if head.exits:
            # Keras names the loss and the metrics of each exit after them.
            self.output_names = list(classifier.output_names)
        self._traced = tf.function(self._gradients)
        if weight:
            check_differentiable(head, type(self).__name__)
            self._penalty_tracker = _MeanOrNan(name=log_name)
        self.build(head.input_shape)

    def penalty(
        self, forward_pass: ForwardPass, labels: Tensor, sample_weight: Tensor | None
    ) -> Tensor:
        """The batch's mean penalty: a float32 scalar.

        Args:
            forward_pass: of the classifier in training mode, over the batch.
            labels: class numbers, int32 tensor of shape `(batch,)`.
            sample_weight: None, or weights of shape `(batch,)`, as Keras weighs the loss.
        """
        raise NotImplementedError(f"{type(self).__name__} must say what its penalty is.")

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Records the input shape; the classifier's weights exist already."""
        self.built = True

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        """What the classifier returns."""
        outputs = self._head.output(self._head.logits(_never_empty(inputs), training=training))
        return keras.tree.map_structure(lambda one: _as_many(one, inputs), outputs)

    def train_step(self, data: object) -> dict[str, Tensor]:
        """One step on a batch: forward, input gradients, loss, weight gradients, update."""
        data = self.prepared_batch(data)
        if not self._weight:
            return super().train_step(data)
        x, y, sample_weight = keras_internals.unpack_x_y_sample_weight(data)
        x = self._checked_inputs(x)
        labels = sparse_labels(y[0] if self._head.exits else y)

        # Second derivatives are right in a graph alone, so that `run_eagerly` makes one for them.
        gradients_in_a_graph = self._traced if tf.executing_eagerly() else self._gradients

        def gradients_of(weight: float) -> _Gradients:
            return gradients_in_a_graph(x, y, labels, sample_weight, weight)

        if self.every == 1:
            share = tf.ones(())
            gradients, y_pred, loss, penalty = gradients_of(self._weight)
        else:
            due = self.optimizer.iterations % self.every == 0
            share = tf.cast(due, tf.float32)
            gradients, y_pred, loss, penalty = tf.cond(
                due,
                lambda: self._dense(gradients_of(self._weight * self.every)),
                lambda: self._dense(gradients_of(0.0)),
            )
        batch_size = tf.shape(x)[0]
        keras_internals.update_loss_tracker(self, loss, batch_size)
        if gradients:
            self.optimizer.apply_gradients(zip(gradients, self.trainable_weights, strict=True))
        else:  # as Keras does
            warnings.warn(_NOTHING_TO_TRAIN, stacklevel=2)
        self._penalty_tracker.update_state(
            penalty, sample_weight=share * tf.cast(batch_size, tf.float32)
        )
        return self.compute_metrics(x, y, y_pred, sample_weight)

    def _gradients(
        self, x: Tensor, y: Tensor, labels: Tensor, sample_weight: Tensor, weight: float
    ) -> _Gradients:
        with tf.GradientTape() as tape:
            passes, y_pred = self._training_pass(x)
            loss = keras_internals.compute_loss(self, x, y, y_pred, sample_weight)
            penalty = tf.zeros(())
            if weight:
                labels = _never_empty(labels)
                # Several exits may each have weights of their own.
                several = isinstance(sample_weight, (list, tuple))
                weights = sample_weight if several else [sample_weight] * len(passes)
                penalties = [
                    self.penalty(one, labels, _never_empty(own))
                    for one, own in zip(passes, weights, strict=True)
                ]
                penalty = sum(penalties) / len(penalties)
                if not x.shape[0]:  # no number is the mean over no samples
                    penalty = tf.where(tf.shape(x)[0] > 0, penalty, 0.0)
                added = weight * len(penalties) * penalty
                loss += tf.cast(keras_internals.scaled_for_distribution(self, added), loss.dtype)
            # Inside the tape: mixed precision must differentiate the scaled loss.
            scaled_loss = self.optimizer.scale_loss(loss)
        return tape.gradient(scaled_loss, self.trainable_weights), y_pred, loss, penalty

    def _training_pass(self, x: Tensor) -> tuple[list[ForwardPass], Tensor]:
        """One forward pass, as one `ForwardPass` for each exit, and the predictions."""

        def logits(inputs: Tensor) -> Tensor:
            return self._head.logits(inputs, training=True)

        inputs = _never_empty(x)
        if self._head.exits:
            passes = ForwardPass.of_exits(logits, inputs)
            return passes, [_as_many(one.logits, x) for one in passes]
        forward_pass = ForwardPass(logits, inputs)
        return [forward_pass], _as_many(self._head.output(forward_pass.logits), x)

    def prepared_batch(self, data: object) -> object:
        """A batch whose labels are repeated for every exit, if there are several."""
        if not self._head.exits:
            return data
        x, y, sample_weight = keras_internals.unpack_x_y_sample_weight(data)
        if not isinstance(y, (list, tuple)):
            y = [y] * self._head.exits
        return x, list(y), sample_weight

    def _dense(self, results: _Gradients) -> _Gradients:
        """What `_gradients` gave, in the form that both branches of a condition can have."""
        gradients, y_pred, loss, penalty = results
        dense = [
            tf.zeros_like(variable) if gradient is None else tf.convert_to_tensor(gradient)
            for gradient, variable in zip(gradients, self.trainable_weights, strict=True)
        ]
        return dense, y_pred, loss, penalty

    def test_step(self, data: object) -> dict[str, Tensor]:
        """One validation step, without the penalty: one that nobody computed would read 0."""
        return self._without_penalty(super().test_step(self.prepared_batch(data)))

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        """See `keras.Model.evaluate`; the penalty is not measured."""
        self._evaluates = True
        try:
            return super().evaluate(*args, **kwargs)
        finally:
            self._evaluates = False

    def get_metrics_result(self) -> dict[str, Tensor]:
        """Every metric's value, the penalty's in training alone.

        Keras takes these and not what the last step gave, which on several replicas is a mean over
        replicas and not over samples, but only where both have the same names.
        """
        results = super().get_metrics_result()
        return self._without_penalty(results) if self._evaluates else results

    def _without_penalty(self, logs: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: value for name, value in logs.items() if name != self._log_name}

    def _checked_inputs(self, x: Tensor) -> Tensor:
        if isinstance(x, (dict, list, tuple)):
            raise ValueError(
                f"{type(self).__name__} trains on one input tensor. "
                f"Received: x of type {type(x).__name__}"
            )
        x = tf.convert_to_tensor(x)
        if not x.dtype.is_floating:
            return tf.cast(x, tf.float32)
        # A single NaN would spread to every weight, through the penalty, in one step.
        return tf.debugging.assert_all_finite(
            x,
            f"{type(self).__name__} needs finite inputs. "
            "Received: a batch with NaN or infinite values",
        )


_NOTHING_TO_TRAIN = (
    "The classifier has no trainable weights, so that training changes nothing. Expected a layer "
    "whose `trainable` is True, when `fit` is called."
)


def _may_be_empty(batch: Tensor) -> bool:
    """Whether a batch may turn out to have no samples, as it may on a replica of a strategy.

    That is what the last replicas get of a batch with fewer samples than there are replicas.
    """
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    return replicas > 1 and tf.is_tensor(batch) and not batch.shape[0]


def _never_empty(batch: Tensor) -> Tensor:
    """A batch, with one sample of zeros if it has none.

    Means over no samples are no numbers, the statistics of a BatchNormalization among them, and
    some of TensorFlow's convolutions and poolings fail on none, or give another shape.
    """
    if not _may_be_empty(batch):
        return batch
    missing = tf.cast(tf.equal(tf.shape(batch)[0], 0), tf.int32)
    amounts = tf.scatter_nd([[0, 1]], [missing], [batch.shape.rank, 2])
    return tf.ensure_shape(tf.pad(batch, amounts), (None, *batch.shape[1:]))


def _as_many(outputs: Tensor, batch: Tensor) -> Tensor:
    """Outputs for as many samples as a batch has, of those for `_never_empty(batch)`."""
    return outputs[: tf.shape(batch)[0]] if _may_be_empty(batch) else outputs


class _MeanOrNan(keras.metrics.Mean):
    """A mean that is not a number before the first value, where Keras's own is 0."""

    def result(self) -> Tensor:
        return ops.where(self.count > 0.0, super().result(), float("nan"))


def sparse_labels(y: Tensor) -> Tensor:
    """Class numbers, int32 of shape `(batch,)`, from class numbers or one-hot rows.

    Args:
        y: integers of shape `(batch,)` or `(batch, 1)`, or one-hot (or mixed) rows of shape
            `(batch, classes)`, of which the largest entry counts.

    Raises:
        ValueError: if there are no labels or several outputs' labels.
    """
    if y is None or isinstance(y, (dict, list, tuple)):
        raise ValueError(
            "Training needs one array of labels, class numbers or one-hot rows. "
            f"Received: y={None if y is None else type(y).__name__}"
        )
    if len(y.shape) > 1 and y.shape[-1] != 1:
        return ops.cast(ops.argmax(y, axis=-1), "int32")
    return ops.cast(ops.reshape(y, (-1,)), "int32")
