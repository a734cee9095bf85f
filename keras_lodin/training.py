"""Training with the Gradient Quotient as a regulariser."""

from __future__ import annotations

import dataclasses
import math
import random
from typing import Any, cast

import keras
import tensorflow as tf
from keras import ops

from keras_lodin import keras_internals
from keras_lodin.classifier_head import find_exits, find_head, has_exits
from keras_lodin.gradients import ForwardPass
from keras_lodin.quotient_forms import quotient
from keras_lodin.quotient_settings import QuotientSettings, check_count
from keras_lodin.step_seeds import StepSeeds


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
    weighted. Validation reports the compiled loss and metrics without the GQ term. To train with
    GQ alone, compile with `loss_weights=0.0`.

    A classifier with several exits (`keras_lodin.models.MSDNet`) is trained at all of them: the
    loss is the sum over the exits of the compiled loss and of `gq_weight * GQ`. Labels are given
    once. Compile one loss and one list of metrics per exit, and weigh the losses with Keras's
    `loss_weights`; `gq` is the mean over the exits.

    Args:
        classifier: a built `keras.Model` with one input and one output of shape
            `(batch, classes)`, logits or softmax probabilities; or a list of such outputs, the
            logits of several exits. It is trained in place.
        gq_weight: weight of the GQ term. Positive weights push the quotient down, as the poster
            does; negative ones push it up. With 0 the quotient is not computed and a step costs
            what an ordinary one costs.
        form: "softmax" is the poster's, between 0 and 1 and stable for any logits; needs three
            classes. "logits" takes the gradients of the logits instead of the softmax. "pooled"
            is what the published code computes, with lambda = 1e-6: on the logits, the other
            classes summed before the norm, norms summed over the batch (of one replica).
        estimator: how the norms are computed. "exact" takes every class, and a step costs about
            as many plain steps as there are classes N. "sampled" takes the label exactly and
            `samples` of the others, drawn by their probability: about `samples + 3` plain steps
            for any N. "projected" takes the derivatives of all classes along `samples` random
            directions: about `samples + 1` plain steps for any N.
        samples: K, the number of classes that "sampled" draws, or directions that "projected"
            does. More of them mean less noise and less bias.
        every: GQ is computed on every k-th step, with k times the weight: the same in
            expectation, at a k-th of the extra cost. An epoch without such a step logs a `gq`
            of NaN.
        norm: "l1" is the poster's; "l2" may replace it. None for "l1", and for "l2" with
            "projected", which estimates that one better.
        chunk_size: None, or how many classes "exact" holds in memory at a time. It bounds the
            memory, and costs a third more time.
        seed: of what the estimators draw, an integer; None for one chosen at random. What is
            drawn depends on it and on `optimizer.iterations` alone, so that a training that is
            resumed draws what it would have drawn.
        from_logits: True when the classifier returns logits, False when it returns
            probabilities, None to find out from its last layer.
        name: name of the model.

    Attributes:
        classifier: the plain classifier, sharing its weights: what to save, deploy, or wrap in a
            detector after training.

    Raises:
        ValueError: for settings that do not exist or do not go together, two classes with
            "softmax", "pooled" on a classifier that ends in a softmax, or a model that is not a
            classifier.

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
        samples: int = 1,
        every: int = 1,
        norm: str | None = None,
        chunk_size: int | None = None,
        seed: int | None = None,
        from_logits: bool | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        find = find_exits if has_exits(classifier) else find_head
        head = find(classifier, from_logits)
        settings = QuotientSettings(form, estimator, samples, norm, chunk_size)
        settings.check_classifier(head)
        check_count("every", every)
        if not math.isfinite(gq_weight):
            raise ValueError(f"`gq_weight` must be finite. Received: gq_weight={gq_weight}")
        if seed is not None and not isinstance(seed, int):
            raise ValueError(f"`seed` must be an integer or None. Received: seed={seed!r}")
        super().__init__(name=name, dtype=kwargs.pop("dtype", classifier.dtype_policy), **kwargs)
        self.classifier = classifier
        self.gq_weight = float(gq_weight)
        self.every = every
        # Chosen now, so that a saved model draws on as this one would.
        self.seed = random.randrange(2**31) if seed is None else seed
        self.quotient_settings = settings
        self.from_logits = head.from_logits
        self._head = head
        if head.exits:
            # Keras names the loss and the metrics of each exit after them.
            self.output_names = list(classifier.output_names)
        if gq_weight:
            self._gq_tracker = _MeanOrNan(name="gq")
        self.build(head.input_shape)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Records the input shape; the classifier's weights exist already."""
        self.built = True

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """What the classifier returns."""
        return self._head.output(self._head.logits(inputs, training=training))

    def train_step(self, data: Any) -> dict[str, Any]:
        """One step on a batch: forward, input gradients, loss, weight gradients, update."""
        data = self._labels_for_exits(data)
        if not self.gq_weight:
            return cast(dict[str, Any], super().train_step(data))
        x, y, sample_weight = keras_internals.unpack_x_y_sample_weight(data)
        x = self._checked_inputs(x)
        labels = sparse_labels(y[0] if self._head.exits else y)

        def gradients_of(weight: float) -> tuple[list[Any], Any, Any, Any]:
            return self._gradients(x, y, labels, sample_weight, weight)

        if self.every == 1:
            share = tf.ones(())
            gradients, y_pred, loss, gq = gradients_of(self.gq_weight)
        else:
            due = self.optimizer.iterations % self.every == 0
            share = tf.cast(due, tf.float32)
            gradients, y_pred, loss, gq = tf.cond(
                due,
                lambda: self._dense(gradients_of(self.gq_weight * self.every)),
                lambda: self._dense(gradients_of(0.0)),
            )
        batch_size = tf.shape(x)[0]
        keras_internals.update_loss_tracker(self, loss, batch_size)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_weights, strict=True))
        self._gq_tracker.update_state(gq, sample_weight=share * tf.cast(batch_size, tf.float32))
        return cast(dict[str, Any], self.compute_metrics(x, y, y_pred, sample_weight))

    def _gradients(
        self, x: Any, y: Any, labels: Any, sample_weight: Any, weight: float
    ) -> tuple[list[Any], Any, Any, Any]:
        """Gradients of the trainable weights, predictions, loss and mean quotient of a batch."""
        with tf.GradientTape() as tape:
            passes, y_pred = self._training_pass(x)
            loss = keras_internals.compute_loss(self, x, y, y_pred, sample_weight)
            gq = tf.zeros(())
            if weight:
                quotients = [self._mean_quotient(one, labels, sample_weight) for one in passes]
                gq = sum(quotients) / len(quotients)
                added = weight * len(quotients) * gq
                loss += keras_internals.scaled_for_distribution(self, added)
            # Inside the tape: mixed precision must differentiate the scaled loss.
            scaled_loss = self.optimizer.scale_loss(loss)
        return tape.gradient(scaled_loss, self.trainable_weights), y_pred, loss, gq

    def _training_pass(self, x: Any) -> tuple[list[ForwardPass], Any]:
        """One forward pass, as one `ForwardPass` for each exit, and the predictions."""

        def logits(inputs: Any) -> Any:
            return self._head.logits(inputs, training=True)

        if self._head.exits:
            passes = ForwardPass.of_exits(logits, x)
            return passes, [one.logits for one in passes]
        forward_pass = ForwardPass(logits, x)
        return [forward_pass], self._head.output(forward_pass.logits)

    def _labels_for_exits(self, data: Any) -> Any:
        """A batch whose labels are repeated for every exit, if there are several."""
        if not self._head.exits:
            return data
        x, y, sample_weight = keras_internals.unpack_x_y_sample_weight(data)
        if not isinstance(y, (list, tuple)):
            y = [y] * self._head.exits
        return x, list(y), sample_weight

    def _dense(self, results: tuple[list[Any], Any, Any, Any]) -> tuple[list[Any], Any, Any, Any]:
        """What `_gradients` gave, in the form that both branches of a condition can have."""
        gradients, y_pred, loss, gq = results
        dense = [
            tf.zeros_like(variable) if gradient is None else tf.convert_to_tensor(gradient)
            for gradient, variable in zip(gradients, self.trainable_weights, strict=True)
        ]
        return dense, y_pred, loss, gq

    def test_step(self, data: Any) -> dict[str, Any]:
        """One validation step, without GQ: a `val_gq` that nobody computed would read 0."""
        logs = super().test_step(self._labels_for_exits(data))
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
        label_norm, other_norm = self.quotient_settings.norms(
            forward_pass, labels, StepSeeds(self.seed, self.optimizer.iterations)
        )
        if sample_weight is None:
            weights = ops.ones_like(label_norm)
        else:
            weights = ops.cast(ops.reshape(sample_weight, (-1,)), "float32")
        if self.quotient_settings.form == "pooled":
            return quotient(ops.sum(weights * label_norm), ops.sum(weights * other_norm))
        return ops.mean(weights * quotient(label_norm, other_norm))

    def get_config(self) -> dict[str, Any]:
        """What makes this model again, with its classifier inside."""
        return {
            **super().get_config(),
            "classifier": keras.saving.serialize_keras_object(self.classifier),
            "gq_weight": self.gq_weight,
            **dataclasses.asdict(self.quotient_settings),
            "every": self.every,
            "seed": self.seed,
            "from_logits": self.from_logits,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> GQModel:
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
            "GQModel needs one array of labels, class numbers or one-hot rows. "
            f"Received: y={None if y is None else type(y).__name__}"
        )
    if len(y.shape) > 1 and y.shape[-1] != 1:
        return ops.cast(ops.argmax(y, axis=-1), "int32")
    return ops.cast(ops.reshape(y, (-1,)), "int32")
