"""Minimisation of many functions at once: each ends where it would alone, kinks included."""

import torch

from diffstab.l2.lbfgs import minimise


def quadratics(generator, count=4, size=6):
    factors = torch.randn(count, size, size, generator=generator, dtype=torch.float64)
    matrices = factors @ factors.mT + 0.1 * torch.eye(size)
    centres = torch.randn(count, size, generator=generator, dtype=torch.float64)

    def evaluate(points, which):
        moved = points - centres[which]
        slopes = (matrices[which] @ moved.unsqueeze(2)).squeeze(2)
        return (moved * slopes).sum(1) / 2, slopes, torch.ones(len(points), dtype=torch.float64)

    return evaluate, centres


def test_quadratics_end_at_their_centres_by_either_method(generator):
    evaluate, centres = quadratics(generator)
    start = torch.zeros_like(centres)
    for memory, steps in ((10, 200), (0, 20_000)):
        found = minimise(evaluate, start, memory=memory, steps=steps, tolerance=1e-9, stall=0)
        torch.testing.assert_close(found.points, centres, rtol=0, atol=1e-7)
        assert (found.stationarity <= 1e-9).all()
        assert start.abs().max() == 0


def test_a_function_ends_where_it_would_alone(generator):
    evaluate, centres = quadratics(generator)
    together = minimise(evaluate, torch.zeros_like(centres), memory=10, steps=30, tolerance=1e-6, stall=0)
    for place in range(len(centres)):

        def alone(points, which, place=place):
            return evaluate(points, torch.full_like(which, place))

        one = minimise(alone, torch.zeros_like(centres[:1]), memory=10, steps=30, tolerance=1e-6, stall=0)
        torch.testing.assert_close(one.points[0], together.points[place], rtol=0, atol=1e-9)
        assert one.steps[0] == together.steps[place]


def test_values_never_rise(generator):
    evaluate, centres = quadratics(generator)
    found = minimise(evaluate, torch.zeros_like(centres), memory=3, steps=60, tolerance=0, stall=0)
    values = torch.stack([values for _, values in found.history])
    assert (values.diff(dim=0) <= 0).all()


def test_a_function_with_a_kink_is_brought_near_its_minimum():
    def evaluate(points, which):
        x, y = points.T
        value = 5 * (x - y * y).abs() + (1 - y) ** 2
        sign = torch.sign(x - y * y)
        gradient = torch.stack([5 * sign, -10 * sign * y - 2 * (1 - y)], dim=1)
        return value, gradient, torch.ones_like(value)

    start = torch.tensor([[-1.0, 2.0], [0.3, -1.0]], dtype=torch.float64)
    found = minimise(evaluate, start, memory=10, steps=500, tolerance=1e-12, stall=0)
    assert (found.values < 1e-4).all()


def test_a_start_at_the_minimum_stays():
    def evaluate(points, which):
        return points.square().sum(1), 2 * points, torch.ones(len(points), dtype=points.dtype)

    found = minimise(evaluate, torch.zeros(2, 3).double(), memory=5, steps=10, tolerance=1e-9, stall=0)
    assert found.points.abs().max() == 0
    assert found.stationarity.max() == 0
