import math

import numpy as np
import pytest
import torch

from diffstab.errors import ArgumentError
from diffstab.stability import Samples, bootstrap_interval, resampled_stability, stability
from diffstab.stability.bootstrap import draw_multiplicities, draw_resamples, percentile_interval
from diffstab.stability.measures import Stability
from tests.references.stability import resampled_by_loops


def draw_samples(generator, images, features=1, noise_scale=0.5):
    """Normal outputs of unit variance; changes of 0.3 and `noise_scale` in each output."""
    f = torch.randn(images, features, generator=generator, dtype=torch.float64)
    changes = torch.randn(2, images, features, generator=generator, dtype=torch.float64)
    squares = changes.square().sum(2)
    return Samples(f - f.mean(0), 0.09 * squares[0], noise_scale**2 * squares[1])


@pytest.mark.parametrize("features", [1, 4])
@pytest.mark.parametrize("images", [6, 7])
def test_resamples_are_those_of_the_loops(generator, images, features):
    samples = draw_samples(generator, images, features)
    drawn = torch.randint(images, (20, images), generator=generator)
    drawn[:, 0], drawn[:, 1] = 0, 1  # two different images at least
    multiplicities = torch.stack([row.bincount(minlength=images) for row in drawn])
    result = torch.stack(list(resampled_stability(samples, multiplicities)), dim=1)
    lists = [part.tolist() for part in samples[1:]]
    for row, indices in zip(result, drawn.tolist(), strict=True):
        expected = resampled_by_loops(samples.outputs.numpy(), *lists, indices)
        assert row.tolist() == pytest.approx(expected, rel=1e-11)


def test_each_image_once_is_the_estimate(generator):
    f = 3 + torch.randn(15, 2, generator=generator, dtype=torch.float64)
    deformed, noisy = f + 0.1 * f.sin(), f + 0.2
    squares = [(part - f).square().sum(1) for part in (deformed, noisy)]
    samples = Samples(f - f.mean(0), *squares)
    once = resampled_stability(samples, torch.ones(1, 15, dtype=torch.long))
    assert [float(x) for x in once] == pytest.approx(
        [float(x) for x in stability(f, deformed, noisy)], rel=1e-12
    )


def test_multiplicities_are_draws_with_replacement(generator):
    images, resamples = 3000, 1500  # more than one chunk
    chunks = list(draw_multiplicities(images, resamples, generator=generator))
    drawn = torch.cat(chunks)
    assert len(chunks) > 1
    assert drawn.shape == (resamples, images)
    assert bool((drawn.sum(dim=1) == images).all())
    # nearly Poisson of mean 1: the share of zeros is 1/e
    assert float((drawn == 0).double().mean()) == pytest.approx(math.exp(-1), abs=2e-3)
    assert float(drawn.double().var(dim=0).mean()) == pytest.approx(1, abs=0.01)


def test_intervals_cover_the_truth_at_their_confidence(generator):
    repetitions, images, confidence = 400, 200, 0.9
    d, g = 0.09 / 2, 0.25 / 2  # mean squared changes over E |f(x) - f(z)|^2 = 2
    median = 0.4549364  # of a chi-squared variable with one degree of freedom
    truth = {
        "deformation": d,
        "noise": g,
        "relative": d / g,
        "deformation_median": d * median,
        "noise_median": g * median,
        "relative_median": d / g,
        "denominator": 2.0,
    }
    covered = dict.fromkeys(truth, 0)
    for _ in range(repetitions):
        samples = draw_samples(generator, images)
        low, high = bootstrap_interval(samples, resamples=400, confidence=confidence, generator=generator)
        for name, value in truth.items():
            covered[name] += float(getattr(low, name)) <= value <= float(getattr(high, name))
    # Four binomial deviations, and 2 % for what the percentile method lacks at 200 images
    tolerance = 4 * math.sqrt(confidence * (1 - confidence) / repetitions) + 0.02
    for name, count in covered.items():
        assert count / repetitions == pytest.approx(confidence, abs=tolerance), name


def test_intervals_shrink_with_the_root_of_the_number_of_images(generator):
    widths = []
    for images in (400, 6400):
        interval = bootstrap_interval(
            draw_samples(generator, images), resamples=1000, confidence=0.95, generator=generator
        )
        widths.append(float(interval.high.relative - interval.low.relative))
    # ends of 1000 resamples vary by some 5 %, R itself by 10 % at 400 images
    assert widths[0] / widths[1] == pytest.approx(4, rel=0.35)


def test_convention_ends_are_central_percentiles():
    draws = Stability(*[torch.arange(101, dtype=torch.float64)] * 9)
    low, high = percentile_interval(draws, confidence=0.9)
    assert [float(x) for x in low] == pytest.approx([5.0] * 9)
    assert [float(x) for x in high] == pytest.approx([95.0] * 9)


def test_convention_copies_of_one_image_are_left_out():
    draws = Stability(*[torch.tensor([1.0, math.nan, 3.0], dtype=torch.float64)] * 9)
    low, high = percentile_interval(draws, confidence=0.5)
    assert (float(low.noise), float(high.noise)) == (1.5, 2.5)


def test_resamples_are_common_to_all_sets(generator):
    samples = draw_samples(generator, 50)
    half = samples._replace(deformation_squares=samples.deformation_squares / 2)
    whole, halved = draw_resamples([samples, half], resamples=30, generator=generator)
    assert np.allclose(halved.deformation, whole.deformation / 2, rtol=1e-12)
    assert torch.equal(halved.noise, whole.noise)


def test_no_resamples_give_no_interval(generator):
    low, high = bootstrap_interval(
        draw_samples(generator, 5), resamples=0, confidence=0.95, generator=generator
    )
    assert all(math.isnan(float(x)) for x in (*low, *high))


def test_a_negative_number_of_resamples_is_refused(generator):
    with pytest.raises(ArgumentError, match=r"bootstrap must be a number of resamples >= 0, got -1"):
        bootstrap_interval(draw_samples(generator, 5), resamples=-1, confidence=0.95, generator=generator)


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95, math.nan])
def test_a_confidence_outside_zero_and_one_is_refused(generator, confidence):
    with pytest.raises(ArgumentError, match="confidence must lie strictly between 0 and 1, got"):
        bootstrap_interval(
            draw_samples(generator, 5), resamples=2, confidence=confidence, generator=generator
        )
