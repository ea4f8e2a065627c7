import math
import pickle

import pytest
import torch
from torch import nn

from diffstab.errors import ArgumentError, DegenerateError
from diffstab.nets import FCN, CentredOutput
from diffstab.stability import (
    Deformed,
    change_norms,
    diffeomorphism,
    draw_pairs,
    measure_stability,
    numbered_pairs,
    paired_difference,
    random_rotation,
    stability,
    stability_of,
    to_record,
)
from diffstab.streams import stream
from tests.references.stability import stability_by_loops


def images(count=24, dtype=torch.float64):
    return torch.randn(count, 1, 16, 16, generator=torch.Generator().manual_seed(3), dtype=dtype)


def linear(features, dtype=torch.float64, seed=5):
    weight = torch.randn(256, features, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    return lambda x: x.flatten(1) @ weight


def draw(generator, **options):
    return draw_pairs(images(), deform=diffeomorphism(0.3), generator=generator, **options)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_matched_noise_is_as_long_as_the_deformation_image_by_image(generator, dtype):
    x = images(dtype=dtype)
    probes = draw_pairs(x, deform=diffeomorphism(0.3), fields_per_image=3, generator=generator)
    assert probes.deformed.shape == probes.noisy.shape == (3, *x.shape)
    # 256 numbers below 8 round by 8 * eps / 2 each
    round_off = 8 * torch.finfo(dtype).eps * math.sqrt(256)
    moved, noise = change_norms(x, probes.deformed), change_norms(x, probes.noisy)
    assert torch.allclose(noise, moved, rtol=0, atol=round_off)
    assert moved.min() > 1
    assert torch.equal(probes.draw.deformation_norms, moved)


def test_batch_noise_has_the_mean_norm(generator):
    probes = draw(generator, noise="batch", fields_per_image=2)
    mean = probes.draw.deformation_norms.mean().expand(2, 24)
    assert torch.allclose(change_norms(probes.clean, probes.noisy), mean, rtol=1e-12)


def test_fixed_noise_has_the_norm_given(generator):
    probes = draw(generator, noise=2.5)
    assert torch.allclose(change_norms(probes.clean, probes.noisy), torch.tensor(2.5).double(), rtol=1e-12)


def test_several_fields_are_independent_and_described_together(generator):
    probes = draw(generator, fields_per_image=2)
    assert not torch.equal(probes.deformed[0], probes.deformed[1])
    halves = torch.Generator().manual_seed(0)
    parts = [diffeomorphism(0.3)(images(), generator=halves) for _ in range(2)]
    assert torch.equal(probes.deformed, torch.stack([part.images for part in parts]))
    square = sum(part.measured_delta_px**2 for part in parts) / 2
    assert probes.draw.measured_delta_px == pytest.approx(math.sqrt(square), rel=1e-12)
    assert probes.draw.folded_share == sum(part.folded_share for part in parts) / 2


@pytest.mark.parametrize("batch_size", [1, 7, 24, 1000])
@pytest.mark.parametrize("features", [1, 3])
def test_the_report_is_that_of_the_loops_whatever_the_batch_size(generator, features, batch_size):
    predictor = linear(features)
    probes = draw(generator, fields_per_image=2)
    report = stability_of(predictor, probes, batch_size=batch_size, bootstrap=0, generator=generator)
    outputs = [[predictor(field).numpy() for field in part] for part in (probes.deformed, probes.noisy)]
    expected = stability_by_loops(predictor(probes.clean).numpy(), *outputs)
    assert [float(x) for x in report.estimate] == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("batch_size", [1, 7, 24])
def test_measuring_is_drawing_by_number_and_evaluating(batch_size):
    options = {"deform": random_rotation(5.0), "fields_per_image": 2, "seed": 4}
    report = measure_stability(linear(2), images(), **options, bootstrap=50, batch_size=batch_size)
    probes = numbered_pairs(images(), torch.arange(24), **options)
    again = stability_of(linear(2), probes, bootstrap=50, generator=stream(4, "bootstrap of a measurement"))
    for part in ("estimate", "low", "high"):
        found, expected = getattr(report, part), getattr(again, part)
        assert [float(x) for x in found] == pytest.approx([float(x) for x in expected], rel=1e-10)


def test_batches_of_a_loader_are_measured_like_the_tensor():
    options = {"deform": diffeomorphism(0.3), "bootstrap": 0}
    whole = measure_stability(linear(2), images(), **options)
    for batches in (images().split(5), [(part, "labels") for part in images().split(10)]):
        found = measure_stability(linear(2), batches, **options)
        assert [float(x) for x in found.estimate] == pytest.approx(
            [float(x) for x in whole.estimate], rel=1e-10
        )


def test_measurements_of_two_predictors_are_paired(generator):
    a, b = (measure_stability(linear(1, seed=seed), images(), deform=diffeomorphism(0.3)) for seed in (5, 6))
    paired = paired_difference(a, b, generator=generator)
    assert float(paired.difference.relative) == float(a.estimate.relative - b.estimate.relative)
    other = measure_stability(linear(1), images(), deform=diffeomorphism(0.3), seed=1)
    with pytest.raises(ArgumentError, match="report_b must be measured on the probes of report_a"):
        paired_difference(a, other, generator=generator)


def test_measuring_refuses_what_has_no_stability():
    options = {"deform": diffeomorphism(0.3)}
    with pytest.raises(DegenerateError, match="constant"):
        measure_stability(lambda x: 0 * x.flatten(1), images(), **options)
    for few in (images(1), []):
        with pytest.raises(ArgumentError, match="images must be at least two images"):
            measure_stability(linear(1), few, **options)
    with pytest.raises(ArgumentError, match="batch_size must be >= 1, got 0"):
        measure_stability(linear(1), images(), batch_size=0, **options)


def test_intervals_hold_the_estimate_and_pickle(generator):
    report = stability_of(linear(2), draw(generator), generator=generator)
    for low, value, high in zip(report.low, report.estimate, report.high, strict=True):
        assert low < value < high
    copied = pickle.loads(pickle.dumps(report))
    assert to_record(copied) == to_record(report)


def test_a_trained_predictor_measures_on_its_own_object(generator):
    net = FCN(256, (20,), generator=generator, dtype=torch.float64)
    model = CentredOutput(net, alpha=1e-3)
    probes = draw(generator)
    with pytest.raises(DegenerateError, match="constant"):  # F = alpha (f - f_0) = 0 at initialisation
        stability_of(model, probes, generator=generator)
    with torch.no_grad():
        for weight in net.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator, dtype=weight.dtype))
    report = stability_of(model, probes, bootstrap=0, generator=generator)
    with torch.no_grad():
        expected = stability(model(probes.clean), model(probes.deformed[0]), model(probes.noisy[0]))
    assert float(report.estimate.relative) == pytest.approx(float(expected.relative), rel=1e-9)


