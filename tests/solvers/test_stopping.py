import pytest
import torch

from diffstab.errors import ArgumentError
from diffstab.solvers.stopping import StopRule, margin_share


def test_convention_margin_rule():
    rule = StopRule()
    assert (rule.margin_share, rule.margin) == (0.99, 1.0)
    targets = torch.tensor([1.0, -1.0] * 50)
    outputs = targets.clone()
    outputs[:1] = 0.999
    assert margin_share(outputs, targets) == pytest.approx(0.99)
    assert rule.reason(loss=1.0, share=margin_share(outputs, targets), steps=3) == "margin"
    outputs[:2] = 0.0
    assert rule.reason(loss=1.0, share=margin_share(outputs, targets), steps=3) == ""


def test_margins_of_classes():
    outputs = torch.tensor([[3.0, 1.0, 2.5], [0.0, 2.0, 0.5], [1.0, 1.0, 0.0]])
    assert margin_share(outputs, torch.tensor([0, 1, 1])) == pytest.approx(1 / 3)
    assert margin_share(outputs, torch.tensor([0, 1, 1]), 0.5) == pytest.approx(2 / 3)


def test_loss_and_work_end_a_training_too():
    rule = StopRule(margin_share=None, loss_bound=0.1, max_steps=10)
    assert rule.reason(loss=0.1, share=1.0, steps=1) == "loss"
    assert rule.reason(loss=0.2, share=1.0, steps=9) == ""
    assert rule.reason(loss=0.2, share=1.0, steps=10) == "max_steps"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"margin_share": 1.5}, r"margin_share must lie in \(0, 1\]"),
        ({"margin_share": None}, "margin_share or loss_bound must be given"),
        ({"max_steps": 0}, "max_steps must be at least 1"),
    ],
)
def test_bad_rules_are_refused(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        StopRule(**arguments)
