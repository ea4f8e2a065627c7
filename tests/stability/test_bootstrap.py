import math

import pytest
import torch

from diffstab.errors import ArgumentError
from diffstab.stability import Samples, bootstrap_interval, stability, stability_sums
from diffstab.stability.bootstrap import draw_multiplicities, paired_intervals, top_share

LOGARITHMIC = ("deformation", "noise", "relative", "deformation_numerator", "noise_numerator", "denominator")
MEDIANS = ("deformation_median", "noise_median", "relative_median")


def draw_samples(generator, images, *, log_deviation=0.0):
    """Normal outputs of unit variance; changes of 0.3 and 0.5 whose sizes are log-normal."""
    f = torch.randn(images, generator=generator, dtype=torch.float64)
    sizes = (log_deviation * torch.randn(2, images, generator=generator, dtype=torch.float64)).exp()
    changes = torch.randn(2, images, generator=generator, dtype=torch.float64) * sizes
    return Samples(0.09 * changes[0].square(), 0.25 * changes[1].square(), (f - f.mean()).square())


def truth(log_deviation=0.0):
    size = math.exp(2 * log_deviation**2)
    d, g = 0.09 * size, 0.25 * size
    values = {"deformation": d / 2, "noise": g / 2, "relative": 0.36, "denominator": 2.0}
    values |= {"deformation_numerator": d, "noise_numerator": g}
    if not log_deviation:
        median = 0.4549364  # of a chi-squared variable with one degree of freedom
        values |= {
            "deformation_median": d / 2 * median,
            "noise_median": g / 2 * median,
            "relative_median": 0.36,
        }
    return values


def coverage(draw, expected, *, repetitions, confidence=0.95, resamples=300):
    generator = torch.Generator().manual_seed(0)
    covered = dict.fromkeys(expected, 0)
    for _ in range(repetitions):
        low, high = bootstrap_interval(
            draw(generator), resamples=resamples, confidence=confidence, generator=generator
        )
        for name, value in expected.items():
            covered[name] += float(getattr(low, name)) <= value <= float(getattr(high, name))
    return {name: count / repetitions for name, count in covered.items()}


def binomial(share, repetitions):
    return math.sqrt(share * (1 - share) / repetitions)


def test_convention_intervals_cover_the_truth_at_their_confidence():
    repetitions, confidence = 300, 0.9
    found = coverage(lambda g: draw_samples(g, 150), truth(), repetitions=repetitions, confidence=confidence)
    for name, share in found.items():
        # four binomial deviations, and 2 % for what intervals lack at 150 images
        assert share == pytest.approx(confidence, abs=4 * binomial(confidence, repetitions) + 0.02), name


def saturated(generator, images):
    """Outputs in [0, 1] that are flat on most images, as those of a softmax: few images carry the changes."""
    logits = 6 * torch.randn(3, images, generator=generator, dtype=torch.float64)
    f = [(logits[0] + scale * logits[i]).sigmoid() for i, scale in ((1, 0.0), (1, 0.15), (2, 0.05))]
    return Samples((f[1] - f[0]).square(), (f[2] - f[0]).square(), (f[0] - f[0].mean()).square())


def test_intervals_of_saturated_outputs_cover_the_truth():
    many = saturated(torch.Generator().manual_seed(1), 4_000_000)
    d, g, e = (float(part.mean()) for part in many)
    expected = {"deformation": d / e / 2, "noise": g / e / 2, "relative": d / g}
    assert top_share(many.noise_squares) > 0.5
    repetitions = 300
    found = coverage(lambda g: saturated(g, 100), expected, repetitions=repetitions)
    for name, share in found.items():
        assert share > 0.93 - 3 * binomial(0.95, repetitions), name


def test_convention_heavy_tails_are_covered_less_and_said_so():
    # sizes of changes of log-normal deviation 1, where percentiles of the bootstrap cover 65 to 76 %
    repetitions = 300
    expected = {name: truth(1.0)[name] for name in ("deformation", "noise")}
    found = coverage(lambda g: draw_samples(g, 100, log_deviation=1.0), expected, repetitions=repetitions)
    for name, share in found.items():
        assert 0.80 - 3 * binomial(0.8, repetitions) < share < 0.93, name
    assert top_share(draw_samples(torch.Generator().manual_seed(0), 10_000, log_deviation=1.0)[0]) > 0.5


def test_paired_intervals_cover_the_truth():
    # b is a with changes of its own on top: its D is larger by a third, on the same images
    generator = torch.Generator().manual_seed(0)
    repetitions, confidence, counts = 200, 0.9, [0, 0]
    for _ in range(repetitions):
        a = draw_samples(generator, 100, log_deviation=0.5)
        own = draw_samples(generator, 100).deformation_squares / 3
        b = a._replace(deformation_squares=a.deformation_squares + own)
        pair = paired_intervals(a, b, resamples=300, confidence=confidence, generator=generator)
        first, second = truth(0.5)["deformation"], truth(0.5)["deformation"] + 0.045 / 3
        for index, value in enumerate((first - second, math.log(first / second))):
            low, high = (float(end.deformation) for end in pair[index])
            counts[index] += low <= value <= high
    for count in counts:
        assert count / repetitions == pytest.approx(
            confidence, abs=4 * binomial(confidence, repetitions) + 0.03
        )


