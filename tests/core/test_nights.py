"""How `benchmarks/full_scale.py run` and `nights` go on, with images that are nothing."""

import io
import os
import re
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

if os.environ.get("KERAS_BACKEND") != "torch":
    pytest.skip("the loop is PyTorch's", allow_module_level=True)

import torch
from PIL import Image

import keras_lodin  # noqa: F401  # all of it, before a part of it is asked for

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from scale import cells, data, layers, networks, nights, plan, settings, timing, trainers, training
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
    step, calls = training.train_step, []

    def stopped(*arguments):
        calls.append(arguments)
        if len(calls) == 4:
            # Half of the second epoch is done and lost.
            raise KeyboardInterrupt
        return step(*arguments)

    monkeypatch.setattr(training, "train_step", stopped)
    with pytest.raises(KeyboardInterrupt):
        trained("stopped")
    again, curve_again, _ = trained("stopped")
    assert len(calls) == 4 + 2
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
    alone = run("alone", waiting[1:4], 1)
    assert len(alone.curves) == 3 * 2

    def by_cell(rows):
        return {tuple(row[key] for key in ("network", "method", "epoch")): row for row in rows}

    everything = by_cell(together.curves)
    assert len(everything) == len(waiting) * 2
    for key, row in by_cell(alone.curves).items():
        assert row == everything[key]
    losses = {row["loss"] for row in alone.curves if row["epoch"] == "2"}
    assert len(losses) == 3
    lines = []
    arguments = (tmp_path / "data.npz", tmp_path / "together", 600.0, waiting, {})
    assert cells.run(*arguments, say=lines.append) == 0
    assert lines == ["nothing is missing"]


def test_a_network_whose_controls_have_not_learned_is_left_for_good(tmp_path, rng):
    write_packed(tmp_path / "data.npz", rng, 16)
    waiting = plan.cells(("wide_resnet_10_1",), (*plan.FIRST, *plan.SECOND), (0, 1, 2))

    def run(least_accuracy):
        lines = []
        cells.run(
            *(tmp_path / "data.npz", tmp_path / "output", 600.0, waiting[: 4 * 3 + 2]),
            {"wide_resnet_10_1": Recipe(1, batch=8, least_accuracy=least_accuracy)},
            side_by_side=2,
            say=lines.append,
        )
        assert any("is left: its controls must reach 2.0" in line for line in lines)
        return Results(tmp_path / "output").done()

    controls = {cell for cell in waiting if cell.method == plan.OFF and cell.seed < 2}
    assert run(2.0) == controls
    # Nor does another call begin its methods.
    assert run(2.0) == controls


def test_a_cell_that_would_end_after_the_budget_is_given_up(tmp_path, rng):
    write_packed(tmp_path / "data.npz", rng, 16)
    lines = []
    finished = cells.run(
        *(tmp_path / "data.npz", tmp_path / "output", 600.0, [Cell("wide_resnet_10_1", "off", 0)]),
        {"wide_resnet_10_1": Recipe(10**6, batch=8)},
        say=lines.append,
    )
    assert finished == 0
    assert any("given up" in line for line in lines)


def test_no_cell_is_begun_that_would_be_scored_too_late(tmp_path, rng):
    write_packed(tmp_path / "data.npz", rng, 16)
    arguments = (tmp_path / "data.npz", tmp_path / "output")
    one = [Cell("wide_resnet_10_1", "off", 0)]
    # Less than what is kept free for scoring it.
    assert cells.run(*arguments, 2.0, one, {"wide_resnet_10_1": Recipe(1, batch=8)}, say=print) == 0


def test_an_error_of_one_training_reaches_the_caller_and_loses_no_other(tmp_path, rng, monkeypatch):
    write_packed(tmp_path / "data.npz", rng, 16)
    epoch, other_began = trainers.Trainer.train_epoch, threading.Event()

    def broken(self, method, *others):
        if method.name == "logit_norm:0.04":
            assert other_began.wait(60.0)
            raise RuntimeError("the device is gone")
        if method.name != "off":
            other_began.set()
        return epoch(self, method, *others)

    monkeypatch.setattr(trainers.Trainer, "train_epoch", broken)
    waiting = [Cell("wide_resnet_10_1", method, 0) for method in ("off", *plan.FIRST[3:0:-1])]
    with pytest.raises(RuntimeError, match="the device is gone"):
        cells.run(
            *(tmp_path / "data.npz", tmp_path / "output", 600.0, waiting),
            {"wide_resnet_10_1": Recipe(1, batch=8)},
            side_by_side=2,
            say=print,
        )
    found = Results(tmp_path / "output").done()
    # The control, and what was being trained beside the one that broke.
    assert found == {waiting[0], waiting[2]}


def test_what_is_to_be_timed_is_read_or_refused():
    assert settings.parsed("resnet18:two:128") == ("resnet18", "two", 128, 1)
    assert settings.parsed("wide_resnet_34_1:plain:64:4") == ("wide_resnet_34_1", "plain", 64, 4)
    for wrong in ("", "resnet18", "resnet19:two:128", "resnet18:three:128", "resnet18:two:1:2:3"):
        with pytest.raises(ValueError, match="Received: "):
            settings.parsed(wrong)


def test_a_recorded_step_is_the_step(rng):
    images = torch.from_numpy(training.padded(rng.integers(0, 256, (16, 32, 32, 3), np.uint8)))
    labels = rng.integers(10, size=16).astype("int32")
    sets = cells.Sets(images, labels, None, {}, labels)
    how = layers.Arithmetic(torch.float32, torch.float32, layers.PLAIN)
    trainer = trainers.Trainer("wide_resnet_10_1", images, labels, 8, how)
    trainer.record("two")
    found = timing.agreement(trainer, "two", sets, 8, how)
    distances = [float(distance) for distance in re.findall(r"\d\.\de[-+]\d+", found)]
    assert len(distances) == 4
    assert max(distances) < 1e-3


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
