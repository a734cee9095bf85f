"""One pass of a network with exits, in which images leave on the way."""

from __future__ import annotations

from keras import ops

from keras_lodin.models.exits import ExitStages
from keras_lodin.utils.tensor import Tensor


class ExitPass:
    """One pass of a network with exits, in which each sample leaves at an exit of its own.

    Samples are sorted by their exits once; at each stage those that leave stand first, and a
    stage runs on those that have not left.

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
        self.inputs = inputs = ops.cast(inputs, "float32")
        self.exits = exits
        # As floats: runtimes sort those, and not every one sorts integers.
        order = ops.argsort(ops.cast(exits, "float32"))
        values = stages.begin(ops.take(inputs, order, axis=0))
        by_exit = []
        for number in range(len(stages)):
            values = stages.go(number, values)
            leaving = ops.sum(ops.cast(ops.equal(exits, number), "int32"))
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
        self.logits = ops.take(ops.concatenate(by_exit), back, axis=0)
