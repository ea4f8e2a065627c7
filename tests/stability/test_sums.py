import pytest
import torch

from diffstab.errors import ArgumentError
from diffstab.stability import stability, stability_sums
from diffstab.stability.sums import joined_sums

RATIOS = ("deformation", "noise", "relative")


def outputs(generator, count=60, features=3, offset=0.0):
    f = offset + torch.randn(count, features, generator=generator, dtype=torch.float64)
    return (
        f,
        f + 0.3 * torch.randn(f.shape, generator=generator),
        f + 0.5 * torch.randn(f.shape, generator=generator),
    )


def take(parts, indices):
    return [part[indices] for part in parts]


def floats(numbers):
    return [float(x) for x in numbers]


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 1, 0, 2]])
def test_merged_sums_are_those_of_the_whole_whatever_their_shifts(generator, order):
    parts = outputs(generator, offset=1e6)
    cuts = [range(1), range(1, 20), range(20, 55), range(55, 60)]
    first, *rest = [stability_sums(*take(parts, list(cuts[i]))) for i in order]
    for other in rest:
        first = first.merged(other)
    whole = stability_sums(*parts)
    assert first.images == whole.images == 60
    # outputs at 1e6 round to 1e-10, and so do their means
    assert floats(first.stability()) == pytest.approx(floats(whole.stability()), rel=1e-9)
    assert float(first.spread.sum()) == pytest.approx(float(whole.spread.sum()), rel=1e-9)


def test_joined_sums_of_one_shift_are_those_of_the_whole_to_round_off(generator):
    parts = outputs(generator)
    first = stability_sums(*take(parts, list(range(7))))
    second = stability_sums(*take(parts, list(range(7, 60))), shift=first.shift)
    joined = joined_sums([first, second])
    assert floats(joined.stability()) == pytest.approx(floats(stability(*parts)), rel=1e-12)
    exact = (parts[0] - first.shift).square().sum(dim=1)
    assert torch.allclose(joined.per_image[:, 2], exact, rtol=1e-13)


@pytest.mark.parametrize("batch", [4, 16])
def test_the_spread_of_an_image_misses_four_over_the_first_batch_of_its_variance(batch):
    # Normal outputs of F features: |f - m|^2 varies by 2 F, 2 (f - a).(a - m) by 4 F / B.
    generator = torch.Generator().manual_seed(0)
    missed, features, repetitions = 0.0, 4, 200
    for _ in range(repetitions):
        f = torch.randn(400, features, generator=generator, dtype=torch.float64)
        first = f[:batch].mean(dim=0)
        spread = stability_sums(f, f, f, shift=first).spread
        missed += float((spread - (f - f.mean(dim=0)).square().sum(dim=1)).square().mean()) / repetitions
    expected = 4 * features * (1 / batch - 1 / 400)
    # |a - m|^2 is chi-squared of F degrees of freedom: relative deviation sqrt(2 / F) each time
    assert missed == pytest.approx(expected, rel=4 * (2 / features / repetitions) ** 0.5)


def test_ratios_are_nan_where_the_predictor_is_constant_and_numerators_stay():
    f = torch.full((5, 2), 0.1)
    result = stability_sums(f, f + 1, f + 2).ratios()
    assert (float(result.deformation_numerator), float(result.denominator)) == (pytest.approx(2), 0)
    assert all(bool(getattr(result, name).isnan()) for name in RATIOS)


def test_one_image_has_numerators_alone():
    result = stability_sums(torch.zeros(1, 2), torch.ones(1, 2), torch.ones(1, 2)).ratios()
    assert float(result.noise_numerator) == 2
    assert bool(result.relative.isnan())


def test_a_shift_of_other_length_is_refused():
    f = torch.zeros(3, 2)
    with pytest.raises(ArgumentError, match="f_clean must have 1 features like the batches before, got 2"):
        stability_sums(f, f, f, shift=torch.zeros(1, dtype=torch.float64))
