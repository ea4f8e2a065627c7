"""Attacks in the coefficients of a field: the optimum on a ramp, and certified <= attacked <= random accuracy."""

import math

import pytest
import torch
from torch import nn

from diffstab.errors import ArgumentError
from diffstab.stability import AttackSettings, Ballots, CertifySettings, WhitenedSpan, attack, certify
from tests.references.ramps import ramp_problem

SIDE, DELTA_PX = 16, 0.5


@pytest.fixture
def images(generator):
    return torch.rand(4, 1, 8, 8, generator=generator)


@pytest.fixture
def net():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 3))
    with torch.no_grad():
        net[3].bias -= net(torch.full((1, 1, 8, 8), 0.5))[0]  # no class wins everywhere
    return net


@pytest.fixture
def problem(generator):
    weights = torch.randn(SIDE**2, generator=generator, dtype=torch.float64)
    return ramp_problem(weights, side=SIDE, delta_px=DELTA_PX, radius=1.0)


def accuracies(shares):
    return [share.value for share in shares]


@pytest.mark.parametrize("smoothed", [True, False])
def test_the_worst_field_on_a_ramp_is_found(problem, smoothed):
    """Straight against the effect of the coordinates: it wins just beyond the exact radius, and not before it."""
    settings = CertifySettings(delta_px=DELTA_PX, draws=4000, batch_size=4000)
    search = AttackSettings((0.9, 1.1), steps=8, restarts=2, draws=16, smoothed=smoothed)
    found = attack(problem, problem.ramp, torch.tensor([1]), settings, search=search)
    span = WhitenedSpan((SIDE, SIDE), delta_px=DELTA_PX, cutoff=3)
    whitened = span.whitened(found.fields)[:, 0]
    assert whitened.norm(dim=1).tolist() == pytest.approx([0.9, 1.1])
    alignment = -whitened[:, :6] @ problem.effect / (problem.effect.norm() * whitened.norm(dim=1))
    assert alignment.min() > 0.99
    assert accuracies(found.attacked_accuracy()) == [1, 0]
    if not smoothed:
        assert found.attacked_accuracy()[1] == (0, 0, 0)


def test_votes_under_the_found_field_are_those_of_the_closed_form(problem):
    settings = CertifySettings(delta_px=DELTA_PX, draws=4000, batch_size=4000)
    found = attack(problem, problem.ramp, torch.tensor([1]), settings, search=AttackSettings((0.7,), steps=8))
    effect = float(problem.effect.norm())
    share = 0.5 * (1 + math.erf((problem.margin - 0.7 * effect) / effect / math.sqrt(2)))
    assert int(found.found.right) == pytest.approx(4000 * share, abs=5 * math.sqrt(1000))
    assert torch.equal(found.found.right + found.found.other, torch.tensor([[4000]]))


def test_certified_attacked_random(net, images):
    settings = CertifySettings(delta_px=0.6, draws=300, selection_draws=50)
    proved = certify(net, images, settings)
    search = AttackSettings((0.3, 0.9, 1.8, 3.6), steps=5, restarts=2, draws=8)
    found = attack(net, images, proved.classes, settings, search=search)
    certified = [proved.accuracy(proved.classes, norm).value for norm in found.norms]
    attacked, random = accuracies(found.attacked_accuracy()), accuracies(found.random_accuracy())
    for low, middle, high in zip(certified, attacked, random, strict=True):
        assert low <= middle <= high
    assert torch.equal(found.clean.right, proved.votes)  # the same draws
    assert attacked == sorted(attacked, reverse=True)
    for share in (*found.attacked_accuracy(), *found.random_accuracy()):
        assert 0 <= share.low <= share.value <= share.high <= 1


def test_an_attack_finds_more_than_chance(net, images):
    """Without smoothing the attack on f itself is exact, and stronger than a random field of the same norm."""
    many = images.repeat(8, 1, 1, 1) + 0.01 * torch.arange(32).view(32, 1, 1, 1)
    labels = net(many).argmax(1)
    search = AttackSettings((1.0, 3.0), steps=10, restarts=2, smoothed=False)
    found = attack(net, many, labels, CertifySettings(delta_px=0.6), search=search)
    assert bool(found.clean.is_right.all())
    assert sum(accuracies(found.attacked_accuracy())) < sum(accuracies(found.random_accuracy()))


def test_batches_change_nothing(net, images):
    labels = torch.tensor([0, 1, 2, 0])
    search = AttackSettings((1.0,), steps=2, restarts=2, draws=4)
    model = net.double()
    whole, part = (
        attack(model, images.double(), labels, CertifySettings(draws=100, batch_size=size), search=search)
        for size in (1000, 9)
    )
    torch.testing.assert_close(whole.fields, part.fields, rtol=1e-9, atol=1e-12)
    assert torch.equal(whole.found.right, part.found.right)
    alone = attack(
        model, images[1:2].double(), labels[1:2], CertifySettings(draws=100), search=search, numbers=[1]
    )
    torch.testing.assert_close(whole.fields[:, 1:2], alone.fields, rtol=1e-9, atol=1e-12)


def test_the_model_is_left_alone_and_works_without_gradients_around(net, images):
    net.train()
    with torch.no_grad():
        attack(
            net,
            images,
            torch.zeros(4, dtype=torch.int64),
            CertifySettings(draws=9),
            search=AttackSettings((1.0,)),
        )
    assert net.training
    assert all(one.grad is None and one.requires_grad for one in net.parameters())


def test_bounds_of_an_accuracy_leave_open_what_the_draws_do():
    found = Ballots(torch.tensor([990, 505, 300, 10]), torch.tensor([10, 495, 280, 990]), 1000).accuracy(
        0.001
    )
    assert found == (0.75, 0.25, 0.75)
    exact = Ballots(torch.tensor([1, 0]), torch.tensor([0, 1]), None).accuracy(0.001)
    assert exact == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"norms": ()}, "norms must be finite, > 0 and rising"),
        ({"norms": (1.0, 1.0)}, "norms must be finite, > 0 and rising"),
        ({"norms": (0.0, 1.0)}, "norms must be finite, > 0 and rising"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"restarts": 0}, "restarts must be at least 1"),
        ({"draws": 0}, "draws must be at least 1"),
    ],
)
def test_bad_settings_are_refused(options, match):
    with pytest.raises(ArgumentError, match=match):
        AttackSettings(**options)


def test_bad_inputs_are_refused(net, images):
    settings, search = CertifySettings(draws=5), AttackSettings((1.0,), steps=1)
    zeros = torch.zeros(4, dtype=torch.int64)
    with pytest.raises(ArgumentError, match="labels must be whole numbers, one for each of 4"):
        attack(net, images, zeros[:2], settings, search=search)
    with pytest.raises(ArgumentError, match="labels must lie from 0 to 2"):
        attack(net, images, zeros + 3, settings, search=search)
    with pytest.raises(ArgumentError, match="model must be differentiable"):
        attack(lambda x: net(x).detach(), images, zeros, settings, search=search)
