"""Expected times of runs: closed forms on made-up times."""

import pytest

from diffstab.grid.forecast import Forecast, place


def at(**coordinates):
    return place({"seed": 0, **coordinates})


@pytest.fixture
def forecast():
    return Forecast()


def test_draws_share_a_place():
    assert place({"n": 8, "seed": 0, "restart": 3}) == place({"restart": 1, "n": 8, "seed": 5}) == (("n", 8),)
    assert place({"hidden": [8, 8]}) == (("hidden", "[8,8]"),)


def test_a_measured_place_has_its_median(forecast):
    for seconds in (1.0, 9.0, 2.0):
        forecast.add(at(n=8), seconds)
    assert forecast.seconds([at(n=8)]) == {at(n=8): 2.0}
    assert forecast.mean == 4.0


def test_a_power_law_in_two_counts_is_found_and_gone_on_with(forecast):
    for n in (8, 16, 64):
        for width in (10, 100):
            forecast.add(at(n=n, width=width, method="a"), 1e-3 * n**2 * width**0.5)
    found = forecast.seconds([at(n=256, width=1000, method="a"), at(n=256, width=1000, method="b")])
    assert found == {at(n=256, width=1000, method="a"): pytest.approx(1e-3 * 256**2 * 1000**0.5, rel=1e-3)}


def test_one_measured_place_is_all_that_is_known_of_its_kind(forecast):
    forecast.add(at(n=8, alpha=0.5), 3.0)
    assert forecast.seconds([at(n=512, alpha=1e6)]) == {at(n=512, alpha=1e6): pytest.approx(3.0)}


def test_numbers_that_are_no_counts_are_averaged_over(forecast):
    forecast.add(at(n=8, alpha=1e-6), 2.0)
    forecast.add(at(n=8, alpha=1e3), 8.0)
    assert forecast.seconds([at(n=8, alpha=1.5)])[at(n=8, alpha=1.5)] == pytest.approx(4.0)


def test_no_noise_makes_a_steeper_law_than_the_fourth_power(forecast):
    forecast.add(at(n=100), 1.0)
    forecast.add(at(n=101), 100.0)
    assert forecast.seconds([at(n=200)])[at(n=200)] == pytest.approx(10 * (200 / 100.5) ** 4, rel=1e-3)


def test_nothing_is_known_before_a_measurement(forecast):
    assert forecast.seconds([at(n=8)]) == {}
    assert forecast.mean is None
