"""Training on several hosts, which are processes of this machine here."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
from click.testing import CliRunner

from keras_lodin.gradients import replicas
from keras_lodin.workflows import train
from keras_lodin_cli.main import main
from tests.processes import ROOT, forked

SETTINGS = {"id": "digits:0-6", "model": "dense", "gq_weight": 0.5, "verbose": 0}
# One host of two, or the only one: what it is told says what it does.
SCRIPT = """
import json, os, sys
import keras, numpy as np
import keras_lodin
from keras import layers
from keras_lodin.gradients import replicas_of
from keras_lodin.models.networks import NETWORKS
from keras_lodin.workflows import train

told = json.loads(sys.argv[1])

def dense(num_classes, input_shape):
    hidden = [layers.Flatten(), layers.Dense(16, activation="tanh"), layers.Dense(num_classes)]
    return keras.Sequential([keras.Input(input_shape), *hidden])

NETWORKS["dense"] = dense
strategy = "multi-worker" if "TF_CONFIG" in os.environ else None
x = np.random.default_rng(0).uniform(size=(29, 8, 8, 1)).astype("float32")
y = np.arange(29) % 7
for name in told.get("models", ()):
    with replicas_of(strategy) as replicas, replicas.scope():
        keras.utils.set_random_seed(1)
        classifier = dense(7, (8, 8, 1))
        if name == "penalty":
            model = keras_lodin.GradientPenaltyModel(classifier, 0.5)
        else:
            weight = 0.0 if name == "plain" else 0.5
            settings = {} if name == "plain" else {"estimator": name}
            model = keras_lodin.GQModel(classifier, weight, seed=5, **settings)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.SGD(0.1), loss, metrics=["accuracy"])
    log = model.fit(
        x, y, batch_size=12, epochs=2, shuffle=False, verbose=0, validation_data=(x, y)
    ).history
    np.savez(f"{told['to']}/{name}.npz", *classifier.get_weights(), **log)
for folder, settings in told.get("runs", {}).items():
    train(output=folder, strategy=strategy, **settings)
"""


def free_ports(count):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def started(told, config=None):
    """A host, with all that it prints as one pipe."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    if config is not None:
        environment["TF_CONFIG"] = json.dumps(config)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    # It says its number first, as the process that was started is not the one that works.
    script = "import os; print(os.getpid(), flush=True)\n" + SCRIPT
    command = [forked("python"), "-c", script, json.dumps(told)]
    return subprocess.Popen(command, cwd=ROOT, env=environment, **pipes)


def two(*told):
    addresses = [f"127.0.0.1:{port}" for port in free_ports(2)]
    return [
        started(one, {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}})
        for index, one in enumerate(told)
    ]


def ended(hosts, timeout=600):
    """What they printed; a failure with it unless they ended well."""
    printed = [host.communicate(timeout=timeout)[0] for host in hosts]
    assert [host.returncode for host in hosts] == [0] * len(hosts), "\n".join(printed)
    return printed


def weights(run):
    return keras.models.load_model(run / "model.keras").get_weights()


def history(run):
    return json.loads((run / "run.json").read_text())["history"]


@pytest.mark.slow
def test_two_hosts_train_as_one_and_stay_in_step(tmp_path):
    names = ("exact", "plain", "penalty", "sampled", "projected")
    folders = [tmp_path / name for name in ("first", "second", "alone")]
    for folder in folders:
        folder.mkdir()
    told = [{"models": names, "to": str(folder)} for folder in folders]
    runs = [tmp_path / "shared", tmp_path / "own"]
    for one, run in zip(told, (runs[0], runs[0], runs[1]), strict=True):
        one["runs"] = {str(run): {**SETTINGS, "epochs": 2}}
    ended(two(*told[:2]))
    ended([started(told[2])])
    for name in names:
        first, second, alone = (np.load(folder / f"{name}.npz") for folder in folders)
        for key in alone.files:
            np.testing.assert_array_equal(first[key], second[key], err_msg=f"{name}: {key}")
            assert np.isfinite(first[key]).all()
            if name not in ("sampled", "projected"):
                np.testing.assert_allclose(
                    first[key], alone[key], rtol=1e-6, atol=1e-6, err_msg=f"{name}: {key}"
                )
    assert sorted(path.name for path in runs[0].iterdir()) == ["model.keras", "run.json"]
    for ours, expected in zip(map(weights, runs), map(weights, reversed(runs)), strict=True):
        for one, other in zip(ours, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)
    for ours, expected in zip(history(runs[0]), history(runs[1]), strict=True):
        assert ours == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1], ids=["chief", "worker"])
