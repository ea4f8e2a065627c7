"""Step sizes and counters of the integrator, on a linear problem."""

import torch

from diffstab.nets import make_loss
from diffstab.solvers.integrator import Cancellation, FlowSettings, integrate, start_counters
from diffstab.solvers.stopping import StopRule


class ExplicitDecay:
    """dy_i/dt = -r_i (y_i - 1) with F = y, and no stiff part: the fast rate alone limits the steps."""

    def __init__(self, rates):
        self.rates = torch.tensor(rates, dtype=torch.float64)
        self.state = torch.tensor([0.0, 0.5], dtype=torch.float64)
        self.origin, self.targets, self.loss = self.state - 1e3, torch.ones_like(self.state), make_loss("mse")

    def at(self, state):
        return state

    def predictor(self, point):
        return point

    def within(self, point, change):
        return self, point

    def rate(self, point):
        return self.rates * (self.targets - point)

    def stiff_solver(self, point, step_size):
        return lambda g: g

    def output_change(self, point, direction):
        return direction

    def cancellation(self, point):
        return Cancellation(1.0, 1.0, 1.0)


def test_few_steps_are_refused_at_the_limit_of_stability():
    problem, steps = ExplicitDecay([1.0, 1e3]), 300
    settings = FlowSettings(output_tolerance=1e-4, stop=StopRule(margin_share=None, loss_bound=1e-30))
    status = integrate(problem, start_counters(settings), settings=settings, steps=steps)
    # An explicit method of four stages is unstable from about 2.8 over the fast rate on.
    assert 1.0e-3 < status.time / steps < 2.8e-3
    assert status.rejected < 0.25 * steps
    assert abs(float(problem.state[0]) - (1 - torch.tensor(-status.time).exp())) < 1e-3


def test_counters_of_a_checkpoint_that_had_fewer_go_on():
    settings = FlowSettings(stop=StopRule(margin_share=None, loss_bound=1e-30))
    counters = {"time": 0.0, "step_size": 1e-3, "steps": 0, "rejected": 0}
    status = integrate(ExplicitDecay([1.0, 2.0]), counters, settings=settings, steps=5)
    assert status.steps == counters["steps"] == 5