def test_modules_are_evaluated_in_eval_mode_and_put_back(generator):
    net = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(256), nn.Dropout(0.5))
    net[1].eval()
    modes = [module.training for module in net.modules()]
    probes = draw_pairs(images(dtype=torch.float32), deform=diffeomorphism(0.3), generator=generator)
    report = stability_of(net, probes, bootstrap=0, generator=generator)
    flat = stability_of(nn.Flatten(), probes, bootstrap=0, generator=generator)
    assert float(report.estimate.deformation) == pytest.approx(float(flat.estimate.deformation), rel=1e-5)
    assert [module.training for module in net.modules()] == modes
    assert float(net[1].num_batches_tracked) == 0


def test_modes_are_put_back_after_an_error(generator):
    class Breaks(nn.Module):
        def forward(self, x):
            raise RuntimeError("broken predictor")

    net = Breaks()
    with pytest.raises(RuntimeError, match="broken predictor"):
        stability_of(net, draw(generator), generator=generator)
    assert net.training


def test_a_predictor_against_itself_does_not_differ(generator):
    report = stability_of(linear(2), draw(generator), generator=generator)
    paired = paired_difference(report, report, bootstrap=20, generator=generator)
    assert all(float(x) == 0 for part in paired[:-1] for x in part)


def test_paired_intervals_are_tighter_than_those_of_each(generator):
    probes = draw(generator, fields_per_image=2)
    near = linear(1), lambda x: linear(1)(x) + 0.05 * linear(1, seed=6)(x)
    a, b = (stability_of(predictor, probes, generator=generator) for predictor in near)
    paired = paired_difference(a, b, generator=generator)
    for i in range(3):
        difference = a.estimate[i] - b.estimate[i]
        assert float(paired.difference[i]) == pytest.approx(float(difference))
        assert float(paired.log_ratio[i]) == pytest.approx(float((a.estimate[i] / b.estimate[i]).log()))
        assert paired.difference_low[i] < difference < paired.difference_high[i]
        assert paired.log_ratio_low[i] < paired.log_ratio[i] < paired.log_ratio_high[i]
        width = paired.difference_high[i] - paired.difference_low[i]
        assert width < 0.5 * (a.high[i] - a.low[i])


def test_convention_differences_are_first_minus_second(generator):
    probes = draw(generator)
    a = stability_of(linear(1), probes, bootstrap=0, generator=generator)
    b = stability_of(lambda x: linear(1)(x) * 3, probes, bootstrap=0, generator=generator)
    paired = paired_difference(a, b, bootstrap=0, generator=generator)
    ratio = -2 * math.log(3)
    assert float(paired.log_ratio.denominator) == pytest.approx(ratio, rel=1e-12)
    assert float(paired.difference.denominator) == pytest.approx(
        -8 * float(a.estimate.denominator), rel=1e-12
    )
    assert math.isnan(float(paired.difference_low.noise))


