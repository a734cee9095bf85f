"""Training with the Gradient Quotient as a regulariser."""

from __future__ import annotations

import math
from typing import Any, cast

import keras
import tensorflow as tf
from keras import ops

from keras_lodin import keras_internals
from keras_lodin.classifier_head import find_head
from keras_lodin.gradient_quotient import check_settings, norms_of_form
from keras_lodin.gradients import ForwardPass
from keras_lodin.quotient_forms import quotient


@keras.saving.register_keras_serializable(package="keras_lodin")
class GQModel(keras.Model):
    """Trains a classifier with `loss = compiled loss + gq_weight * GQ` (Jevnisek & Avidan 2022).

    GQ is the mean over the batch of

        ||d S_y/dx||_1 / sum_{j != y} ||d S_j/dx||_1

    with S the softmax output and y the label: how much the label's probability moves with the
    input, against how much the others do. It is computed inside `train_step` with nested gradient
    tapes, on the one forward pass that the loss is computed on.

    Everything else is Keras's: `compile`, `fit`, callbacks, sample weights, mixed precision,
    distribution, `.keras` files. The training log gains `gq`, the mean quotient before it is
    weighted. Validation reports the compiled loss and metrics without the GQ term.

    Args:
        classifier: a built `keras.Model` with one input and one output of shape
            `(batch, classes)`, logits or softmax probabilities. It is trained in place.
        gq_weight: weight of the GQ term. Positive weights push the quotient down, as the poster
            does; negative ones push it up. With 0 the quotient is not computed and a step costs
            what an ordinary one costs.
        form: "softmax" is the poster's, between 0 and 1 and stable for any logits; needs three
            classes. "logits" takes the gradients of the logits instead of the softmax. "pooled"
            is what the published code computes, with lambda = 1e-6: on the logits, the other
            classes summed before the norm, norms summed over the batch (of one replica).
        estimator: "exact", `classes - 1` backward passes in one vectorised step.
        from_logits: True when the classifier returns logits, False when it returns
            probabilities, None to find out from its last layer.
        name: name of the model.

    Attributes:
        classifier: the plain classifier, sharing its weights: what to save, deploy, or wrap in a
            detector after training.

    Raises:
        ValueError: for two classes with "softmax", "pooled" on a classifier that ends in a
            softmax, or a model that is not a classifier.

    Example:
    ```python
    model = keras_lodin.GQModel(classifier, gq_weight=0.1)
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(images, labels)
    detector = keras_lodin.ODINDetector(model.classifier)
    ```
    """

    def __init__(
        self,
        classifier: keras.Model,
        gq_weight: float = 0.1,
        form: str = "softmax",
        estimator: str = "exact",
        from_logits: bool | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        head = find_head(classifier, from_logits)
        check_settings(head, form, estimator)
        if not math.isfinite(gq_weight):
            raise ValueError(f"`gq_weight` must be finite. Received: gq_weight={gq_weight}")
        super().__init__(name=name, dtype=kwargs.pop("dtype", classifier.dtype_policy), **kwargs)
        self.classifier = classifier
        self.gq_weight = float(gq_weight)
        self.form = form
        self.estimator = estimator
        self.from_logits = head.from_logits
        self._head = head
        if gq_weight:
            self._gq_tracker = keras.metrics.Mean(name="gq")
        self.build(head.input_shape)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Records the input shape; the classifier's weights exist already."""
        self.built = True

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """What the classifier returns."""
        return self._head.output(self._head.logits(inputs, training=training))

    def train_step(self, data: Any) -> dict[str, Any]:
        """One step on a batch: forward, input gradients, loss, weight gradients, update."""
        if not self.gq_weight:
            return cast(dict[str, Any], super().train_step(data))
        x, y, sample_weight = keras_internals.unpack_x_y_sample_weight(data)
        x = self._checked_inputs(x)
        with tf.GradientTape() as tape:
            forward_pass = ForwardPass(lambda inputs: self._head.logits(inputs, training=True), x)
            y_pred = self._head.output(forward_pass.logits)
            gq = self._mean_quotient(forward_pass, sparse_labels(y), sample_weight)
            loss = keras_internals.compute_loss(self, x, y, y_pred, sample_weight)
            loss += self.gq_weight * keras_internals.scaled_for_distribution(self, gq)
            batch_size = tf.shape(x)[0]
            keras_internals.update_loss_tracker(self, loss, batch_size)
            # Inside the tape: mixed precision must differentiate the scaled loss.
            scaled_loss = self.optimizer.scale_loss(loss)
        gradients = tape.gradient(scaled_loss, self.trainable_weights)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_weights, strict=True))
        self._gq_tracker.update_state(gq, sample_weight=batch_size)
        return cast(dict[str, Any], self.compute_metrics(x, y, y_pred, sample_weight))

    def test_step(self, data: Any) -> dict[str, Any]:
        """One validation step, without GQ: a `val_gq` that nobody computed would read 0."""
        logs = super().test_step(data)
        return {name: value for name, value in logs.items() if name != "gq"}

    def _checked_inputs(self, x: Any) -> Any:
        if isinstance(x, (dict, list, tuple)):
            raise ValueError(
                f"GQModel trains on one input tensor. Received: x of type {type(x).__name__}"
            )
        x = tf.convert_to_tensor(x)
        if not x.dtype.is_floating:
            return tf.cast(x, tf.float32)
        # A single NaN would spread to every weight, through the quotient, in one step.
        return tf.debugging.assert_all_finite(
            x, "GQModel needs finite inputs. Received: a batch with NaN or infinite values"
        )

    def _mean_quotient(self, forward_pass: ForwardPass, labels: Any, sample_weight: Any) -> Any:
        """The batch's mean quotient, weighted as Keras weights the loss."""
        label_norm, other_norm = norms_of_form(forward_pass, labels, self.form)
        if sample_weight is None:
            weights = ops.ones_like(label_norm)
        else:
            weights = ops.cast(ops.reshape(sample_weight, (-1,)), "float32")
        if self.form == "pooled":
            return quotient(ops.sum(weights * label_norm), ops.sum(weights * other_norm))
        return ops.mean(weights * quotient(label_norm, other_norm))

    def get_config(self) -> dict[str, Any]:
        """What makes this model again, with its classifier inside."""
        return {
            **super().get_config(),
            "classifier": keras.saving.serialize_keras_object(self.classifier),
            "gq_weight": self.gq_weight,
            "form": self.form,
            "estimator": self.estimator,
            "from_logits": self.from_logits,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> GQModel:
        """Makes a model from `get_config`'s value."""
        classifier = keras.saving.deserialize_keras_object(
            config["classifier"], custom_objects=custom_objects
        )
        return cls(**{**config, "classifier": classifier})


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
            "GQModel needs one array of labels, class numbers or one-hot rows. "
            f"Received: y={None if y is None else type(y).__name__}"
        )
    if len(y.shape) > 1 and y.shape[-1] != 1:
        return ops.cast(ops.argmax(y, axis=-1), "int32")
    return ops.cast(ops.reshape(y, (-1,)), "int32")
