"""How `benchmarks/full_scale.py run` and `nights` go on, with images that are nothing."""

import io
import os
import sys
from pathlib import Path

import numpy as np
import pytest

if os.environ.get("KERAS_BACKEND") != "torch":
    pytest.skip("the loop is PyTorch's", allow_module_level=True)

import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from scale import cells, data, layers, networks, nights, plan, trainers, training
from scale.methods import Method
from scale.plan import Cell, Recipe
from scale.results import Results


def test_a_training_that_was_stopped_ends_as_one_that_was_not(tmp_path, rng, monkeypatch):
    monkeypatch.setattr(layers, "compiled_kernels", lambda device: None)
    images = rng.integers(0, 256, (8, 8, 8, 3), dtype=np.uint8)
    labels = rng.integers(10, size=8)
    cell, recipe = Cell("resnet20", "gq logits sampled 1", 0), Recipe(2, batch=4)

    def trained(folder):
        return nights.train(cell, recipe, images, labels, tmp_path / folder)

    state, curve, _ = trained("whole")
    epoch, calls = trainers.Trainer.train_epoch, []

    def stopped(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            # Half of the epoch is done and lost.
            raise KeyboardInterrupt
        return epoch(*arguments)

    monkeypatch.setattr(trainers.Trainer, "train_epoch", stopped)
    with pytest.raises(KeyboardInterrupt):
        trained("stopped")
    again, curve_again, _ = trained("stopped")
    assert len(calls) == 3
    assert curve_again == curve
    assert len({row["added"] for row in curve}) == 2
    for part, own in vars(again).items():
        for name, value in own.items():
            np.testing.assert_array_equal(value, getattr(state, part)[name], err_msg=name)
    with pytest.raises(SystemExit, match="begun otherwise"):
        nights.train(cell, Recipe(3, batch=4), images, labels, tmp_path / "stopped")


@pytest.mark.slow
# PyTorch's compiler warns of itself.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("network", ["resnet20", "wide_resnet_16_1", "resnet18_width8"])
def test_compiled_steps_are_those_that_are_not(network, rng):
    """In the shapes and the dtype of the nights: a compiler's mistake has no other witness."""
    kernels = layers.compiled_kernels("cpu")
    if kernels is None:
        pytest.skip("needs a C++ compiler")
    x = torch.tensor(rng.uniform(size=(32, 32, 32, 3)).astype("float32")).permute(0, 3, 1, 2)
    labels = torch.tensor(rng.integers(10, size=32))
    method = Method.of("gq logits sampled 1")
    ends = []
    for own in (layers.PLAIN, kernels):
        how = layers.Arithmetic(torch.bfloat16, torch.float32, own)
        state = training.start(networks.new_model(network, 0))
        logs = training.train_step(
            *(state, training.Program(network, method.kind, how), training.Numbers.of(method)),
            *(x, labels, (labels + 1) % 10, torch.tensor(0.05)),
        )
        ends.append((logs, state.velocities))
    (logs, velocities), (compiled, others) = ends
    np.testing.assert_allclose(compiled, logs, rtol=1e-2)
    # Rounding to bfloat16 falls otherwise and is multiplied on its way down; a wrong program gives
    # zeros or NaN.
    for name, value in velocities.items():
        assert float((value - others[name]).norm()) <= 0.5 * float(value.norm()) + 1e-6, name


def write_packed(path, rng, count):
    arrays = {}
    for name in data.SETS:
        encoded = []
        for pixels in rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8):
            buffer = io.BytesIO()
            Image.fromarray(pixels).save(buffer, "JPEG")
            encoded.append(buffer.getvalue())
        arrays[f"{name}/bytes"] = np.frombuffer(b"".join(encoded), "uint8")
        arrays[f"{name}/ends"] = np.cumsum([len(one) for one in encoded])
        arrays[f"{name}/labels"] = rng.integers(10, size=count).astype("int32")
    np.savez(path, **arrays)


