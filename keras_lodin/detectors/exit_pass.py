"""One pass of a network with exits, in which images leave on the way."""

from __future__ import annotations

from keras import ops

from keras_lodin.gradients import backend
from keras_lodin.models.exits import ExitStages
from keras_lodin.utils.tensor import Tensor


class ExitPass:
    """One pass of a network with exits, in which each sample leaves at an exit of its own.

    Samples are sorted by their exits once; at each stage those that leave stand first, and a
    stage runs on those that have not left. Where a compiled function knows all sizes beforehand, as
    on JAX, every sample runs through all stages instead.

    Args:
        stages: the network.
        inputs: tensor of shape `(batch, ...)`.
        exits: int32 tensor of shape `(batch,)`, the number of each sample's exit.

    Attributes:
        inputs: as given.
        exits: as given.
        logits: float32 tensor of shape `(batch, classes)`, those of each sample's exit.
    """

    def __init__(self, stages: ExitStages, inputs: Tensor, exits: Tensor) -> None:
        self.inputs = ops.cast(inputs, "float32")
        self.exits = exits
        run = self._leaving if backend.SIZES_FOLLOW_VALUES else self._staying
        self.logits = run(stages)

    def _leaving(self, stages: ExitStages) -> Tensor:
        # As floats: runtimes sort those, and not every one sorts integers.
        order = ops.argsort(ops.cast(self.exits, "float32"))
        values = stages.begin(ops.take(self.inputs, order, axis=0))
        by_exit = []
        for number in range(len(stages)):
            values = stages.go(number, values)
            leaving = ops.sum(ops.cast(ops.equal(self.exits, number), "int32"))
            # Never on no sample at all: convolutions of TensorFlow and others fail on that.
            here = {key: value[: ops.maximum(leaving, 1)] for key, value in values.items()}
            logits = ops.cast(stages.leave(number, here), "float32")
            by_exit.append(logits[:leaving])
            kept = stages.kept(number, values)
            values = {
                key: value[ops.minimum(leaving, ops.shape(value)[0] - 1) :]
                for key, value in kept.items()
            }
        back = ops.argsort(ops.cast(order, "float32"))
        return ops.take(ops.concatenate(by_exit), back, axis=0)

    def _staying(self, stages: ExitStages) -> Tensor:
        """The same logits from all exits of every sample, where sizes must be known beforehand."""
        values, logits = stages.begin(self.inputs), 0.0
        for number in range(len(stages)):
            values = stages.go(number, values)
            here = ops.cast(stages.leave(number, values), "float32")
            logits = ops.where(ops.equal(self.exits, number)[:, None], here, logits)
            values = stages.kept(number, values)
        return logits
