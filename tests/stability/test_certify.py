"""Certificates of stability: exact on ramps, where the bound is tight, and wrong certificates are caught there."""

import math

import pytest
import torch
from torch import nn

from diffstab.diffeo import draw_coefficients, warp_by_coefficients
from diffstab.errors import ArgumentError, UnsteadyPredictorWarning
from diffstab.stability import CertifySettings, WhitenedSpan, certificates, certify, share_bounds
from diffstab.stability.certify_fields import FieldWarp
from diffstab.streams import stream
from tests.references.ramps import CUTOFF, MODES, effects_of_pixels, ramp_of, ramp_problem

SIDE, DELTA_PX, TRIES = 16, 0.5, 10_000


def normal_share(value):
    return 0.5 * (1 + math.erf(value / math.sqrt(2)))


@pytest.fixture
def images(generator):
    return torch.rand(3, 1, 8, 8, generator=generator)


@pytest.fixture
def net():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 4))


@pytest.fixture
def problem(generator):
    """The classifier on a ramp, with its majority lost at norm 1."""
    weights = torch.randn(SIDE**2, generator=generator, dtype=torch.float64)
    return ramp_problem(weights, side=SIDE, delta_px=DELTA_PX, radius=1.0)


@pytest.mark.parametrize("count", [0, 1, 37, 49, 50])
def test_bounds_are_those_at_which_the_tail_weighs_alpha(count):
    draws, alpha = 50, 0.01
    low, high = (float(one) for one in share_bounds(torch.tensor(count), draws, alpha))

    def weight(share, counts):
        return sum(math.comb(draws, k) * share**k * (1 - share) ** (draws - k) for k in counts)

    if count == 0:
        assert low == 0
    else:
        assert weight(low, range(count, draws + 1)) == pytest.approx(alpha, rel=1e-9)
    if count == draws:
        assert high == 1
    else:
        assert weight(high, range(count + 1)) == pytest.approx(alpha, rel=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_many_fields_on_an_image_are_the_warp_of_the_house(generator, dtype):
    images = torch.rand(2, 3, 12, 9, generator=generator, dtype=dtype)
    span = WhitenedSpan((12, 9), delta_px=1.0, cutoff=3)
    whitened = torch.randn(2, 5, span.dimension, generator=generator, dtype=torch.float64)
    found = FieldWarp(span, like=images)(images, whitened)
    expected = warp_by_coefficients(images.repeat_interleave(5, 0), span.coefficients(whitened).flatten(0, 1))
    assert found.dtype == dtype
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 if dtype == torch.float32 else 1e-13)


def test_its_gradient_is_the_difference_quotient(generator):
    images = torch.rand(1, 1, 6, 7, generator=generator, dtype=torch.float64)
    span = WhitenedSpan((6, 7), delta_px=0.3, cutoff=2)
    whitened = torch.randn(1, 2, span.dimension, generator=generator, dtype=torch.float64)
    warping = FieldWarp(span, like=images)
    assert torch.autograd.gradcheck(lambda z: warping(images, z), whitened.requires_grad_(), atol=1e-6)


def test_the_norm_is_the_energy_of_the_contract(generator):
    span = WhitenedSpan((20, 20), delta_px=1.0, cutoff=3)
    temperature = 4 / (math.pi * 20**2 * math.log(3))
    drawn = draw_coefficients(4000, 3, temperature=temperature, generator=generator, dtype=torch.float64)
    energy = sum((i**2 + j**2) * drawn[:, :, i - 1, j - 1].square().sum(1) for i, j in MODES) / temperature
    whitened = span.whitened(drawn)
    assert whitened.shape == (4000, 12) == (4000, span.dimension)
    torch.testing.assert_close(whitened.square().sum(1), energy)
    torch.testing.assert_close(span.coefficients(whitened), drawn)
    # Chi-squared with 12 degrees of freedom: variance 24.
    assert float(energy.mean()) == pytest.approx(12, abs=5 * math.sqrt(24 / 4000))


def test_the_radius_on_a_ramp_is_the_exact_one(problem):
    settings = CertifySettings(delta_px=DELTA_PX, sigma=1.0, draws=8000, batch_size=4000)
    found = certify(problem, problem.ramp, settings)
    assert int(found.classes) == 1
    # The share of the class is Phi(radius / sigma); a bound lies some standard errors below it.
    share = normal_share(problem.radius)
    assert int(found.votes) == pytest.approx(8000 * share, abs=5 * math.sqrt(8000 * share * (1 - share)))
    assert problem.radius - 0.15 < float(found.radii) < problem.radius < float(found.most)


