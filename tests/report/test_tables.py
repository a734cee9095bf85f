"""Figures as text."""

import pytest

from keras_lodin.report.tables import accuracy_text, percent, plus_minus, skipped_lines


@pytest.mark.parametrize(
    ("arguments", "options", "text"),
    [
        ((0.12345,), {}, "12.3"),
        ((0.12345,), {"digits": 2}, "12.35"),
        ((0.5, (0.4, 0.61)), {}, "50.0 (40.0 to 61.0)"),
        ((0.5, [0.4, 0.6]), {"between": "-"}, "50.0 (40.0-60.0)"),
        ((0.5, None), {"digits": 2}, "50.00"),
        ((0.5, (-0.01, 1.0)), {"digits": 2}, "50.00 (-1.00 to 100.00)"),
    ],
)
def test_fractions_are_per_cent_with_their_interval(arguments, options, text):
    assert percent(*arguments, **options) == text


def test_means_have_the_half_width_of_their_interval_and_differences_a_sign():
    assert plus_minus(0.5, None) == "50.00"
    assert plus_minus(0.5, 0.0123) == "50.00 ± 1.23"
    assert plus_minus(0.005, 0.01, "+") == "+0.50 ± 1.00"
    assert plus_minus(-0.005, None, "+") == "-0.50"


def test_what_is_not_known_is_said():
    assert accuracy_text(0.8) == "80.0 %"
    assert accuracy_text(None) == "unknown (no labels)"
    files = [("a.png", "broken"), ("b.png", "broken")]
    assert skipped_lines({"svhn": files}) == [
        "svhn: 2 unreadable files left out, the first is a.png"
    ]