def test_a_killed_host_ends_the_other_with_a_sentence_and_the_run_goes_on(victim, tmp_path):
    settings = {**SETTINGS, "estimator": "sampled", "epochs": 12}
    run, whole = tmp_path / "run", tmp_path / "whole"
    told = {"runs": {str(run): settings}}
    hosts = two(told, told)
    numbers = [int(host.stdout.readline()) for host in hosts]
    until = time.monotonic() + 300
    while not (run / "run.json").exists() or len(history(run)) < 2:
        assert time.monotonic() < until
        assert all(host.poll() is None for host in hosts)
        time.sleep(0.05)
    os.kill(numbers[victim], signal.SIGKILL)
    printed = [host.communicate(timeout=300)[0] for host in hosts]
    assert hosts[1 - victim].returncode == 1
    assert "ConnectionError: Another host of the training has gone" in printed[1 - victim]
    assert not json.loads((run / "run.json").read_text())["complete"]

    ended(two(told, told))
    ended(two(*[{"runs": {str(whole): settings}}] * 2))
    assert len(history(run)) == 12
    for ours, expected in zip(weights(run), weights(whole), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-6)
    # A host that is started again alone has nobody to wait for.
    config = {"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "worker", "index": 1}}
    ended([started(told, config)])


@pytest.mark.slow
def test_hosts_that_were_told_other_things_say_so(tmp_path):
    told = [{"runs": {str(tmp_path / "run"): {**SETTINGS, "seed": seed}}} for seed in (0, 1)]
    hosts = two(*told)
    for host in hosts:
        printed, _ = host.communicate(timeout=300)
        assert host.returncode == 1
        assert "Received: settings, not the same on every host" in printed
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "told",
    [
        None,
        "",
        "no JSON",
        "{}",
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}',
        '{"cluster": {"ps": ["a:1"]}, "task": {"type": "ps", "index": 0}}',
    ],
)
def test_hosts_that_nobody_named_are_one_sentence(told, tmp_path, monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if told is not None:
        monkeypatch.setenv("TF_CONFIG", told)
    options = ["--id", "digits:0-6", "--model", "small_convnet", "--output", str(tmp_path / "run")]
    found = CliRunner().invoke(main, ["train", *options, "--strategy", "multi-worker"])
    assert found.exit_code == 2
    assert "needs the environment variable TF_CONFIG" in found.output
    assert "Received: " + ("no TF_CONFIG" if told is None else "TF_CONFIG=") in found.output
    assert not (tmp_path / "run").exists()


def test_a_strategy_of_another_backend_is_one_sentence():
    """As the two other backends say it; `tests/core/test_devices.py` tries it there."""
    with pytest.raises(ValueError, match=r"backend tensorflow\. Do that\. Received"):
        replicas.refuse_strategy("mirrored", "Do that.")
    replicas.refuse_strategy(None, "Do that.")


def test_the_command_line_takes_the_strategies_that_there_are():
    (option,) = (one for one in main.commands["train"].params if one.name == "strategy")
    assert tuple(option.type.choices) == replicas.STRATEGIES


def test_a_run_goes_on_with_as_many_replicas_as_it_was_begun_with(tmp_path, monkeypatch):
    settings = {"id": "digits:0-2", "model": "perceptron", "epochs": 2, "verbose": 0}
    module = sys.modules["keras_lodin.workflows.train_network"]
    original = module._Checkpoint.on_epoch_end

    def dies(self, epoch, logs=None):
        original(self, epoch, logs)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module._Checkpoint, "on_epoch_end", dies)
        with pytest.raises(KeyboardInterrupt):
            train(output=tmp_path / "run", **settings)
    file = tmp_path / "run" / "run.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "replicas": 2}))
    with pytest.raises(ValueError, match="replicas was 2 and is 1"):
        train(output=tmp_path / "run", **settings)
