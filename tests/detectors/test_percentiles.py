"""Tables of percentiles, by the thousandth."""

import numpy as np

from keras_lodin.detectors.percentiles import (
    TABLE_SIZE,
    checked_percentile,
    in_table,
    percentile_table,
)


def test_every_thousandth_has_its_place():
    """Also where a fraction was computed, and a thousand times it is less than a whole number."""
    places = np.arange(TABLE_SIZE)
    for number in places:
        assert in_table(places, number / 1000) == number
        assert in_table(places, checked_percentile("p", 1.0 - number / 1000)) == 1000 - number


def test_the_table_holds_the_quantiles_of_numpy(rng):
    values = rng.normal(size=(50, 3))
    table = percentile_table(values)
    assert table.shape == (TABLE_SIZE,)
    for percentile in (0.0, 0.29, 0.5, 0.9, 1.0):
        found = in_table(table, percentile)
        np.testing.assert_allclose(found, np.quantile(values, percentile), rtol=1e-9)
