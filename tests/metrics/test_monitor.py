"""The monitor's ranks are uniform whatever the calibration set, its bets fair, its alarms rare."""

import math

import numpy as np
import pytest
from scipy.stats import beta, betabinom, kstest

from keras_lodin.metrics import Monitor
from keras_lodin.metrics.p_values import calibration_table


def looked_up(calibration):
    """The possible p-values, and a function from scores to theirs."""
    kept, counts = calibration_table(calibration.astype("float32"))
    possible = np.unique(counts.astype("float64")) / counts[-1].astype("float64")
    return possible, lambda scores: counts[np.searchsorted(kept, scores, "right")] / counts[-1]


def monitored(calibration, windows, **settings):
    possible, p_values = looked_up(calibration)
    monitor = Monitor(possible, len(calibration), **settings)
    for scores in windows:
        monitor.update(p_values(scores.astype("float32")))
    return monitor


def test_ranks_are_those_among_all_before_with_ties_broken_by_lot(rng):
    calibration, scores = rng.normal(size=9), rng.normal(size=600)
    possible, p_values = looked_up(calibration)
    values = p_values(scores.astype("float32"))
    monitor = Monitor(possible, 9, seed=4)
    found = monitor._ranks(monitor._cells(values.astype("float64"), values))
    lots = np.random.default_rng(4).random(600)
    # One place in each gap between the calibration scores, and one for every input in it.
    places = dict.fromkeys(np.round(possible * 10).astype(int).tolist(), 1)
    for number, (value, lot) in enumerate(zip(np.round(values * 10), lots, strict=True)):
        below = sum(count for other, count in places.items() if other < value)
        expected = (below + lot * places[int(value)]) / (10 + number)
        assert found[number] == pytest.approx(expected, rel=1e-12)
        places[int(value)] += 1


@pytest.mark.parametrize("count", [1, 30, 6000])
def test_ranks_are_uniform_whatever_the_calibration_set(rng, count):
    ranks = []
    for seed in range(60):
        possible, p_values = looked_up(rng.gumbel(size=count))
        monitor = Monitor(possible, count, seed=seed)
        values = p_values(rng.gumbel(size=100).astype("float32")).astype("float64")
        ranks.append(monitor._ranks(monitor._cells(values, values)))
    ranks = np.array(ranks)
    assert kstest(ranks.ravel(), "uniform").pvalue > 1e-4
    # Those of one stream too: nothing is left of the calibration set that they share.
    means = ranks.mean(axis=1) - 0.5
    assert np.std(means) == pytest.approx(math.sqrt(1 / 12 / 100), rel=0.35)


def test_the_capital_is_that_of_bets_begun_with_each_window(rng):
    windows = [rng.normal(size=size) for size in (30, 1, 50)]
    possible, p_values = looked_up(rng.normal(size=40))
    monitor, other = Monitor(possible, 40), Monitor(possible, 40)
    ranks = []
    for scores in windows:
        values = p_values(scores.astype("float32")).astype("float64")
        ranks.append(other._ranks(other._cells(values, values)))
        window = monitor.update(values)
    exponents = [
        (a, b)
        for a in (0.5, 0.8, 0.93, 1.0, 1.08, 1.25, 2.0)
        for b in (0.5, 0.8, 0.93, 1.0, 1.08, 1.25, 2.0)
        if (a, b) != (1.0, 1.0)
    ]
    capital = 1 / 4
    for begin in range(3):
        later = np.concatenate(ranks[begin:])
        won = np.mean([np.exp(beta(a, b).logpdf(later).sum()) for a, b in exponents])
        capital += won / ((begin + 1) * (begin + 2))
    assert window.evidence == pytest.approx(math.log10(capital), rel=1e-9)


def test_more_rows_change_nothing_about_those_before(rng):
    """Started again on more of the same stream, the monitor continues."""
    calibration, scores = rng.normal(size=50), rng.normal(size=900)
    once = monitored(calibration, [scores[:300], scores[300:450]])
    again = monitored(calibration, [scores[:300], scores[300:600], scores[600:]])
    assert once.windows[0] == again.windows[0]


