"""Nets of falling width, each started from the next wider one."""

import dataclasses

import pytest
import torch

from diffstab.errors import ArgumentError
from diffstab.l2 import L2Problem
from diffstab.l2.continuation import train_shrinking
from diffstab.l2.descent import DescentSettings, train_widths
from diffstab.l2.network import weight_loss

SETTINGS = DescentSettings(adam_steps=2000, finish_steps=100)


def one_hot():
    """Eight points of two classes: two neurons do what any number of them does."""
    targets = torch.nn.functional.one_hot(torch.arange(8) % 2).T.double()
    return L2Problem(torch.eye(8).double(), targets, penalty=1e-3)


def test_the_minimum_of_a_wide_net_is_carried_to_the_start_of_the_plateau():
    problem = one_hot()
    wide, middle, narrow, single = train_shrinking(
        problem, [2, 12, 5, 1], restarts=1, seed=0, settings=SETTINGS
    )
    assert [run.hidden for run in (wide, middle, narrow, single)] == [(12,), (5,), (2,), (1,)]
    assert middle.loss == pytest.approx(wide.loss, rel=1e-3)
    assert narrow.loss == pytest.approx(wide.loss, rel=1e-3)
    assert single.loss > 2 * wide.loss
    for run in (wide, middle, narrow, single):
        assert run.loss == pytest.approx(float(weight_loss(problem, run.weights)), rel=1e-12)


def test_the_widest_is_the_best_of_its_restarts():
    problem = one_hot()
    runs = train_widths(problem, [6], restarts=3, seed=0, settings=SETTINGS)
    best = min(runs, key=lambda run: run.loss)
    found = train_shrinking(problem, [6], restarts=3, seed=0, settings=SETTINGS)
    assert [(run.loss, run.restart) for run in found] == [(best.loss, 0)]


def test_what_cannot_shrink_is_refused():
    problem = one_hot()
    with pytest.raises(ArgumentError, match="activation must be relu or linear to merge neurons"):
        train_shrinking(dataclasses.replace(problem, activation="softplus"), [2], restarts=1, seed=0)
    for widths in ([], [2, 2]):
        with pytest.raises(ArgumentError, match="widths must be different ones"):
            train_shrinking(problem, widths, restarts=1, seed=0)
