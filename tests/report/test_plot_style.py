"""Bins and histograms that every plot draws alike."""

import numpy as np
from matplotlib.figure import Figure

from keras_lodin.report.plot_style import bin_edges, draw_shares


def test_far_and_infinite_values_do_not_set_the_bins(rng):
    near = rng.uniform(size=1000)
    edges = bin_edges([np.append(near, [1e9, -np.inf, np.nan]), near + 1.0])
    assert len(edges) == 61
    assert -0.1 < edges[0] < 0.1
    assert 1.9 < edges[-1] < 2.1
    assert list(bin_edges([np.array([np.nan])])[[0, -1]]) == [0.0, 1.0]


def test_shares_are_of_all_values_and_the_end_bins_hold_what_lies_beyond():
    axes = Figure().subplots()
    values = np.array([-9.0, 0.1, 9.0, np.inf])
    draw_shares(axes, values, np.array([0.0, 0.5, 1.0]), "red", "name", opacity=0.5)
    (patch,) = axes.patches
    heights = patch.get_xy()[:, 1]
    assert heights.max() == 0.5  # Two of four in the first bin, one in the last, one in none.
    assert set(np.round(heights, 6)) == {0.0, 0.25, 0.5}
    assert patch.get_label() == "name"