@pytest.mark.parametrize("rounded", [9, 1])
def test_false_alarms_are_no_more_than_stated(rng, rounded):
    alarms = sum(
        monitored(
            rng.normal(size=50).round(rounded),
            [rng.normal(size=60).round(rounded) for _ in range(8)],
            false_alarm_rate=0.2,
            seed=seed,
        ).alarm
        for seed in range(100)
    )
    # More than 32 of 100 have a probability of 0.2 % at a rate of 20 %.
    assert alarms <= 32


def test_a_change_raises_an_alarm_that_stays(rng):
    ordinary = [rng.normal(size=500) for _ in range(6)]
    changed = [np.where(rng.random(500) < 0.1, scores - 3, scores) for scores in ordinary]
    monitor = monitored(rng.normal(size=1000), [*ordinary, *changed, *ordinary])
    first = next(place for place, window in enumerate(monitor.windows) if window.alarm)
    assert 6 <= first < 10
    assert all(window.alarm for window in monitor.windows[first:])
    assert monitor.alarm
    assert monitor.windows[11].moved_chance < 0.05


def test_an_alarm_stays_when_the_capital_is_lost_again(monkeypatch):
    monitor = Monitor([0.5, 1.0], 1, false_alarm_rate=0.01)
    capital = iter([0.0, math.log(99), math.log(100), -5.0])
    monkeypatch.setattr(monitor, "_bet", lambda ranks, number: next(capital))
    alarms = [monitor.update([1.0]).alarm for _ in range(4)]
    assert alarms == [False, False, True, True]
    assert [window.evidence for window in monitor.windows][2] == pytest.approx(2.0)


def test_what_is_flagged_is_held_to_chance():
    possible = np.arange(1, 101) / 100
    monitor = Monitor(possible, 99, flagged_p_value=0.05)
    window = monitor.update(np.array([0.01, 0.05, 0.06, 1.0]), name="day")
    assert (window.name, window.count, window.flagged) == ("day", 4, 0.5)
    assert window.flagged_chance == pytest.approx(betabinom(4, 5, 95).sf(1))
    # A score in the gap of the threshold may lie above it.
    given = monitor.update(np.array([0.05, 0.05]), np.array([True, False]))
    assert (given.name, given.flagged) == ("2", 0.5)
    none = Monitor(possible, 99).update(np.array([0.01]))
    assert (none.flagged, none.flagged_chance) == (0.0, None)
    assert none.moved == pytest.approx(0.99)


def test_a_threshold_above_all_calibration_scores_flags_everything_by_chance():
    possible = np.arange(1, 101) / 100
    window = Monitor(possible, 99, flagged_p_value=1.0).update([0.5, 1.0])
    assert (window.flagged, window.flagged_chance) == (1.0, 1.0)
    almost = Monitor(possible, 99, flagged_p_value=0.99).update([0.5, 1.0])
    assert almost.flagged_chance == pytest.approx(betabinom(2, 99, 1).sf(0))


def test_a_detector_that_is_not_calibrated_cannot_be_monitored():
    with pytest.raises(ValueError, match=r"`calibrate` the detector first.*Received: count=None"):
        Monitor([1.0], None)


@pytest.mark.parametrize(
    ("p_values", "flagged", "message"),
    [
        ([], None, "at least one p-value"),
        ([[0.5]], None, "shape"),
        ([0.25, 0.3], None, r"none that the reference can give.*p_values\[1\]=0.3"),
        ([0.5, np.nan], None, "none that the reference can give"),
        ([0.5], [1], "a truth value for each"),
    ],
)
def test_what_is_no_p_value_of_the_detector_is_refused(p_values, flagged, message):
    monitor = Monitor([0.25, 0.5, 1.0], 3)
    with pytest.raises(ValueError, match=message):
        monitor.update(p_values, flagged)
    assert not monitor.windows
    assert not monitor.alarm


@pytest.mark.parametrize(
    ("possible", "settings", "message"),
    [
        ([0.5, 0.5, 1.0], {}, "possible_p_values"),
        ([0.5], {}, "possible_p_values"),
        ([], {}, "possible_p_values"),
        ([1.0], {"false_alarm_rate": 0.0}, "`false_alarm_rate` must be strictly between"),
        ([1.0], {"seed": -1}, "seed"),
    ],
)
def test_a_monitor_that_cannot_be_is_refused(possible, settings, message):
    with pytest.raises(ValueError, match=message):
        Monitor(possible, 1, **settings)
