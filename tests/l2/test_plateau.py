import math
from itertools import product

import pytest
import torch

from diffstab.errors import ArgumentError
from diffstab.l2 import plateau_start

WIDTHS = [1, 2, 3, 4, 6, 8]
LOSSES = torch.tensor(
    [[5.0, 6.0], [3.0, 2.0], [1.004, 1.5], [1.008, 1.3], [1.003, 1.1], [1.4, 1.0]], dtype=torch.float64
)


def start(losses=LOSSES, widths=WIDTHS, **options):
    generator = torch.Generator().manual_seed(0)
    return plateau_start(widths, losses, generator=generator, **options)


def every_table(losses):
    """All tables that drawing restarts again can give, each as likely as another."""
    restarts = range(losses.shape[1])
    again = list(product(restarts, repeat=len(restarts)))
    return product(*[[[row[i] for i in chosen] for chosen in again] for row in losses.tolist()])


def slow_start(table, widths, tolerance):
    """The rule by loops: the least width with a net, at it or below, near the smallest loss of all."""
    floor = min(min(row) for row in table)
    for index, width in enumerate(widths):
        if min(min(row) for row in table[: index + 1]) <= (1 + tolerance) * floor:
            return width
    raise AssertionError("the last width reaches the floor")


def test_start_is_the_least_width_within_tolerance_of_the_floor():
    found = start()
    assert (found.width, found.floor) == (3, 1.0)
    assert found.width == slow_start(LOSSES.tolist(), WIDTHS, 0.01)
    assert start(tolerance=0.0035).width == 6
    assert start(tolerance=0.001).width == 8


def test_convention_a_wider_net_contains_a_narrower_one():
    assert start().best.tolist() == [5.0, 2.0, 1.004, 1.004, 1.003, 1.0]
    worse = LOSSES.clone()
    # Restarts of wide nets that failed move nothing: dead neurons make the narrow net a wide one.
    worse[3:5] = 9.0
    assert start(worse).width == 3


def test_sensitivity_to_the_tolerance():
    found = start(tolerance=0.0045)
    assert (found.tighter, found.width, found.looser) == (8, 3, 3)
    assert start(tolerance=0.6).looser == 1 + 1


def test_interval_is_that_of_all_tables():
    starts = torch.tensor([float(slow_start(table, WIDTHS, 0.01)) for table in every_table(LOSSES)])
    found = start(resamples=4000, confidence=0.8)
    assert found.low == torch.quantile(starts, 0.1, interpolation="lower")
    assert found.high == torch.quantile(starts, 0.9, interpolation="higher")
    assert found.low <= found.width <= found.high
    assert found.high > found.low


def test_equal_restarts_leave_no_doubt():
    found = start(LOSSES.amin(1, keepdim=True).expand(-1, 3))
    assert (found.low, found.high) == (found.width, found.width)


def test_one_restart_has_no_interval():
    found = start(LOSSES[:, :1])
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert found.width == 3


def test_a_plateau_needs_two_widths_beyond_its_start():
    falling = torch.tensor([[8.0], [4.0], [2.0], [1.0], [0.5]], dtype=torch.float64)
    assert not start(falling, [1, 2, 3, 4, 5]).reached
    flat = torch.tensor([[8.0], [1.0], [1.0], [1.0]], dtype=torch.float64)
    assert start(flat, [1, 2, 3, 4]).reached
    assert not start(flat[:3], [1, 2, 3]).reached


def test_zero_loss_is_a_floor():
    assert start(torch.tensor([[1.0], [0.0], [0.0], [0.0]]), [1, 2, 3, 4]).width == 2


def test_widths_that_cannot_meet_the_targets_lie_before_the_plateau():
    losses = torch.tensor([[math.inf, math.inf], [math.inf, 4.0], [4.0, 4.0], [4.0, 4.0], [4.0, 4.0]])
    found = start(losses, [1, 2, 3, 4, 5])
    assert (found.width, found.low, found.high) == (2, 2, 3)
    assert found.floor == 4
    rare = torch.tensor([[math.inf] * 3, [5.0, math.inf, math.inf]])
    assert start(rare, [1, 2]).high == 2


def test_the_generator_decides_the_interval():
    one, again = (start(resamples=20, confidence=0.5) for _ in range(2))
    assert (one.low, one.high) == (again.low, again.high)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"losses": LOSSES[0]}, r"losses must have shape \(6, restarts\)"),
        ({"losses": LOSSES[:3]}, r"losses must have shape \(6, restarts\)"),
        ({"losses": LOSSES[:, :0]}, r"losses must have shape \(6, restarts\), not empty"),
        ({"losses": LOSSES * math.nan}, "losses must be floating numbers of at least 0, got NaN"),
        ({"losses": LOSSES / 0}, "losses must hold a finite one"),
        ({"losses": -LOSSES}, "losses must be floating numbers of at least 0"),
        ({"losses": torch.ones(6, 2, dtype=torch.uint8)}, "losses must be floating numbers of at least 0"),
        ({"widths": [1, 2, 3, 4, 8, 6]}, "widths must rise"),
        ({"widths": [0, 2, 3, 4, 6, 8]}, "widths must rise"),
        ({"tolerance": 0.0}, "tolerance must be positive and finite"),
        ({"tolerance": math.inf}, "tolerance must be positive and finite"),
        ({"resamples": 0}, "resamples must be at least 1"),
        ({"confidence": 1.0}, "confidence must lie strictly between 0 and 1"),
    ],
)
def test_wrong_tables_are_refused(changes, message):
    with pytest.raises(ArgumentError, match=message):
        start(**changes)
