"""Training with a penalty on the gradients of the INPUTS, inside Keras's own training step."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_lodin.gradients import ForwardPass, PenaltyStep, backend
from keras_lodin.models.classifier_wrapper import ClassifierWrapper
from keras_lodin.models.differentiability import check_differentiable
from keras_lodin.models.head import find_head_or_exits
from keras_lodin.utils import keras_internals
from keras_lodin.utils.tensor import Tensor


class InputGradientModel(PenaltyStep, ClassifierWrapper):
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

    def pass_for_penalty(
        self, logits_function: Callable[[Tensor], Tensor], inputs: Tensor
    ) -> ForwardPass:
        """The pass that the loss and `penalty` share, of a classifier with one output."""
        return ForwardPass(logits_function, inputs)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Records the input shape; the classifier's weights exist already."""
        self.built = True

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        """What the classifier returns."""
        outputs = self._head.output(
            self._head.logits(backend.never_empty(inputs), training=training)
        )
        return keras.tree.map_structure(lambda one: backend.as_many(one, inputs), outputs)

    def checked_batch(self, data: object) -> tuple[Tensor, Tensor, Tensor]:
        """Inputs, labels and sample weights of a batch, as `penalized_loss` takes them."""
        x, y, sample_weight = keras_internals.unpack_x_y_sample_weight(self.prepared_batch(data))
        x = self.checked_inputs(x)
        sparse_labels(y[0] if self._head.exits else y)
        if not self.trainable_weights:  # as Keras does
            warnings.warn(_NOTHING_TO_TRAIN, stacklevel=2)
        return x, y, sample_weight

    def penalty_is_due(self) -> Tensor | bool:
        """Whether this step computes the penalty: a bool, or a tensor of one."""
        if not self._weight:
            return False
        return True if self.every == 1 else self.optimizer.iterations % self.every == 0

    def penalized_loss(
        self, x: Tensor, y: Tensor, sample_weight: Tensor, due: Tensor | bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The loss that is trained, the predictions, and the mean penalty before it is weighted.

        Args:
            x, y, sample_weight: what `checked_batch` gave.
            due: whether the penalty is computed; a tensor where a traced function can decide.
        """
        if self._weight:
            passes, y_pred = self._training_pass(x)
        else:  # of a classifier that may have no gradient
            passes, y_pred = [], self(x, training=True)
        loss = keras_internals.compute_loss(self, x, y, y_pred, sample_weight)
        if due is False:
            return loss, y_pred, ops.zeros(())
        labels = backend.never_empty(sparse_labels(y[0] if self._head.exits else y))
        # Several exits may each have weights of their own.
        several = isinstance(sample_weight, (list, tuple))
        weights = sample_weight if several else [sample_weight] * len(passes)

        def mean_penalty() -> Tensor:
            penalties = [
                self.penalty(one, labels, backend.never_empty(own))
                for one, own in zip(passes, weights, strict=True)
            ]
            penalty = sum(penalties) / len(penalties)
            if not x.shape[0]:  # no number is the mean over no samples
                penalty = ops.where(ops.shape(x)[0] > 0, penalty, 0.0)
            return penalty

        penalty = (
            mean_penalty() if due is True else ops.cond(due, mean_penalty, lambda: ops.zeros(()))
        )
        added = keras_internals.scaled_for_distribution(
            self, self._weight * self.every * len(passes) * penalty
        )
        return loss + ops.cast(added, loss.dtype), y_pred, penalty

    def track_penalty(self, penalty: Tensor, due: Tensor | bool, batch_size: Tensor) -> None:
        """Records a step's penalty for the training log, if it was computed."""
        share = ops.cast(due, "float32") * ops.cast(batch_size, "float32")
        self._penalty_tracker.update_state(penalty, sample_weight=share)

    def _training_pass(self, x: Tensor) -> tuple[list[ForwardPass], Tensor]:
        """One forward pass, as one `ForwardPass` for each exit, and the predictions."""

        def logits(inputs: Tensor) -> Tensor:
            return self._head.logits(inputs, training=True)

        inputs = backend.never_empty(x)
        if self._head.exits:
            passes = ForwardPass.of_exits(logits, inputs)
            return passes, [backend.as_many(one.logits, x) for one in passes]
        forward_pass = self.pass_for_penalty(logits, inputs)
        return [forward_pass], backend.as_many(self._head.output(forward_pass.logits), x)

    def prepared_batch(self, data: object) -> object:
        """A batch whose labels are repeated for every exit, if there are several."""
        if not self._head.exits:
            return data
        x, y, sample_weight = keras_internals.unpack_x_y_sample_weight(data)
        if not isinstance(y, (list, tuple)):
            y = [y] * self._head.exits
        return x, list(y), sample_weight

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
        return self.without_penalty(results) if self._evaluates else results

    def without_penalty(self, logs: dict[str, Tensor]) -> dict[str, Tensor]:
        """A log but for the penalty."""
        return {name: value for name, value in logs.items() if name != self._log_name}

    def not_finite(self) -> ValueError:
        """The error for a batch with a NaN."""
        return ValueError(
            f"{type(self).__name__} needs finite inputs. "
            "Received: a batch with NaN or infinite values"
        )

    def checked_inputs(self, x: Tensor) -> Tensor:
        """One tensor of floats, of which all are numbers."""
        if isinstance(x, (dict, list, tuple)):
            raise ValueError(
                f"{type(self).__name__} trains on one input tensor. "
                f"Received: x of type {type(x).__name__}"
            )
        x = ops.convert_to_tensor(x)
        if not keras.backend.is_float_dtype(x.dtype):
            return ops.cast(x, "float32")
        # A single NaN would spread to every weight, through the penalty, in one step.
        return backend.checked_finite(x, str(self.not_finite()))


_NOTHING_TO_TRAIN = (
    "The classifier has no trainable weights, so that training changes nothing. Expected a layer "
    "whose `trainable` is True, when `fit` is called."
)


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
