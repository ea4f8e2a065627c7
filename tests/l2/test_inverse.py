"""Pseudo-inverses: NumPy's, a stated tolerance, and the Tikhonov form."""

import numpy as np
import pytest
import torch

from diffstab.errors import ArgumentError
from diffstab.l2 import Inverse


def factor_of(generator, *, rank, rows=5, points=7, smallest=1.0):
    left, _ = torch.linalg.qr(torch.randn(rows, rows, generator=generator, dtype=torch.float64))
    right, _ = torch.linalg.qr(torch.randn(points, rows, generator=generator, dtype=torch.float64))
    values = torch.zeros(rows, dtype=torch.float64)
    values[:rank] = torch.linspace(1, smallest, rank)
    return left * values @ right.T


@pytest.mark.parametrize("rank", [1, 3, 5])
def test_inverses_of_factor_and_gram_are_numpys(rank, generator):
    factor = factor_of(generator, rank=rank, smallest=0.1)
    left = torch.randn(2, 7, generator=generator, dtype=torch.float64)
    expected = left.numpy() @ np.linalg.pinv(factor.numpy(), rcond=1e-12)
    np.testing.assert_allclose(Inverse().times_factor(left, factor).numpy(), expected, atol=1e-12)
    gram = factor.T @ factor
    expected = np.linalg.pinv(gram.numpy(), rcond=1e-12, hermitian=True)
    np.testing.assert_allclose(Inverse().of_gram(gram).numpy(), expected, atol=1e-9)
    projector = factor.numpy().T @ np.linalg.pinv(factor.numpy().T, rcond=1e-12)
    np.testing.assert_allclose(Inverse().row_space(factor).numpy(), projector, atol=1e-12)
    np.testing.assert_allclose(Inverse().image(gram).numpy(), projector, atol=1e-9)


def test_convention_tolerance_is_relative_to_the_largest_singular_value_of_the_factor(generator):
    factor = 100 * factor_of(generator, rank=2, smallest=1e-3)
    for tolerance, rank in ((1e-2, 1), (1e-4, 2)):
        inverse = Inverse(tolerance=tolerance)
        assert float(inverse.row_space(factor).trace()) == pytest.approx(rank)
        assert float(inverse.image(factor.T @ factor).trace()) == pytest.approx(rank)


def test_tikhonov_is_a_plain_inverse(generator):
    factor = factor_of(generator, rank=3)
    gram = factor.T @ factor
    expected = torch.linalg.inv(gram + 0.1 * torch.eye(7).double())
    inverse = Inverse(tikhonov=0.1)
    torch.testing.assert_close(inverse.of_gram(gram), expected)
    left = torch.randn(2, 7, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(inverse.times_factor(left, factor), left @ expected @ factor.T)


def test_zero_has_the_inverse_zero():
    zero = torch.zeros(3, 4, dtype=torch.float64)
    assert Inverse().of_gram(zero.T @ zero).abs().max() == 0
    assert Inverse().times_factor(torch.ones(2, 4).double(), zero).abs().max() == 0
    assert Inverse().row_space(zero).abs().max() == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tolerance": 1.0}, "tolerance must be None or lie in"),
        ({"tolerance": -1e-3}, "tolerance must be None or lie in"),
        ({"tikhonov": -1.0}, "tikhonov must be finite and at least 0"),
        ({"tikhonov": float("inf")}, "tikhonov must be finite and at least 0"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ArgumentError, match=message):
        Inverse(**options)
