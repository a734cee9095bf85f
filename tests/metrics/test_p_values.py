"""Conformal p-values, from tables of one size, and discoveries by them."""

import numpy as np
import pytest
from keras import ops
from scipy.stats import false_discovery_control

from keras_lodin.metrics import discoveries
from keras_lodin.metrics.p_values import TABLE_ERROR, TABLE_SIZE, calibration_table, p_value


def p_values(scores, table):
    given = (ops.convert_to_tensor(np.asarray(value, "float32")) for value in (scores, *table))
    return ops.convert_to_numpy(p_value(*given))


def looked_up(scores, table):
    """The same by numpy, for many small arrays."""
    kept, counts = table
    return counts[np.searchsorted(kept, scores, side="right")] / counts[-1]


def exact(scores, calibration):
    """By the definition; a NaN is lower than every number."""
    rank = np.searchsorted(np.sort(np.nan_to_num(calibration, nan=-np.inf)), scores, side="right")
    lost = np.isnan(calibration).sum()
    return (1 + np.where(np.isnan(scores), lost, np.maximum(rank, lost))) / (1 + len(calibration))


@pytest.fixture
def fresh(rng):
    some = np.concatenate([rng.normal(size=2000), [np.nan, np.inf, -np.inf, 9.0, -9.0, 0.0]])
    return some.astype("float32")


@pytest.mark.parametrize("count", [0, 1, 2, 63, 64, 65, 1000, 4095, 4096])
def test_of_up_to_4096_scores_p_values_are_exact(count, rng, fresh):
    calibration = rng.normal(size=count).astype("float32")
    table = calibration_table(calibration)
    scores = np.concatenate([fresh, calibration, np.nextafter(calibration, np.float32(-np.inf))])
    found = p_values(scores, table)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, exact(scores, calibration), rtol=1e-7)
    assert found.max() == 1.0
    np.testing.assert_allclose(looked_up(fresh[:2000], table), found[:2000], rtol=1e-7)


@pytest.mark.parametrize("digits", [0, 1, 9])
@pytest.mark.parametrize("count", [50, 4097, 5000, 100_003])
def test_ties_and_nan_count_as_the_definition_says(count, digits, rng, fresh):
    calibration = np.round(rng.normal(size=count), digits).astype("float32")
    calibration[::10] = np.nan
    scores = np.round(np.concatenate([fresh, calibration[:500]]), digits)
    found, expected = p_values(scores, calibration_table(calibration)), exact(scores, calibration)
    if count <= TABLE_SIZE:
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert (found >= expected - 1e-7).all()
    assert (found <= expected + TABLE_ERROR).all()
    # All that count as NaN have the smallest p-value, which is no smaller than their share.
    assert found.min() == pytest.approx((1 + np.isnan(calibration).sum()) / (1 + count))
    assert found[np.isnan(scores)] == pytest.approx(found.min())


@pytest.mark.parametrize("count", [4097, 7168, 7169, 20_000, 200_000])
def test_of_more_scores_p_values_are_above_the_exact_ones_by_less_than_is_said(count, rng):
    calibration = rng.permutation(count).astype("float32")
    kept, counts = calibration_table(calibration)
    assert (kept.shape, counts.shape) == ((TABLE_SIZE,), (TABLE_SIZE + 1,))
    every = np.arange(count) + np.float32(0.25)
    found, expected = p_values(every, (kept, counts)), exact(every, calibration)
    above = found - expected
    assert -1e-7 < above.min() <= above.max() < TABLE_ERROR
    # The lowest 1,024 are exact.
    np.testing.assert_allclose(found[:1023], expected[:1023], rtol=1e-6)
    assert counts[-1] == count + 1


def test_where_float32_has_no_whole_numbers_p_values_are_above_the_exact_ones_too(monkeypatch):
    monkeypatch.setattr("keras_lodin.metrics.p_values._LARGEST_COUNT", 4096)
    calibration = np.arange(9999, dtype="float32")
    every = calibration + np.float32(0.25)
    kept, counts = calibration_table(calibration)
    # In units of three scores.
    assert counts[-1] == 3333
    np.testing.assert_array_equal(counts, np.round(counts))
    above = p_values(every, (kept, counts)) - exact(every, calibration)
    assert -1e-7 < above.min() <= above.max() < 0.001
    assert p_values([-1.0], (kept, counts)) == np.float32(1 / 3333)


