"""A training step with a penalty on input gradients, for Keras's JAX trainer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp
import keras

from keras_lodin.utils import keras_internals
from keras_lodin.utils.tensor import Tensor


class PenaltyStep(keras_internals.BuiltOfPreparedBatches):
    """See `keras_lodin.gradients.tensorflow.penalty_step.PenaltyStep`.

    Keras's own step calls what is replaced here, differentiates it and updates the weights, all in
    one compiled function that takes the memory of the old values for the new ones.
    """

    def compute_loss_and_updates(
        self,
        trainable_variables: list[Tensor],
        non_trainable_variables: list[Tensor],
        metrics_variables: list[Tensor],
        x: Tensor,
        y: Tensor,
        sample_weight: Tensor,
        training: bool = False,
        optimizer_variables: list[Tensor] | None = None,
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The loss and what else changes, a pure function of all variables' values."""
        model: Any = self
        groups: dict[str, tuple[list[keras.Variable], list[Tensor]]] = {
            "trainable": (model.trainable_variables, trainable_variables),
            "other": (model.non_trainable_variables, non_trainable_variables),
            "metrics": (model.metrics_variables, metrics_variables),
        }
        if training:
            groups["optimizer"] = (model.optimizer.variables, optimizer_variables or [])
        mapping = [pair for group in groups.values() for pair in zip(*group, strict=True)]
        with keras.StatelessScope(mapping, collect_losses=True) as scope:
            due = training and model.penalty_is_due()
        if due is False:
            return super().compute_loss_and_updates(  # type: ignore[misc]
                trainable_variables,
                non_trainable_variables,
                metrics_variables,
                x,
                y,
                sample_weight,
                training=training,
                optimizer_variables=optimizer_variables,
            )
        with scope:
            x, y, sample_weight = model.checked_batch((x, y, sample_weight))
            loss, y_pred, penalty = model.penalized_loss(x, y, sample_weight, due)
            model.track_penalty(penalty, due, x.shape[0])
            scaled_loss = model.optimizer.scale_loss(loss)
        after = {
            name: [scope.get_current_value(variable) for variable in variables]
            for name, (variables, _) in groups.items()
        }
        return scaled_loss, (loss, y_pred, after["other"], after["metrics"])

    def train_step(self, state: Any, data: object) -> Any:
        """One step on a batch: forward, input gradients, loss, weight gradients, update."""
        model: Any = self
        return super().train_step(state, model.prepared_batch(data))  # type: ignore[misc]

    def test_step(self, state: Any, data: object) -> Any:
        """One validation step, without the penalty: one that nobody computed would read 0."""
        model: Any = self
        logs, state = super().test_step(state, model.prepared_batch(data))  # type: ignore[misc]
        return model.without_penalty(logs), state

    def make_train_function(self, force: bool = False) -> None:
        """Keras's, which is given no batch with a NaN: compiled, it cannot raise."""
        model: Any = self
        if model.train_function is None or force:
            super().make_train_function(force)  # type: ignore[misc]
            step = model.train_function
            model.train_function = lambda state, batches: step(state, self._finite(batches))

    def _finite(self, batches: Iterator[object]) -> Iterator[object]:
        model: Any = self
        for batch in batches:
            x, _, _ = keras_internals.unpack_x_y_sample_weight(batch)
            model.checked_inputs(x)
            for part in keras.tree.flatten(x):
                if jnp.issubdtype(part.dtype, jnp.floating) and not jnp.isfinite(part).all():
                    raise model.not_finite()
            yield batch
