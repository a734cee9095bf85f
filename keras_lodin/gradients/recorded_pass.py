"""What the passes of all backends have in common: of one output, of several exits, of names."""

from __future__ import annotations

import abc
import copy
from collections.abc import Callable, Sequence

from keras import ops
from typing_extensions import Self

from keras_lodin.gradients.no_gradient import no_gradient
from keras_lodin.utils.tensor import Tensor


class RecordedPass(abc.ABC):
    """One pass of a classifier over a batch, from which input gradients can still be taken.

    Detectors that watch the same classifier share one: the pass is paid once, and what a
    detector adds (ODIN: one backward and one more forward pass) is paid by that detector alone.

    The gradient for sample `b` is that of the SUM of the batch's terms, never of their mean, so
    that it does not depend on the batch size. In training mode BatchNormalization couples the
    samples of a batch; the gradient then includes a sample's influence on the others.

    Args:
        logits_function: maps inputs to logits of shape `(batch, classes)`.
        inputs: tensor of shape `(batch, ...)`. Integers are cast to float32, because an integer
            has no gradient.

    Attributes:
        inputs: float tensor of shape `(batch, ...)`.
        logits: float32 tensor of shape `(batch, classes)`.
        features: None, or the same pass with the features, `(batch, size)`, in the place of its
            logits, which are linear in them.
        kernel: None, or float32 tensor of shape `(size, classes)`: the logits are
            `features @ kernel` and a constant.
    """

    inputs: Tensor
    logits: Tensor
    features: Self | None = None
    kernel: Tensor = None
    _function: Callable[[Tensor], Sequence[Tensor]]
    _outputs: list[Tensor]
    _number = 0
    _is_of_names = False

    def __init__(self, logits_function: Callable[[Tensor], Tensor], inputs: Tensor) -> None:
        self._record(inputs, lambda x: [logits_function(x)])
        self._keep(0)

    @classmethod
    def of_exits(
        cls, exits_function: Callable[[Tensor], Sequence[Tensor]], inputs: Tensor
    ) -> list[Self]:
        """One pass of a classifier with several exits, as a pass for each exit.

        Args:
            exits_function: maps inputs to a list of logits, each of shape `(batch, classes)`.
            inputs: as of the constructor.
        """
        first = cls.__new__(cls)
        first._record(inputs, exits_function)
        return first._for_each_output()

    @classmethod
    def with_features(
        cls, function: Callable[[Tensor], Sequence[Tensor]], inputs: Tensor, kernel: Tensor
    ) -> Self:
        """One pass of a classifier with a linear end, which knows what enters that end as well.

        Args:
            function: maps inputs to logits of shape `(batch, classes)` and to features of shape
                `(batch, size)`.
            inputs: as of the constructor.
            kernel: the attribute.
        """
        of_logits, of_features = cls.of_exits(function, inputs)
        of_logits.features, of_logits.kernel = of_features, kernel
        return of_logits

    @classmethod
    def of_names(
        cls, exits_function: Callable[[Tensor], Sequence[Tensor]], inputs: Tensor
    ) -> list[Self]:
        """As `of_exits`, over inputs that are names, tokens for example, which have no gradient.

        Args:
            exits_function: as of `of_exits`.
            inputs: tensor of integers, of shape `(batch, ...)`, which are not cast to floats: not
                every one of them is a float32.
        """
        first = cls.__new__(cls)
        first._is_of_names = True
        first.inputs = ops.convert_to_tensor(inputs)
        first._function = exits_function
        first._outputs = [ops.cast(value, "float32") for value in exits_function(first.inputs)]
        return first._for_each_output()

    @abc.abstractmethod
    def _record(self, inputs: Tensor, function: Callable[[Tensor], Sequence[Tensor]]) -> None:
        """Runs the function; sets `inputs`, `_function`, `_outputs` and what derivatives need."""

    def _for_each_output(self) -> list[Self]:
        passes = [self, *(copy.copy(self) for _ in self._outputs[1:])]
        for number, one in enumerate(passes):
            one._keep(number)
        return passes

    def _keep(self, number: int) -> None:
        """Makes one output of the recorded function the logits of this pass."""
        self._number = number
        self.logits = self._outputs[number]

    def logits_at(self, inputs: Tensor) -> Tensor:
        """Logits of other inputs, by another forward pass. Float32, `(batch, classes)`."""
        return ops.cast(self._function(inputs)[self._number], "float32")

    def _refuse_names(self) -> None:
        if self._is_of_names:
            raise no_gradient(self.inputs)