def test_no_field_of_many_beats_the_certificate_of_a_ramp(problem, generator):
    settings = CertifySettings(delta_px=DELTA_PX, draws=2000)
    radius = float(certify(problem, problem.ramp, settings).radii)
    fields = nn.functional.normalize(torch.randn(TRIES, 6, generator=generator, dtype=torch.float64), dim=1)
    fields[0] = -problem.effect / problem.effect.norm()  # the worst there is
    # The score is normal around this: the majority is lost where it is negative.
    scores = problem.margin + radius * fields @ problem.effect
    assert scores.min() > 0
    assert problem.margin + 1.01 * problem.radius * float(fields[0] @ problem.effect) < 0


def test_the_closed_form_is_what_the_warp_does(problem, generator):
    span = WhitenedSpan((SIDE, SIDE), delta_px=DELTA_PX, cutoff=CUTOFF)
    whitened = torch.randn(50, 12, generator=generator, dtype=torch.float64)
    versions = warp_by_coefficients(problem.ramp.expand(50, -1, -1, -1), span.coefficients(whitened))
    torch.testing.assert_close(problem(versions), problem.margin + whitened[:, :6] @ problem.effect)


def test_a_certificate_in_an_unwhitened_norm_is_caught(generator):
    """Claimed: h is constant for sum |C|^2 / (T mean variance) < (sigma Phi^-1(p))^2. The worst such field beats it."""
    deviations = torch.tensor([1 / math.sqrt(i**2 + j**2) for i, j in MODES], dtype=torch.float64)
    rows = effects_of_pixels(SIDE, DELTA_PX)
    wanted = torch.tensor([0.0, 0.0, 1.0, 0.0, 0.0, 0.0], dtype=torch.float64)  # mode (1, 3) alone
    weights = torch.linalg.lstsq(rows, wanted[:, None], driver="gelsd").solution[:, 0]
    problem = ramp_problem(weights, side=SIDE, delta_px=DELTA_PX, radius=1.0)
    radius = float(certify(problem, problem.ramp, CertifySettings(delta_px=DELTA_PX)).radii)
    claimed = (
        radius * deviations.square().mean().sqrt() / deviations
    )  # half-axes of the claimed set, whitened
    worst = -claimed.square() * problem.effect / (claimed * problem.effect).norm()
    assert float((worst * deviations).norm()) == pytest.approx(
        radius * float(deviations.square().mean().sqrt())
    )
    assert problem.margin + float(worst @ problem.effect) < -0.1 * problem.margin
    within = worst * radius / worst.norm()
    assert problem.margin + float(within @ problem.effect) > 0


def test_a_certificate_of_composed_warps_is_caught(generator):
    """Claimed: h(warp(warp(x, u), xi)) is constant for |u| below the radius. Seeing u moved beats it."""
    span = WhitenedSpan((SIDE, SIDE), delta_px=1.0, cutoff=CUTOFF)
    ramp = ramp_of(SIDE)

    def composed(field, noise):
        first = warp_by_coefficients(ramp, span.coefficients(field[None]))
        return warp_by_coefficients(first.expand(len(noise), -1, -1, -1), span.coefficients(noise))

    noise = torch.randn(4400, 12, generator=generator, dtype=torch.float64)
    units = torch.eye(12, dtype=torch.float64)[:6]
    moved = [
        (composed(one, noise[:400]) - composed(-one, noise[:400])).mean((0, 1)).flatten() / 2 for one in units
    ]
    single, double = effects_of_pixels(SIDE, 1.0), torch.stack(moved)
    # Pixel weights of which two warps make more than one does: the largest ratio of the two effects.
    plain = single.T @ single
    plain += 0.01 * plain.diagonal().mean() * torch.eye(SIDE**2, dtype=torch.float64)
    root = torch.linalg.cholesky(plain)
    ratio = torch.linalg.solve_triangular(root, double.T, upper=False)
    weights = torch.linalg.solve_triangular(root.T, torch.linalg.svd(ratio).U[:, :1], upper=True)[:, 0]
    problem = ramp_problem(weights, side=SIDE, delta_px=1.0, radius=1.0)
    radius = float(certify(problem, ramp, CertifySettings()).radii)
    effect = double @ weights
    field = torch.zeros(12, dtype=torch.float64)
    field[:6] = -0.99 * radius * effect / effect.norm()
    error = 0.5 / math.sqrt(4000)
    kept = (problem(composed(field, noise[400:])) > 0).double().mean()
    assert kept < 0.5 - 5 * error
    added = span.coefficients(field + noise[400:])
    true = (problem(warp_by_coefficients(ramp.expand(4000, -1, -1, -1), added)) > 0).double().mean()
    assert true > 0.5 - 3 * error


def test_radii_are_wrong_as_rarely_as_alpha_says(problem):
    settings = CertifySettings(delta_px=DELTA_PX, draws=50, selection_draws=1, alpha=0.1)
    found = certify(problem, problem.ramp.expand(300, -1, -1, -1), settings)
    wrong = float(((found.radii > problem.radius) & (found.classes == 1)).double().mean())
    assert wrong < 0.1 + 4 * math.sqrt(0.09 / 300)
    assert wrong > 0.01  # a bound that never errs is not tight


