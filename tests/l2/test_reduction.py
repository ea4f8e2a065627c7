import pytest
import torch

from diffstab.errors import ArgumentError
from diffstab.l2 import L2Problem, reduced_inputs
from diffstab.l2.network import apply, draw_weights, weight_loss


def spanned(generator, features=7, rank=3, points=5):
    """Inputs (features, points) in a space of `rank` dimensions."""
    left = torch.randn(features, rank, generator=generator, dtype=torch.float64)
    return left @ torch.randn(rank, points, generator=generator, dtype=torch.float64)


def test_reduced_inputs_give_the_inputs_back(generator):
    inputs = spanned(generator)
    reduced, basis = reduced_inputs(inputs)
    assert (reduced.shape, basis.shape) == ((3, 5), (7, 3))
    torch.testing.assert_close(basis @ reduced, inputs)
    torch.testing.assert_close(basis.T @ inputs, reduced)
    torch.testing.assert_close(basis.T @ basis, torch.eye(3, dtype=torch.float64))


@pytest.mark.parametrize("bias", [0.0, 0.7])
def test_a_net_on_the_span_has_the_same_loss_and_a_net_beside_it_a_larger_one(generator, bias):
    inputs = spanned(generator)
    targets = torch.randn(2, 5, generator=generator, dtype=torch.float64)
    whole = L2Problem(inputs, targets, bias=bias, penalty=0.1)
    reduced, basis = reduced_inputs(inputs)
    small = L2Problem(reduced, targets, bias=bias, penalty=0.1)
    first, *others = draw_weights(small, 4, generator=generator)
    lifted = torch.cat([first[:, :3] @ basis.T, first[:, 3:]], dim=1)
    torch.testing.assert_close(weight_loss(whole, [lifted, *others]), weight_loss(small, [first, *others]))
    # Any W_1 is a part on the span and a part outside, which costs and does nothing on the training points.
    beside = torch.randn(4, 7, generator=generator, dtype=torch.float64)
    beside = torch.cat([beside - beside @ basis @ basis.T, torch.zeros_like(first[:, 3:])], dim=1)
    assert weight_loss(whole, [lifted + beside, *others]) > weight_loss(whole, [lifted, *others])
    others_points = spanned(generator, features=7, rank=7)
    torch.testing.assert_close(
        apply(whole, [lifted, *others], others_points),
        apply(small, [first, *others], basis.T @ others_points),
    )


def test_inputs_of_full_rank_stay_as_they_are(generator):
    inputs = torch.randn(4, 9, generator=generator, dtype=torch.float64)
    reduced, basis = reduced_inputs(inputs)
    assert reduced is inputs
    assert torch.equal(basis, torch.eye(4, dtype=torch.float64))


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (torch.ones(3), "inputs must be a floating matrix"),
        (torch.ones(3, 2, dtype=torch.uint8), "inputs must be a floating matrix"),
        (torch.ones(3, 0), "inputs must be a floating matrix"),
        (torch.full((2, 2), torch.nan), "inputs must be finite"),
        (torch.zeros(2, 2), "inputs must not be all zero"),
    ],
)
def test_wrong_inputs_are_refused(inputs, message):
    with pytest.raises(ArgumentError, match=message):
        reduced_inputs(inputs)
