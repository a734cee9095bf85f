"""Tables of percentiles, by the thousandth."""

import numpy as np
import pytest

from keras_lodin.detectors.percentiles import TABLE_SIZE, in_table, percentile_table


@pytest.mark.parametrize("thousandth", [0, 1, 29, 57, 115, 290, 568, 850, 999, 1000])
def test_every_thousandth_has_its_place(thousandth):
    """Also those whose fraction, a thousand times, is a little less than a whole number."""
    assert in_table(np.arange(TABLE_SIZE), thousandth / 1000) == thousandth


def test_the_table_holds_the_quantiles_of_numpy(rng):
    values = rng.normal(size=(50, 3))
    table = percentile_table(values)
    assert table.shape == (TABLE_SIZE,)
    for percentile in (0.0, 0.29, 0.5, 0.9, 1.0):
        found = in_table(table, percentile)
        np.testing.assert_allclose(found, np.quantile(values, percentile), rtol=1e-9)
