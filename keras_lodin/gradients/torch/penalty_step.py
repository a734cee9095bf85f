"""A training step with a penalty on input gradients, for Keras's PyTorch trainer."""

from __future__ import annotations

from typing import Any

import torch

from keras_lodin.utils import keras_internals
from keras_lodin.utils.tensor import Tensor


class PenaltyStep(keras_internals.BuiltOfPreparedBatches):
    """See `keras_lodin.gradients.tensorflow.penalty_step.PenaltyStep`."""

    def train_step(self, data: object) -> dict[str, Tensor]:
        """One step on a batch: forward, input gradients, loss, weight gradients, update."""
        model: Any = self
        due = model.penalty_is_due()
        if due is False:  # and never will be
            return super().train_step(model.prepared_batch(data))  # type: ignore[misc]
        x, y, sample_weight = model.checked_batch(data)
        model.zero_grad()
        due = bool(due)
        loss, y_pred, penalty = model.penalized_loss(x, y, sample_weight, due)
        keras_internals.update_loss_tracker(model, loss, len(x))
        model.track_penalty(penalty, due, len(x))
        weights = model.trainable_weights[:]
        if weights:
            model.optimizer.scale_loss(loss).backward()
            with torch.no_grad():
                model.optimizer.apply([weight.value.grad for weight in weights], weights)
        return model.compute_metrics(x, y, y_pred, sample_weight=sample_weight)

    def test_step(self, data: object) -> dict[str, Tensor]:
        """One validation step, without the penalty: one that nobody computed would read 0."""
        model: Any = self
        return model.without_penalty(super().test_step(model.prepared_batch(data)))  # type: ignore[misc]
