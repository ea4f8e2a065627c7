import math

import pytest
import torch

from diffstab import sparsity
from diffstab.errors import ArgumentError, DegenerateError
from tests.references.sparsity import carrying_by_loops, masses_by_loops, top_eigenvalue_by_powers

ROUND_OFF = 1e-12  # a few hundred terms in float64
NUMBERS = (
    sparsity.participation_ratio,
    sparsity.entropy_number,
    sparsity.number_carrying,
    sparsity.number_above,
)


def positive(generator, count):
    return torch.rand(count, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_masses_are_those_of_the_loops(random_layer, outputs, dtype):
    theta, weights_out, _ = random_layer(9, 4, 1, outputs, dtype)
    found = sparsity.mass(theta, weights_out)
    assert found.dtype == torch.float64
    assert found.tolist() == pytest.approx(
        masses_by_loops(theta.tolist(), weights_out.tolist()), rel=ROUND_OFF
    )
    if outputs == 1:
        assert torch.equal(sparsity.mass(theta, weights_out[0]), found)


def test_masses_ignore_how_a_homogeneous_neuron_shares_its_norm(random_layer, generator):
    theta, weights_out, _ = random_layer(50, 6, 1)
    scale = 0.1 + positive(generator, 50)
    assert sparsity.mass(theta * scale[:, None], weights_out / scale).tolist() == pytest.approx(
        sparsity.mass(theta, weights_out).tolist(), rel=ROUND_OFF
    )


@pytest.mark.parametrize("number", NUMBERS)
def test_equal_masses_count_each_and_a_single_one_counts_one(number):
    assert number(torch.full((50,), 0.3)) == pytest.approx(50, rel=ROUND_OFF)
    assert number(torch.tensor([0.0, 2.0, 0.0])) == pytest.approx(1, rel=ROUND_OFF)
    assert number(torch.tensor([2.0])) == pytest.approx(1, rel=ROUND_OFF)


@pytest.mark.parametrize("scale", [1e-300, 1e-3, 1e300])
@pytest.mark.parametrize("number", NUMBERS)
def test_numbers_depend_on_shares_alone(generator, number, scale):
    masses = positive(generator, 40)
    shuffled = masses[torch.randperm(40, generator=generator)]
    assert number(scale * shuffled) == pytest.approx(number(masses), rel=ROUND_OFF)


def test_effective_numbers_are_those_of_sums(generator):
    masses = positive(generator, 30)
    values = masses.tolist()
    total = math.fsum(values)
    entropy = -math.fsum(v / total * math.log(v / total) for v in values)
    assert sparsity.participation_ratio(masses) == pytest.approx(
        total**2 / math.fsum(v * v for v in values), rel=ROUND_OFF
    )
    assert sparsity.entropy_number(masses) == pytest.approx(math.exp(entropy), rel=ROUND_OFF)
    # Renyi entropies fall with their order.
    assert sparsity.participation_ratio(masses) < sparsity.entropy_number(masses) < 30


def test_gaussian_net_has_an_effective_share_of_two_over_pi(random_layer):
    # Large d: |theta| is constant and m half-normal, E[m]^2 / E[m^2] = 2 / pi; relative error about 1 / sqrt(H).
    theta, weights_out, _ = random_layer(20_000, 100, 1)
    assert sparsity.participation_ratio(sparsity.mass(theta, weights_out)) / 20_000 == pytest.approx(
        2 / math.pi, rel=0.02
    )


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_number_carrying_is_that_of_the_loops(generator, share):
    masses = positive(generator, 60) ** 6
    assert sparsity.number_carrying(masses, share=share) == carrying_by_loops(masses.tolist(), share)


def test_convention_all_of_the_mass_leaves_massless_neurons_out():
    masses = torch.tensor([0.0, 1.0, 0.5, 0.0, 1e-3])
    assert sparsity.number_carrying(masses, share=1.0) == 3
    assert sparsity.number_above(masses, relative_threshold=0.0) == 3
    assert sparsity.number_above(masses, relative_threshold=1e-2) == 2


def test_stable_rank_is_frobenius_over_power_method(random_layer):
    matrix = random_layer(8, 5, 1).theta
    gram = matrix.T @ matrix
    expected = float(gram.trace()) / top_eigenvalue_by_powers(gram.tolist())
    assert sparsity.stable_rank(matrix) == pytest.approx(expected, rel=1e-9)
    assert sparsity.stable_rank(3 * matrix.T) == pytest.approx(expected, rel=1e-9)


def test_spectrum_of_known_matrices(random_layer):
    rotation = torch.linalg.qr(random_layer(6, 6, 1).theta).Q
    matrix = rotation @ torch.diag(torch.tensor([4.0, 2.0, 2.0, 0.0, 0.0, 0.0], dtype=torch.float64))
    assert sparsity.singular_values(matrix).tolist() == pytest.approx([4, 2, 2, 0, 0, 0], abs=ROUND_OFF)
    assert sparsity.stable_rank(matrix) == pytest.approx(24 / 16, rel=ROUND_OFF)
    assert sparsity.stable_rank(rotation) == pytest.approx(6, rel=ROUND_OFF)
    assert sparsity.numerical_rank(matrix) == 3
    assert sparsity.numerical_rank(matrix, relative_tolerance=0.6) == 1
    assert sparsity.numerical_rank(torch.zeros(3, 2)) == 0


def test_wide_gaussian_weights_have_the_stable_rank_of_random_matrices(random_layer):
    # |W|_op^2 -> (sqrt(H) + sqrt(d))^2, fluctuations of relative order n^(-2/3).
    assert sparsity.stable_rank(random_layer(800, 400, 1).theta) == pytest.approx(
        800 * 400 / (math.sqrt(800) + math.sqrt(400)) ** 2, rel=0.03
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sigma_rank_of_copies_is_their_number(random_layer, dtype):
    theta, _, x = random_layer(4, 30, 25)
    copies = torch.cat([theta, 2 * theta, 0.5 * theta, torch.zeros_like(theta)])
    z = (x @ copies.T).to(dtype)
    found = sparsity.sigma_rank(z, z.relu())
    assert found == (4, 4)
    assert found.lower_bound == 4


def test_sigma_rank_takes_the_larger_of_the_two(random_layer):
    theta, _, x = random_layer(40, 2, 25)
    z = x @ theta.T
    found = sparsity.sigma_rank(z, z.relu())
    assert found.preactivations == 2
    assert found.lower_bound == found.activations > 10


@pytest.mark.parametrize("number", NUMBERS)
def test_massless_layers_have_no_number(number):
    with pytest.raises(DegenerateError, match="zero mass"):
        number(torch.zeros(3))


def test_zero_matrix_has_no_stable_rank():
    with pytest.raises(DegenerateError, match="stable rank of a zero matrix"):
        sparsity.stable_rank(torch.zeros(2, 2))


@pytest.mark.parametrize(
    ("masses", "message"),
    [
        (torch.tensor([1.0, math.nan]), "masses must be finite, got NaN or infinity"),
        (torch.tensor([1.0, math.inf]), "masses must be finite"),
        (torch.tensor([1.0, -0.5]), r"masses must be non-negative, got -0.5\. Take \|w\|"),
        (torch.tensor([1, 2], dtype=torch.uint8), "masses must be of a floating type, got torch.uint8"),
        (torch.ones(2, 1), r"masses must have shape \(H,\), not empty, got \(2, 1\)"),
        (torch.ones(0), r"masses must have shape \(H,\), not empty, got \(0,\)"),
    ],
)
def test_masses_are_checked(masses, message):
    with pytest.raises(ArgumentError, match=message):
        sparsity.participation_ratio(masses)


@pytest.mark.parametrize(
    ("theta", "weights_out", "message"),
    [
        (torch.ones(3), torch.ones(3), r"theta must be a matrix .* got shape \(3,\)"),
        (torch.ones(3, 2), torch.ones(2), r"weights_out must be a matrix of 3 columns, .* shape \(1, 2\)"),
        (torch.full((3, 2), math.nan), torch.ones(3), "theta must be finite"),
        (torch.ones(3, 2, dtype=torch.uint8), torch.ones(3), "theta must be of a floating type"),
        (torch.ones(3, 2), torch.full((3,), math.inf), "weights_out must be finite"),
    ],
)
def test_weights_are_checked(theta, weights_out, message):
    with pytest.raises(ArgumentError, match=message):
        sparsity.mass(theta, weights_out)


def test_settings_are_checked():
    ones = torch.ones(3)
    for share in (0.0, 1.1):
        with pytest.raises(ArgumentError, match=r"share must lie in \(0, 1\]"):
            sparsity.number_carrying(ones, share=share)
    with pytest.raises(ArgumentError, match=r"relative_threshold must lie in \[0, 1\)"):
        sparsity.number_above(ones, relative_threshold=1.0)
    with pytest.raises(ArgumentError, match=r"relative_tolerance must lie in \(0, 1\)"):
        sparsity.numerical_rank(torch.eye(2), relative_tolerance=0.0)
    with pytest.raises(ArgumentError, match="preactivations and activations must have one shape"):
        sparsity.sigma_rank(torch.ones(2, 3), torch.ones(2, 2))


def test_convention_atoms_that_carry_mass():
    assert sparsity.number_carrying(torch.tensor([0.98, 0.015, 0.005])) == 2
    assert sparsity.number_carrying(torch.tensor([0.991, 0.009])) == 1