def test_reports_of_other_probes_are_not_compared(generator):
    a, b = (stability_of(linear(1), draw(generator), bootstrap=0, generator=generator) for _ in range(2))
    with pytest.raises(
        ArgumentError, match="report_b must be measured on the probes of report_a, got other def"
    ):
        paired_difference(a, b, generator=generator)
    norms = {"noise_norms": 2 * a.draw.noise_norms}
    with pytest.raises(ArgumentError, match="got other noise_norms"):
        paired_difference(a, a._replace(draw=a.draw._replace(**norms)), generator=generator)


def test_the_record_has_the_columns_of_a_run(generator):
    report = stability_of(linear(1), draw(generator), generator=generator)
    row = to_record(report)
    assert set(row) == {
        *("D", "D_low", "D_high", "G", "G_low", "G_high", "R", "R_low", "R_high"),
        *("D_median", "G_median", "R_median", "diffeo_numerator", "noise_numerator", "denominator"),
        *("delta_px", "measured_delta_px", "temperature", "cutoff", "folded_share"),
    }
    assert all(type(value) is float for value in row.values())
    assert row["D"] == row["diffeo_numerator"] / row["denominator"]
    assert row["R"] == pytest.approx(row["D"] / row["G"], rel=1e-14)
    assert row["G_low"] < row["G"] < row["G_high"]
    assert row["R_median"] == float(report.estimate.relative_median)
    assert (row["delta_px"], row["cutoff"]) == (0.3, 3.0)
    assert row["temperature"] == report.draw.temperature
    assert to_record(report, "init_") == {f"init_{name}": value for name, value in row.items()}


def test_a_plain_callable_may_deform(generator):
    probes = draw_pairs(images(), deform=lambda x, *, generator: x.flip(-1), generator=generator)
    assert torch.equal(probes.deformed[0], images().flip(-1))
    assert math.isnan(probes.draw.delta_px)
    described = draw_pairs(
        images(), deform=lambda x, *, generator: Deformed(-x, delta_px=2.0), generator=generator
    )
    assert described.draw.delta_px == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fields_per_image": 0}, r"fields_per_image must be >= 1, got 0"),
        ({"noise": "loud"}, r"noise must be \"matched\", \"batch\" or a finite norm > 0, got 'loud'"),
        (
            {"deform": lambda x, *, generator: x[:, :, :8]},
            r"deform must keep the shape of the images, .*16, 16",
        ),
        ({"deform": lambda x, *, generator: x / 0}, r"deformed images must be finite"),
    ],
)
def test_probes_that_cannot_be_drawn_are_refused(generator, options, message):
    with pytest.raises(ArgumentError, match=message):
        draw_pairs(images(), **{"deform": diffeomorphism(0.3), **options}, generator=generator)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (images().mul(math.nan), "images must be finite"),
        (
            torch.zeros(3, 1, 16, 16, dtype=torch.uint8),
            "images must be a tensor of a real floating dtype, got torch.uint8",
        ),
        (torch.zeros(0, 1, 16, 16), "images must have shape .* not be empty"),
    ],
)
def test_images_that_cannot_be_deformed_are_refused(generator, bad, message):
    with pytest.raises(ArgumentError, match=message):
        draw_pairs(bad, deform=diffeomorphism(0.3), generator=generator)


@pytest.mark.parametrize(
    ("predictor", "message"),
    [
        (lambda x: x.sum(), r"predictor must return a tensor \(24, \.\.\.\) for 24 images, got shape \(\)"),
        (
            lambda x: x[:5],
            r"predictor must return a tensor \(24, \.\.\.\) for 24 images, got shape \(5, 1, 16, 16\)",
        ),
        (lambda x: (x, x), r"predictor must return a tensor .*got tuple"),
        (lambda x: x * math.nan, r"f_clean must be finite"),
        (lambda x: x[:, 0, 0, 0] > 0, r"f_clean must be a tensor of a real floating dtype, got torch.bool"),
    ],
)
def test_predictors_that_give_no_outputs_are_refused(generator, predictor, message):
    with pytest.raises(ArgumentError, match=message):
        stability_of(predictor, draw(generator), generator=generator)


def test_a_batch_size_of_zero_is_refused(generator):
    with pytest.raises(ArgumentError, match="batch_size must be >= 1, got 0"):
        stability_of(linear(1), draw(generator), batch_size=0, generator=generator)


def test_one_image_is_refused(generator):
    probes = draw_pairs(images(1), deform=diffeomorphism(0.3), generator=generator)
    with pytest.raises(ArgumentError, match="at least two images"):
        stability_of(linear(1), probes, generator=generator)


def test_a_caution_is_given_where_few_images_carry_a_mean(generator):
    report = stability_of(linear(1), draw(generator), bootstrap=0, generator=generator)
    squares = report.samples.deformation_squares
    assert report.deformation_top_share == pytest.approx(
        float(squares.sort().values[-2:].sum() / squares.sum())
    )
    even = report._replace(deformation_top_share=0.3, noise_top_share=0.2)
    assert even.caution == ""
    heavy = even._replace(noise_top_share=0.61)
    assert "61% of G" in heavy.caution
