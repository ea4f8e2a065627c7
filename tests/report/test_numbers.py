"""How numbers are written."""

import numpy as np
import pytest

from diffstab.report.words import interval_text, number_text
from diffstab.results.schema import describe, value_name


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (14.0, "14"),
        (0.12345, "0.123"),
        (-2.5, "−2.50"),
        (-0.0, "0"),
        (12345.0, "12\u202f345"),
        (1.5e-7, "1.50 × 10⁻⁷"),
        (np.nan, "–"),
        (np.inf, "–"),
    ],
)
def test_numbers_have_three_significant_digits(value, text):
    assert number_text(value) == text


@pytest.mark.parametrize(
    ("limits", "text"),
    [
        ((0.1234, 0.1190, 0.1278), "12.3 % [11.9, 12.8]"),
        ((0.1234, 0.1214, 0.1254), "12.34 % [12.14, 12.54]"),
        ((0.3, 0.25, 0.35), "30 % [25, 35]"),
        ((-1e-6, -0.05, 0.05), "0 % [−5, 5]"),
        ((0.3, np.nan, np.nan), "30 %"),
        ((np.nan, np.nan, np.nan), "–"),
        ((0.0046, 0.0002, 0.0090), "0.46 % [0.02, 0.90]"),
        ((5.25e-12, 2.25e-12, 8.26e-12), "5 [2, 8] × 10⁻¹⁰ %"),
    ],
)
def test_interval_sets_the_decimals(limits, text):
    assert interval_text("test_error", *limits) == text


def test_convention_test_error_is_a_share_shown_in_percent_and_its_difference_in_signed_points():
    assert interval_text("test_error", 0.004, 0.001, 0.007, difference=True) == "+0.4 points [+0.1, +0.7]"
    assert interval_text("D", -0.004, -0.009, 0.001, difference=True) == "−0.004 [−0.009, +0.001]"


def test_names_that_are_not_listed_show_as_they_are():
    assert value_name("method", "lazy_exact") == "lazy (exact)"
    assert value_name("method", "mystery") == "mystery"
    assert describe("mystery").label == "mystery"
