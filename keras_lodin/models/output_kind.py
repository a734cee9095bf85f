"""What a classifier's outputs are, judged by what it returns: logits, probabilities or scores."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from keras import ops

from keras_lodin.gradients import is_unbounded
from keras_lodin.utils.tensor import Tensor

LOGITS = "logits"
PROBABILITIES = "probabilities"
# Each class by itself, between 0 and 1: what a sigmoid gives.
SCORES = "scores"


def made_inputs(shape: tuple[int | None, ...], dtype: str) -> Tensor:
    """A few made inputs: of the range of pixels as decoded, of rescaled ones, and standardised.

    Args:
        shape: of the inputs, the batch first; sizes that are None become 32.
        dtype: of the inputs. Integers are 0 and 1, which are in every vocabulary, or pixels for
            "uint8".

    Returns:
        a tensor of four samples.
    """
    sizes = tuple(32 if size is None else size for size in shape[1:])
    rng = np.random.default_rng(0)
    if dtype == "uint8":
        values = rng.integers(0, 256, size=(4, *sizes))
    elif "int" in dtype or dtype == "bool":
        values = rng.integers(0, 2, size=(4, *sizes))
    else:
        values = np.stack(
            [
                rng.uniform(size=sizes),
                rng.uniform(0.0, 255.0, size=sizes),
                rng.normal(size=sizes),
                rng.normal(scale=100.0, size=sizes),
            ]
        )
    return ops.convert_to_tensor(values, dtype=dtype)


def kind_of_output(classifier: Callable[[Tensor], Tensor], inputs: Tensor) -> str:
    """Runs a classifier on inputs, and tells what it returns.

    Args:
        classifier: maps inputs to outputs of shape `(batch, classes)`.
        inputs: tensor of shape `(batch, ...)`.

    Returns:
        `PROBABILITIES` where the rows lie between 0 and 1 and add up to 1; `SCORES` where all of
        them lie between 0 and 1, and the last operation is one that keeps them there; `LOGITS`
        otherwise.
    """
    outputs = ops.convert_to_numpy(ops.cast(classifier(inputs), "float32"))
    outputs = outputs[np.isfinite(outputs).all(axis=-1)]
    # A network whose weights are all alike, zero for example, says nothing of its end.
    if not outputs.size or outputs.min() < -1e-3 or outputs.max() > 1.0 + 1e-3:
        return LOGITS
    if np.allclose(outputs.sum(axis=-1), 1.0, atol=1e-2):
        return PROBABILITIES
    return LOGITS if np.ptp(outputs) == 0.0 or is_unbounded(classifier, inputs) else SCORES