def test_numbers_that_some_runtimes_take_for_zero_count_as_the_lowest_of_them():
    small = np.array([-1e-40, 0.0, 1e-40], "float32")
    for one in small:
        kept, counts = calibration_table([one, 1.0])
        assert kept[0] == -np.finfo("float32").tiny
        found = p_values(small, (kept, counts))
        np.testing.assert_allclose(found, 2 / 3, rtol=1e-6)


@pytest.mark.parametrize("count", [100, 1000, 5000])
def test_p_values_of_fresh_data_are_uniform_or_larger(count, rng):
    shares = []
    for _ in range(100):
        scores = rng.gumbel(size=count + 1000).astype("float32")
        found = looked_up(scores[count:], calibration_table(scores[:count]))
        shares.append([np.mean(found <= level) for level in (0.01, 0.05, 0.2)])
    mean, error = np.mean(shares, axis=0), np.std(shares, axis=0) / np.sqrt(len(shares))
    levels = np.array([0.01, 0.05, 0.2])
    assert (mean <= levels + 3 * error).all()
    assert (mean >= levels - 1 / (count + 1) - TABLE_ERROR - 3 * error).all()


# --- Discoveries -----------------------------------------------------------------------------


def test_discoveries_are_those_of_benjamini_and_hochberg(rng):
    for count in (1, 2, 10, 200):
        for _ in range(20):
            values = rng.uniform(size=count) ** 3
            values[: count // 2] = np.ceil(97 * values[: count // 2]) / 97
            for fdr in (0.01, 0.1, 0.4):
                expected = false_discovery_control(values) <= fdr
                np.testing.assert_array_equal(discoveries(values, fdr), expected)


def test_a_p_value_at_its_limit_is_a_discovery_in_float32_too():
    # 1/20 in float32 is above 0.05.
    assert discoveries(np.array([1 / 20], "float32"), fdr=0.05).all()
    assert not discoveries(np.array([1 / 19], "float32"), fdr=0.05).any()
    # The lowest alone would be none, with the second both are.
    assert discoveries([0.05, 0.04], fdr=0.05).all()
    assert discoveries([1, 1]).dtype == bool
    assert discoveries([]).shape == (0,)


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5])
@pytest.mark.parametrize("count", [1000, 6000])
def test_false_discoveries_are_as_rare_as_is_said(share, count, rng):
    """The p-values of all inputs hang on one calibration set."""
    inputs, fdr = 300, 0.1
    is_ood = np.arange(inputs) < share * inputs
    rates, found = [], []
    for _ in range(200):
        scores = np.float32(rng.normal(size=inputs) - 4.0 * is_ood)
        named = discoveries(looked_up(scores, calibration_table(rng.normal(size=count))), fdr)
        rates.append((named & ~is_ood).sum() / max(named.sum(), 1))
        found.append(named[is_ood].mean())
    error = np.std(rates) / np.sqrt(len(rates))
    assert np.mean(rates) <= fdr * (1 - share) + 3 * error
    assert np.mean(found) > (0.3 if share == 0.01 else 0.7)


@pytest.mark.parametrize(
    "wrong", [[0.0, 0.5], [0.5, 1.1], [np.nan], [[0.5]], 0.5, ["0.5"], [True], None, [1j]]
)
def test_p_values_that_are_none_are_refused(wrong):
    with pytest.raises(ValueError, match=r"`p_values` must be numbers above 0.*Received: p_values"):
        discoveries(wrong)


@pytest.mark.parametrize("fdr", [0.0, 1.0, -0.1, np.nan, "0.1", None, True])
def test_a_rate_that_is_none_is_refused(fdr):
    with pytest.raises(ValueError, match=r"`fdr` must be strictly .*Received: fdr="):
        discoveries([0.5], fdr=fdr)