def test_neither_batches_nor_company_change_a_vote(problem):
    ramps = problem.ramp.expand(3, -1, -1, -1)

    def votes(images=ramps, numbers=None, **options):
        settings = CertifySettings(delta_px=DELTA_PX, draws=300, **options)
        return certify(problem, images, settings, numbers=numbers).votes

    whole = votes()
    assert len(whole.unique()) == 3  # each number has draws of its own
    for size in (7, 299):
        assert torch.equal(votes(batch_size=size), whole)
    assert torch.equal(votes(ramps[2:], [2]), whole[2:])
    assert not torch.equal(votes(seed=1), whole)


def test_more_draws_go_on_from_the_first_ones(problem):
    def votes(draws):
        return int(certify(problem, problem.ramp, CertifySettings(delta_px=DELTA_PX, draws=draws)).votes)

    assert 0 <= votes(400) - votes(300) <= 100


def test_two_thousand_draws_cap_the_radius_at_2_7_sigma():
    found = certificates(torch.zeros(1, dtype=torch.int64), torch.tensor([2000]), CertifySettings(sigma=2.0))
    assert float(found.radii) == pytest.approx(2 * 2.70, abs=0.01)
    assert math.isinf(float(found.most))


def test_accuracy_counts_what_is_right_and_certified():
    settings = CertifySettings(draws=1000)
    found = certificates(torch.tensor([3, 3, 1, 0]), torch.tensor([1000, 800, 1000, 505]), settings)
    assert found.abstained.tolist() == [False, False, False, True]
    labels = torch.tensor([3, 3, 2, 0])
    assert found.accuracy(labels, 0.0) == (0.5, 0.5, 0.75)
    assert found.accuracy(labels, 0.5).value == 0.5
    assert found.accuracy(labels, 1.0) == (0.25, 0.25, 0.25)


def test_two_classes_may_have_one_score(net, images):
    weights = torch.linspace(-1, 1, 64)
    one = certify(lambda x: x.flatten(1) @ weights, images, CertifySettings(draws=50))
    column = certify(lambda x: x.flatten(1) @ weights[:, None], images, CertifySettings(draws=50))
    two = certify(
        lambda x: torch.stack([-x.flatten(1) @ weights, x.flatten(1) @ weights], 1),
        images,
        CertifySettings(draws=50),
    )
    for other in (column, two):
        assert torch.equal(one.classes, other.classes)
        assert torch.equal(one.votes, other.votes)


def test_scores_of_half_precision_count(net, images):
    whole = certify(net, images, CertifySettings(draws=50))
    half = certify(lambda x: net(x).bfloat16(), images, CertifySettings(draws=50))
    assert torch.equal(half.classes, whole.classes)


def test_the_model_comes_back_as_it_was(net, images):
    model = nn.Sequential(nn.BatchNorm2d(1), nn.Dropout(0.5), net).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    certify(model, images, CertifySettings(draws=20))
    assert all(module.training for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_what_depends_on_the_batch_or_on_chance_is_told(net, images):
    generator = stream(0, "noise of a test")
    with pytest.warns(
        UnsteadyPredictorWarning, match="other images of the batch: the certificate does not hold"
    ):
        certify(lambda x: net(x - x.mean()) * x.std(), images, CertifySettings(draws=20))
    with pytest.warns(UnsteadyPredictorWarning, match="between two calls"):
        certify(lambda x: torch.randn(len(x), 3, generator=generator), images, CertifySettings(draws=20))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"sigma": 0.0}, "sigma must be finite and > 0"),
        ({"delta_px": math.inf}, "delta_px must be finite and > 0"),
        ({"alpha": 0.5}, "alpha must lie between 0 and 1/2"),
        ({"draws": 0}, "draws must be at least 1"),
        ({"selection_draws": 0}, "selection_draws must be at least 1"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"cutoff": 1}, "cutoff must be an integer of at least 2"),
    ],
)
def test_bad_settings_are_refused(options, match):
    with pytest.raises(ArgumentError, match=match):
        CertifySettings(**options)


def test_bad_inputs_are_refused(net, images):
    few = CertifySettings(draws=5)
    with pytest.raises(ArgumentError, match="images must have shape"):
        certify(net, images[0], few)
    with pytest.raises(ArgumentError, match="images must be one at least"):
        certify(net, images[:0], few)
    with pytest.raises(ArgumentError, match="numbers must be different integers"):
        certify(net, images, few, numbers=[0, 0, 1])
    with pytest.raises(ArgumentError, match="model must return scores"):
        certify(lambda x: x, images, few)
    with pytest.raises(ArgumentError, match="model must return finite scores"):
        certify(lambda x: x.flatten(1) * math.nan, images, few)
    with pytest.raises(ArgumentError, match="model must be a module"):
        certify("net", images, few)
    with pytest.raises(ArgumentError, match="votes must have shape"):
        certificates(torch.zeros(2), torch.zeros(3), few)
