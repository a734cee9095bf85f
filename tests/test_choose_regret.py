"""The regret of `choose`: its figures on numbers by hand."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

import choose_regret  # noqa: E402
from choose_regret import RECOMMENDED, Run  # noqa: E402


def _judged(name, copies, held_out, margin):
    return {
        "name": name,
        "settings": {},
        "aurocs": dict.fromkeys(choose_regret.COPIES, copies),
        "held_out": held_out,
        "margin": margin,
        "interval": [margin - 0.01, margin + 0.01],
        "worse": False,
        "passes": 1.0,
        "bytes": 0,
    }


@pytest.fixture
def folder(tmp_path):
    # Of ten known scores 0 to 9 and two unknown ones the AUROCs are in tenths.
    known = np.arange(10.0)
    unknown = {
        "letters": {"msp": 4.5, "energy": 1.5, "knn": 2.5, "knn default": 6.5},
        "noise": {"msp": 8.5, "energy": 9.5, "knn": 2.5, "knn default": 6.5},
    }
    judged = [_judged("knn", 0.7, None, 0.3), _judged("energy", 0.9, 0.6, 0.1)]
    judged.append(_judged("msp", 0.5, 0.7, 0.0))
    choice = {"recommended": "energy", "judged": judged, "pool": 12}
    scores = {f"test/{name}": known for name in unknown["noise"]}
    for ood, found in unknown.items():
        scores |= {f"{ood}/{name}": np.full(2, value) for name, value in found.items()}
    for network, seed in (("mnist_cnn", 0), ("mnist7_mlp", 0), ("mnist7_mlp", 1)):
        np.savez(
            tmp_path / f"{network} {seed}.npz",
            choice=json.dumps(choice),
            test_rows=np.arange(1, 11),
            **scores,
        )
    return tmp_path


def test_a_run_knows_what_each_way_to_pick_gives(folder):
    run = Run(folder / "mnist_cnn 0.npz")
    assert run.sets("all") == ["letters", "noise"]
    assert run.sets("near") == run.sets("no noise") == ["letters"]
    worth = {name: run.worth(name, "all")[0] for name in ("msp", "energy", "knn", "knn default")}
    expected = {"msp": 0.3, "energy": 0.4, "knn": 0.7, "knn default": 0.3}
    assert worth == pytest.approx(expected)
    assert run.best("all")[0] == pytest.approx(0.7)
    # In hindsight another one is the best of the near set.
    assert run.best("near")[0] - run.picked(RECOMMENDED, "near")[0] == pytest.approx(0.0)
    picks = {way: pick(run) for way, pick in choose_regret.WAYS.items()}
    assert picks == {
        RECOMMENDED: "energy",
        "largest margin": "knn",
        "copies alone": "energy",
        "left-out classes alone": "msp",
    }
    assert run.picked("one at random", "all")[0] == pytest.approx((0.3 + 0.4 + 0.7) / 3)
    # What refuses a network is replaced by MSP, what needed no tuning has its defaults.
    assert run.worth("scale", "all")[0] == pytest.approx(0.3)
    assert run.worth("energy default", "all")[0] == pytest.approx(0.4)


def test_the_report_has_the_regret_of_every_network(folder, monkeypatch, tmp_path):
    monkeypatch.setattr(choose_regret, "RESULTS", tmp_path / "results")
    choose_regret.report(folder)
    lines = (tmp_path / "results" / "networks.csv").read_text().splitlines()
    assert lines[1].startswith("mnist_cnn,energy,40.0,knn,70.0,30.0 (")
    assert len(lines) == 3
    ways = (tmp_path / "results" / "ways.csv").read_text().splitlines()
    assert ways[1].startswith(("knn,0.0", "largest margin,0.0"))
