"""The experiment on contrasts: its AUROCs, its rules and its made-up images, on numbers by hand."""

import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

from contrast import rules  # noqa: E402
from contrast.heads import FAMILIES, Head  # noqa: E402
from contrast.images import CONTRASTS, partners  # noqa: E402

from keras_lodin import metrics  # noqa: E402


def test_weighted_aurocs_are_those_of_repeated_samples(rng):
    ours, theirs = rng.integers(0, 9, 40).astype(float), rng.integers(-3, 7, 30).astype(float)
    own, other = rules.replicates(3, 40, 0), rules.replicates(3, 30, 1)
    found = rules.weighted_aurocs(ours, theirs, own, other)
    for auroc, a, b in zip(found, own.astype(int), other.astype(int), strict=True):
        expected = metrics.auroc(np.repeat(ours, a), np.repeat(theirs, b))
        assert auroc == pytest.approx(expected, abs=1e-12)


def _measured(gain: float, spread: float) -> rules.Measured:
    # Two candidates, the first the anchor; every contrast says the same.
    noise = np.concatenate([[0.0], np.tile([-spread, spread], 50)])
    values = np.stack([np.full(101, 0.8), 0.8 + gain + noise], axis=1)
    members = ["blocks16", *(name for group in rules.GROUPS.values() for name in group)]
    worth = {"real": np.tile([0.7, 0.9], (101, 1))}
    return rules.Measured([(1.0,), (2.0,)], 1, 0, dict.fromkeys(members, values), worth)


@pytest.mark.parametrize(
    ("gain", "spread", "chosen"), [(0.02, 0.0, 1), (0.004, 0.0, 0), (0.02, 0.02, 0)]
)
def test_the_anchor_stays_unless_the_gain_is_clear(gain, spread, chosen):
    measured = _measured(gain, spread)
    assert rules.RULES["mean"](measured)[0] == 1
    assert rules.RULES[rules.PRIMARY](measured)[0] == chosen
    found = rules.worth(measured, rules.RULES[rules.PRIMARY])
    assert found.regret == pytest.approx(0.0 if chosen else 0.2)
    assert found.gain == pytest.approx(0.0 if chosen else -0.2)


def test_ties_go_to_the_anchor():
    measured = _measured(0.0, 0.0)
    assert all(rule(measured)[0] == 0 for name, rule in rules.rules(measured).items()
               if name != "published default")  # fmt: skip


def test_partners_are_given_another_class(rng):
    classes = np.array([0] * 12 + [1, 2, 2])
    found = partners(classes, rng)
    assert (classes[found] != classes).all()


@pytest.mark.parametrize("name", CONTRASTS)
def test_contrasts_stay_within_the_range_and_repeat_themselves(name, rng):
    images = rng.uniform(10, 200, (6, 32, 24, 3)).astype("float32")
    classes = np.arange(6) % 3
    made = CONTRASTS[name](images, classes, np.random.default_rng(1))
    assert (made.shape, made.dtype) == (images.shape, images.dtype)
    assert images.min() - 1e-3 <= made.min() <= made.max() <= images.max() + 1e-3
    assert np.mean(np.abs(made - images) > 1e-3) > 0.4
    np.testing.assert_array_equal(made, CONTRASTS[name](images, classes, np.random.default_rng(1)))


@pytest.mark.parametrize("name", [name for name, family in FAMILIES.items() if family.scores])
def test_every_candidate_is_finite_and_off_is_energy(name, rng):
    h = np.abs(rng.normal(size=(50, 16)))
    head = Head(rng.normal(size=(16, 5)), rng.normal(size=5), h[:30])
    family = FAMILIES[name]
    found = np.stack(family.scores(head, h, list(family.candidates)))
    assert found.shape == (len(family.candidates), 50)
    assert np.isfinite(found).all()
    off = {"react": 100, "scale": 0, "ash_s": 0, "ash_p": 0, "ash_b": 0, "dice": 0, "vim": 1,
           "nnguide": 0}  # fmt: skip
    if name in off:
        energy = found[family.candidates.index((off[name],))]
        np.testing.assert_allclose(energy, head.energy(h), rtol=1e-12)
