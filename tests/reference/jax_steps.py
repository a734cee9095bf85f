"""Three steps of `benchmarks/scale`, in an environment with JAX.

    python jax_steps.py START.npz END.npz NETWORK METHOD...

`START.npz` holds weights (`LAYER/WEIGHT`), batches `x0`, `y0`, `draws0`, `x1`, ..., and
learning rates `rates`. `END.npz` gets, of every method and step, the logits that the step saw and
what came out: `METHOD/0/logits`, `/loss`, `/accuracy`, `/added` and `/LAYER/WEIGHT`.
"""

import functools
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import jax
import numpy as np
from scale import networks, training
from scale.methods import Method


def main(start, end, network, *names):
    with np.load(start) as file:
        arrays = dict(file)
    built = networks.build(network, classes=arrays["logits/bias"].shape[0])
    found = {}
    for name in names:
        method = Method.of(name)
        numbers = training.Numbers.of(method)
        loss = training.loss_of(built, method.kind)
        step = jax.jit(functools.partial(stepped, loss, numbers))
        state = state_of(built, arrays)
        for number, rate in enumerate(arrays["rates"]):
            batch = [arrays[f"{part}{number}"] for part in ("x", "y", "draws")]
            found[f"{name}/{number}/logits"] = built.logits(
                state.parameters, state.statistics, batch[0], training=True
            )[0]
            state, logs = step(state, *batch, rate)
            for key, value in zip(("loss", "accuracy", "added"), logs, strict=True):
                found[f"{name}/{number}/{key}"] = value
            for group in (state.parameters, state.statistics):
                for layer, weights in group.items():
                    for weight, value in weights.items():
                        found[f"{name}/{number}/{layer}/{weight}"] = value
    np.savez(end, **found)


def stepped(loss, numbers, state, x, y, draws, rate):
    (_, (statistics, logs)), gradients = jax.value_and_grad(loss, has_aux=True)(
        state.parameters, state.statistics, x, y, draws, numbers
    )
    return training.updated(state, gradients, statistics, rate), logs


def state_of(network, arrays):
    """The weights of the file in the structure that the network makes; none may be left over."""
    fresh = jax.eval_shape(network.initialise, jax.random.key(0))
    used = set()

    def own(group):
        found = {}
        for layer, weights in group.items():
            found[layer] = {}
            for weight, shape in weights.items():
                value = arrays[f"{layer}/{weight}"]
                assert value.shape == shape.shape, (layer, weight)
                found[layer][weight] = value
                used.add(f"{layer}/{weight}")
        return found

    parameters, statistics = map(own, fresh)
    assert used == {name for name in arrays if "/" in name}
    velocities = jax.tree.map(np.zeros_like, parameters)
    return training.State(parameters, statistics, velocities, np.float32(0))


if __name__ == "__main__":
    main(*sys.argv[1:])
