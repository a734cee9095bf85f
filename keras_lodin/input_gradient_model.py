"""Training with a penalty on the gradients of the INPUTS, inside Keras's own training step."""

from __future__ import annotations

from typing import Any, cast

import keras
import tensorflow as tf
from keras import ops

from keras_lodin import keras_internals
from keras_lodin.classifier_head import find_exits, find_head, has_exits
from keras_lodin.gradients import ForwardPass


class InputGradientModel(keras_internals.ReadyToTrace, keras.Model):
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
        find = find_exits if has_exits(classifier) else find_head
        head = find(classifier, from_logits)
        super().__init__(name=name, dtype=kwargs.pop("dtype", classifier.dtype_policy), **kwargs)
        self.classifier = classifier
        self.every = every
        self.from_logits = head.from_logits
        self._weight = float(weight)
        self._log_name = log_name
        self._head = head
        if head.exits:
            # Keras names the loss and the metrics of each exit after them.
            self.output_names = list(classifier.output_names)
        self._traced = tf.function(self._gradients)
        if weight:
            self._penalty_tracker = _MeanOrNan(name=log_name)
        self.build(head.input_shape)

    def penalty(self, forward_pass: ForwardPass, labels: Any, sample_weight: Any) -> Any:
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

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """What the classifier returns."""
        return self._head.output(self._head.logits(inputs, training=training))

    def train_step(self, data: Any) -> dict[str, Any]:
        """One step on a batch: forward, input gradients, loss, weight gradients, update."""
        data = self.prepared_batch(data)
        if not self._weight:
            return cast(dict[str, Any], super().train_step(data))
        x, y, sample_weight = keras_internals.unpack_x_y_sample_weight(data)
        x = self._checked_inputs(x)
        labels = sparse_labels(y[0] if self._head.exits else y)

        # Second derivatives are right in a graph alone, so that `run_eagerly` makes one for them.
        gradients_in_a_graph = self._traced if tf.executing_eagerly() else self._gradients

        def gradients_of(weight: float) -> tuple[list[Any], Any, Any, Any]:
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
        self.optimizer.apply_gradients(zip(gradients, self.trainable_weights, strict=True))
        self._penalty_tracker.update_state(
            penalty, sample_weight=share * tf.cast(batch_size, tf.float32)
        )
        return cast(dict[str, Any], self.compute_metrics(x, y, y_pred, sample_weight))

    def _gradients(
        self, x: Any, y: Any, labels: Any, sample_weight: Any, weight: float
    ) -> tuple[list[Any], Any, Any, Any]:
        """Gradients of the trainable weights, predictions, loss and mean penalty of a batch."""
        with tf.GradientTape() as tape:
            passes, y_pred = self._training_pass(x)
            loss = keras_internals.compute_loss(self, x, y, y_pred, sample_weight)
            penalty = tf.zeros(())
            if weight:
                penalties = [self.penalty(one, labels, sample_weight) for one in passes]
                penalty = sum(penalties) / len(penalties)
                added = weight * len(penalties) * penalty
                loss += tf.cast(keras_internals.scaled_for_distribution(self, added), loss.dtype)
            # Inside the tape: mixed precision must differentiate the scaled loss.
            scaled_loss = self.optimizer.scale_loss(loss)
        return tape.gradient(scaled_loss, self.trainable_weights), y_pred, loss, penalty

    def _training_pass(self, x: Any) -> tuple[list[ForwardPass], Any]:
        """One forward pass, as one `ForwardPass` for each exit, and the predictions."""

        def logits(inputs: Any) -> Any:
            return self._head.logits(inputs, training=True)

        if self._head.exits:
            passes = ForwardPass.of_exits(logits, x)
            return passes, [one.logits for one in passes]
        forward_pass = ForwardPass(logits, x)
        return [forward_pass], self._head.output(forward_pass.logits)

    def prepared_batch(self, data: Any) -> Any:
        """A batch whose labels are repeated for every exit, if there are several."""
        if not self._head.exits:
            return data
        x, y, sample_weight = keras_internals.unpack_x_y_sample_weight(data)
        if not isinstance(y, (list, tuple)):
            y = [y] * self._head.exits
        return x, list(y), sample_weight

    def _dense(self, results: tuple[list[Any], Any, Any, Any]) -> tuple[list[Any], Any, Any, Any]:
        """What `_gradients` gave, in the form that both branches of a condition can have."""
        gradients, y_pred, loss, penalty = results
        dense = [
            tf.zeros_like(variable) if gradient is None else tf.convert_to_tensor(gradient)
            for gradient, variable in zip(gradients, self.trainable_weights, strict=True)
        ]
        return dense, y_pred, loss, penalty

    def test_step(self, data: Any) -> dict[str, Any]:
        """One validation step, without the penalty: one that nobody computed would read 0."""
        logs = super().test_step(self.prepared_batch(data))
        return {name: value for name, value in logs.items() if name != self._log_name}

    def _checked_inputs(self, x: Any) -> Any:
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

    def get_config(self) -> dict[str, Any]:
        """What makes this model again, with its classifier inside."""
        return {
            **super().get_config(),
            "classifier": keras.saving.serialize_keras_object(self.classifier),
            "from_logits": self.from_logits,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        """Makes a model from `get_config`'s value."""
        classifier = keras.saving.deserialize_keras_object(
            config["classifier"], custom_objects=custom_objects
        )
        return cls(**{**config, "classifier": classifier})


class _MeanOrNan(keras.metrics.Mean):
    """A mean that is not a number before the first value, where Keras's own is 0."""

    def result(self) -> Any:
        return ops.where(self.count > 0.0, super().result(), float("nan"))


def sparse_labels(y: Any) -> Any:
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