def test_a_queue_runs_side_by_side_and_every_method_as_it_does_alone(tmp_path, rng):
    write_packed(tmp_path / "data.npz", rng, 16)
    waiting = plan.cells(("resnet20", "wide_resnet_10_1"), plan.FIRST, (0,))

    def run(name, cells_of, side_by_side):
        lines = []
        finished = cells.run(
            *(tmp_path / "data.npz", tmp_path / name, 600.0, cells_of),
            {network: Recipe(2, batch=8) for network in ("resnet20", "wide_resnet_10_1")},
            **{"side_by_side": side_by_side, "say": lines.append},
        )
        assert finished == len(cells_of), lines
        return Results(tmp_path / name)

    together = run("together", waiting, 3)
    assert together.done() == set(waiting)
    alone = run("alone", waiting[1:2], 1)

    def curve_of(found):
        return [row for row in found.curves if row["method"] == waiting[1].method]

    assert curve_of(alone) == curve_of(together)[:2]
    assert len(curve_of(together)) == 4
    lines = []
    arguments = (tmp_path / "data.npz", tmp_path / "together", 600.0, waiting, {})
    assert cells.run(*arguments, say=lines.append) == 0
    assert lines == ["nothing is missing"]


def test_a_network_whose_control_has_not_learned_is_left(tmp_path, rng):
    write_packed(tmp_path / "data.npz", rng, 16)
    lines = []
    cells.run(
        *(tmp_path / "data.npz", tmp_path / "output", 600.0),
        plan.cells(("wide_resnet_10_1",), plan.FIRST, (0, 1, 2)),
        {"wide_resnet_10_1": Recipe(1, batch=8, least_accuracy=2.0)},
        side_by_side=1,
        say=lines.append,
    )
    assert any("its control must reach an accuracy of 2.0" in line for line in lines)
    assert len(Results(tmp_path / "output").done()) < 12


def test_a_cell_that_would_end_after_the_budget_is_given_up(tmp_path, rng):
    write_packed(tmp_path / "data.npz", rng, 16)
    lines = []
    finished = cells.run(
        *(tmp_path / "data.npz", tmp_path / "output", 5.0, [Cell("wide_resnet_10_1", "off", 0)]),
        {"wide_resnet_10_1": Recipe(10**6, batch=8)},
        say=lines.append,
    )
    assert finished == 0
    assert any("given up" in line for line in lines) or "is ready" not in "".join(lines)


def test_what_ends_a_training_reaches_the_caller(tmp_path, rng, monkeypatch):
    write_packed(tmp_path / "data.npz", rng, 16)

    def broken(*arguments):
        raise RuntimeError("the device is gone")

    monkeypatch.setattr(trainers.Trainer, "train_epoch", broken)
    with pytest.raises(RuntimeError, match="the device is gone"):
        cells.run(
            *(tmp_path / "data.npz", tmp_path / "output", 600.0),
            plan.cells(("wide_resnet_10_1",), plan.FIRST, (0,)),
            {"wide_resnet_10_1": Recipe(1, batch=8)},
            say=print,
        )


@pytest.mark.slow
def test_cells_run_side_by_side_and_go_on_where_a_budget_ended(tmp_path, rng):
    path = tmp_path / "data.npz"
    write_packed(path, rng, 8)
    waiting = [Cell("resnet20", method, 0) for method in ("off", "gq logits sampled 1")]

    def run(budget):
        return nights.run(
            *(path, tmp_path / "work", tmp_path / "output", budget, waiting),
            *(Recipe(1, batch=4), None, 2),
        )

    assert run(0.0) == 0
    assert run(600.0) == 2
    assert run(600.0) == 0
    found = Results(tmp_path / "output")
    assert found.done() == set(waiting)
    assert not list((tmp_path / "work").iterdir())
    assert {row["dtype"] for row in found.figures} == {"bfloat16"}
    assert all(float(row["seconds"]) > 0.0 for row in found.figures)
