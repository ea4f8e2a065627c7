import math

import numpy as np
import pytest
import torch

from diffstab.diffeo import mode_variances
from diffstab.errors import ArgumentError, DegenerateError
from diffstab.stability import (
    add_noise,
    change_norms,
    diffeomorphism,
    draw_pairs,
    stability,
)
from tests.references.stability import stability_by_loops

ROUND_OFF = 1e-12  # a few hundred terms in float64


def outputs(generator, shape=(13,), fields=None, dtype=torch.float64):
    clean = torch.randn(shape, generator=generator, dtype=dtype)
    changed_shape = shape if fields is None else (fields, *shape)
    changed = [
        clean + scale * torch.randn(changed_shape, generator=generator, dtype=dtype) for scale in (0.3, 0.5)
    ]
    return clean, *changed


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("fields", [None, 1, 3])
@pytest.mark.parametrize("shape", [(12,), (13,), (7, 1), (8, 3), (5, 2, 3)])
def test_stability_is_that_of_the_loops(generator, shape, fields, dtype):
    clean, deformed, noisy = outputs(generator, shape, fields, dtype)
    lists = [[part] if fields is None else list(part) for part in (deformed.numpy(), noisy.numpy())]
    expected = stability_by_loops(clean.double().numpy(), *[[f.astype(np.float64) for f in x] for x in lists])
    assert [float(x) for x in stability(clean, deformed, noisy)] == pytest.approx(expected, rel=ROUND_OFF)


def test_deformed_and_noisy_may_have_different_numbers_of_fields(generator):
    clean, deformed, _ = outputs(generator, (6, 2), 4)
    noisy = clean + 0.5
    expected = stability_by_loops(clean.numpy(), list(deformed.numpy()), [noisy.numpy()])
    assert [float(x) for x in stability(clean, deformed, noisy)] == pytest.approx(expected, rel=ROUND_OFF)


def test_results_are_float64_scalars_and_arguments_stay(generator):
    parts = outputs(generator, (9, 2), dtype=torch.float32)
    copies = [part.clone() for part in parts]
    result = stability(*parts)
    assert all(x.dtype == torch.float64 and x.shape == () for x in result)
    assert all(torch.equal(part, copy) for part, copy in zip(parts, copies, strict=True))


@pytest.mark.parametrize(("a", "b"), [(1.0, 1e6), (-2.0, 1e6), (0.5, -3.0), (1024.0, 0.0)])
def test_affine_maps_of_a_float32_predictor_leave_d_g_and_r_alone(generator, a, b):
    # Outputs on a grid of 1/8 below 32: a f + b is exact in float32, so that nothing but the formula is tested.
    parts = [(8 * part).round() / 8 for part in outputs(generator, (50, 3), 2, torch.float32)]
    plain, mapped = stability(*parts), stability(*[a * part + b for part in parts])
    ratios = [0, 1, 2, 6, 7, 8]
    assert [float(mapped[i]) for i in ratios] == pytest.approx(
        [float(plain[i]) for i in ratios], rel=ROUND_OFF
    )
    assert float(mapped.denominator) == pytest.approx(a**2 * float(plain.denominator), rel=ROUND_OFF)


def test_rounding_of_a_large_offset_costs_no_more_than_the_rounding(generator):
    parts = outputs(generator, (400,), dtype=torch.float32)
    plain, mapped = stability(*parts), stability(*[part + 1e6 for part in parts])
    rounding = 2.0**-4 / math.sqrt(12)  # spacing of float32 at 1e6, uniform error in each of two outputs
    # relative error of a mean of squared changes of size s: 2 e / s at most, e = sqrt(2) * rounding
    assert float(mapped.noise) == pytest.approx(float(plain.noise), rel=2 * math.sqrt(2) * rounding / 0.5)


def test_rotating_the_outputs_changes_nothing(generator):
    parts = outputs(generator, (20, 4))
    rotation = torch.linalg.qr(torch.randn(4, 4, generator=generator, dtype=torch.float64)).Q
    expected = [float(x) for x in stability(*parts)]
    assert [float(x) for x in stability(*[part @ rotation for part in parts])] == pytest.approx(
        expected, rel=1e-11
    )


def test_linear_predictor_has_the_d_and_g_of_algebra(generator):
    images, fields = 300, 5
    d = 6 * 6
    x = torch.randn(images, 1, 6, 6, generator=generator, dtype=torch.float64)
    w = torch.randn(d, generator=generator, dtype=torch.float64)
    probes = draw_pairs(
        x, deform=diffeomorphism(0.2, 2), noise=0.7, fields_per_image=fields, generator=generator
    )
    result = stability(x.flatten(1) @ w, probes.deformed.flatten(2) @ w, probes.noisy.flatten(2) @ w)
    changes = (probes.deformed - x).reshape(-1, d)
    covariance, spread = changes.T @ changes / len(changes), 2 * torch.cov(x.flatten(1).T)
    assert float(result.deformation) == pytest.approx(
        float((w @ covariance @ w) / (w @ spread @ w)), rel=1e-10
    )
    expected = float(w @ w) * 0.7**2 / d / float(w @ spread @ w)
    # (w.eta)^2 is |w|^2 |eta|^2 times a Beta(1/2, (d-1)/2): relative standard deviation below sqrt(2)
    assert float(result.noise) == pytest.approx(expected, rel=4 * math.sqrt(2 / (images * fields)))