def by_loops(samples, drawn, confidence):
    """The studentised interval of D from resamples (rows, P), image by image."""

    def statistic(indices):
        d, e = (samples[column][indices] for column in (0, 2))
        added = d / d.mean() - e / e.mean()
        variance = sum(float(u) ** 2 for u in added) / (len(d) * (len(d) - 1))
        return float((d.mean() / e.mean()).log()), math.sqrt(variance)

    value, error = statistic(torch.arange(drawn.shape[1]))
    scores = []
    for row in drawn:
        again, deviation = statistic(row)
        scores.append((again - value) / deviation)
    levels = torch.tensor([(1 - confidence) / 2, (1 + confidence) / 2], dtype=torch.float64)
    low, high = torch.tensor(scores, dtype=torch.float64).quantile(levels).tolist()
    scale = (drawn.shape[1] - 1) / (2 * drawn.shape[1])
    return scale * math.exp(value - high * error), scale * math.exp(value - low * error)


def test_intervals_are_those_of_the_loops(generator):
    samples, images, resamples = draw_samples(generator, 12), 12, 60
    low, high = bootstrap_interval(
        samples, resamples=resamples, confidence=0.8, generator=torch.Generator().manual_seed(5)
    )
    drawn = torch.randint(images, (resamples, images), generator=torch.Generator().manual_seed(5))
    expected = by_loops(samples, drawn, 0.8)
    assert (float(low.deformation), float(high.deformation)) == pytest.approx(expected, rel=1e-9)


def test_what_the_resampled_denominator_leaves_out_is_of_order_one_over_the_images(generator):
    # sum m e against 2/(P-1) (sum m |f|^2 - |sum m f|^2 / P): the mean of P draws varies by e / P
    for images in (50, 800):
        f = torch.randn(images, generator=generator, dtype=torch.float64)
        f -= f.mean()
        (counts,) = draw_multiplicities(images, 400, generator=generator)
        weights = counts.double()
        linear = weights @ f.square()
        left_out = (weights @ f).square() / images
        # |sum m f|^2 / P has mean sum f^2 / P and is chi-squared: relative deviation sqrt(2)
        assert float((left_out / linear).mean()) == pytest.approx(
            1 / images, rel=4 * math.sqrt(2 / 400) + 4 / math.sqrt(images)
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


def test_intervals_shrink_with_the_root_of_the_number_of_images(generator):
    widths = []
    for images in (400, 6400):
        interval = bootstrap_interval(
            draw_samples(generator, images), resamples=1000, confidence=0.95, generator=generator
        )
        widths.append(float(interval.high.relative - interval.low.relative))
    # ends of 1000 resamples vary by some 5 %, R itself by 10 % at 400 images
    assert widths[0] / widths[1] == pytest.approx(4, rel=0.35)


@pytest.mark.parametrize("images", [2, 3, 5, 20])
def test_no_end_is_below_zero_and_the_estimate_lies_between(generator, images):
    f = torch.randn(images, 2, generator=generator, dtype=torch.float64)
    parts = (
        f,
        f + 0.1 * torch.randn(f.shape, generator=generator),
        f + 0.2 * torch.randn(f.shape, generator=generator),
    )
    low, high = bootstrap_interval(
        Samples.of(stability_sums(*parts)), resamples=300, confidence=0.95, generator=generator
    )
    estimate = stability(*parts)
    for name in LOGARITHMIC + MEDIANS:
        ends = [float(getattr(end, name)) for end in (low, high)]
        assert ends[0] >= 0 or math.isnan(ends[0])
        if images == 20:
            assert ends[0] < float(getattr(estimate, name)) < ends[1]


def test_what_is_the_same_for_every_image_has_itself_as_both_ends(generator):
    samples = draw_samples(generator, 30)
    samples = samples._replace(
        deformation_squares=torch.zeros(30).double(), noise_squares=torch.full((30,), 0.5).double()
    )
    low, high = bootstrap_interval(samples, resamples=50, confidence=0.9, generator=generator)
    assert (float(low.deformation), float(high.deformation)) == (0, 0)
    assert (float(low.noise_numerator), float(high.noise_numerator)) == pytest.approx((0.5, 0.5))


def test_convention_the_top_share_is_that_of_a_twentieth_of_the_images():
    assert top_share(torch.arange(1.0, 41.0)) == pytest.approx(79 / 820)
    assert top_share(torch.tensor([1.0, 3.0])) == 0.75
    assert math.isnan(top_share(torch.zeros(5)))
    many = torch.randn(100_000, generator=torch.Generator().manual_seed(0)).square()
    assert top_share(many) == pytest.approx(0.279, abs=0.01)  # P(chi^2_3 > 3.84)


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