def test_linear_predictor_of_ramps_has_the_d_of_the_field_variances(generator):
    # Bilinear interpolation is exact on x = s * column, so tau x - x = -s dx and
    # E (w.(tau x - x))^2 = s^2 n^2 sum_ij T / (i^2 + j^2) (sum_p w_p sin(i pi u_p) sin(j pi v_p))^2.
    size, cutoff, images = 16, 2, 4000
    slopes = torch.randn(images, generator=generator, dtype=torch.float64)
    x = (slopes[:, None, None] * torch.arange(size)).expand(-1, size, -1)[:, None].contiguous()
    w = torch.randn(size, size, generator=generator, dtype=torch.float64)
    probes = draw_pairs(x, deform=diffeomorphism(0.3, cutoff), generator=generator)
    predictor = [(part * w).sum(dim=(-3, -2, -1)) for part in (x, probes.deformed, probes.noisy)]
    u = torch.linspace(0, 1, size, dtype=torch.float64)
    sines = torch.sin(math.pi * torch.arange(1, cutoff + 1)[:, None] * u)
    variances = probes.draw.temperature * mode_variances(cutoff)
    field_power = size**2 * (variances * (sines @ w.T @ sines.T).square()).sum()
    ramp = (torch.arange(size) * w).sum()
    expected = float(slopes.square().mean() * field_power / (2 * slopes.var() * ramp.square()))
    # s^2 z^2 with normal s and z: relative variance 3 * 3 - 1
    assert float(stability(*predictor).deformation) == pytest.approx(expected, rel=4 * math.sqrt(8 / images))


def test_relative_stability_is_one_when_the_deformation_is_noise(generator):
    images, features = 1500, 10
    x = torch.randn(images, 40, generator=generator, dtype=torch.float64)
    w = torch.randn(40, features, generator=generator, dtype=torch.float64)
    norms = torch.full((images,), 0.5, dtype=torch.float64)
    first, second = (add_noise(x, norms, generator=generator) for _ in range(2))
    assert torch.allclose(change_norms(x, first[None]), norms)
    relative = stability(x @ w, first @ w, second @ w).relative
    # |w.eta|^2 over 10 outputs varies by less than sqrt(2 / 5) relative to its mean; two of them are compared
    assert float(relative) == pytest.approx(1, abs=4 * math.sqrt(2 * 2 / 5 / images))


def test_convention_median_of_an_even_number_is_the_mean_of_the_middle_two():
    clean = torch.tensor([0.0, 2.0, 4.0, 6.0])
    deformed = clean + torch.tensor([1.0, 2.0, 4.0, 8.0])
    result = stability(clean, deformed, clean + 1)
    assert float(result.deformation_median * result.denominator) == (4 + 16) / 2


def test_convention_fields_are_averaged_before_the_median():
    clean = torch.tensor([0.0, 5.0, 9.0])
    deformed = clean + torch.tensor([[0.0, 0.0, 0.0], [2.0, 4.0, 6.0]])
    result = stability(clean, deformed, clean + 1)
    assert float(result.deformation_median * result.denominator) == 16 / 2


def test_convention_denominator_runs_over_distinct_pairs():
    clean = torch.tensor([0.0, 2.0])
    assert float(stability(clean, clean + 1, clean + 1).denominator) == 4


def test_a_predictor_blind_to_noise_has_no_finite_relative_stability():
    clean = torch.tensor([0.0, 2.0, 3.0])
    assert float(stability(clean, clean + 1, clean).relative) == math.inf
    assert math.isnan(float(stability(clean, clean, clean).relative))


@pytest.mark.parametrize("constant", [0.0, 0.1, 1e6 + 0.3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_constant_predictor_is_refused(constant, dtype):
    clean = torch.full((7, 3), constant, dtype=dtype)
    with pytest.raises(DegenerateError, match=r"predictor is constant on these images.*undefined"):
        stability(clean, clean + 1, clean + 1)


def test_one_image_is_refused():
    with pytest.raises(ArgumentError, match=r"f_clean must hold at least two images, got 1\..*pairs"):
        stability(torch.zeros(1, 3), torch.ones(1, 3), torch.ones(1, 3))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("position", [0, 1, 2])
def test_values_that_are_not_finite_are_refused(bad, position):
    parts = [torch.arange(3.0), torch.ones(3), torch.ones(3)]
    parts[position][1] = bad
    name = ("f_clean", "f_deformed", "f_noisy")[position]
    with pytest.raises(
        ArgumentError, match=rf"{name} must be finite, got NaN or infinity\. Did the training"
    ):
        stability(*parts)


@pytest.mark.parametrize(
    ("clean", "deformed", "message"),
    [
        (
            torch.zeros(3, dtype=torch.uint8),
            torch.zeros(3),
            r"f_clean must be a tensor of a real floating.*uint8",
        ),
        ([0.0, 1.0], torch.zeros(2), r"f_clean must be a tensor of a real floating dtype, got list"),
        (torch.zeros(()), torch.zeros(()), r"f_clean must have shape \(P, \.\.\.\).*shape \(\)"),
        (torch.zeros(0, 2), torch.zeros(0, 2), r"f_clean must have shape \(P, \.\.\.\) and not be empty"),
        (torch.zeros(3), torch.zeros(4), r"f_deformed must have the shape of f_clean, \(3,\), or.*\(4,\)"),
        (torch.zeros(3), torch.zeros(3, 2), r"f_deformed must have the shape of f_clean"),
        (torch.zeros(3, 1), torch.zeros(3), r"f_deformed must have the shape of f_clean"),
        (torch.zeros(3), torch.zeros(0, 3), r"f_deformed must have shape \(P, \.\.\.\) and not be empty"),
    ],
)
def test_outputs_that_do_not_fit_are_refused(clean, deformed, message):
    with pytest.raises(ArgumentError, match=message):
        stability(clean, deformed, torch.zeros(3))
