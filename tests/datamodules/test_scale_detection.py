"""Scale detection against counts of pairs."""

from itertools import combinations
from math import hypot

import pytest
import torch
from torch.nn import functional

from datamodules import ScaleDetection
from diffstab.errors import ArgumentError


def everything(**options):
    """All images and classes of a task, both splits."""
    data = ScaleDetection(**options)
    data.setup()
    return (
        torch.cat([getattr(data, f"{split}_{part}") for split in ("train", "test")])
        for part in ("images", "classes")
    )


def distance(one, other, side, *, periodic):
    steps = [abs(a - b) for a, b in zip(one, other, strict=True)]
    return hypot(*(min(step, side - step) if periodic else step for step in steps))


@pytest.mark.parametrize("periodic", [True, False])
@pytest.mark.parametrize(("side", "scale", "gap"), [(8, 3.0, 0.0), (7, 2.5, 0.5), (9, 4.0, 1.0)])
def test_every_pair_outside_of_the_gap_is_one_image_of_the_class_of_its_distance(side, scale, gap, periodic):
    images, classes = everything(side=side, scale=scale, gap=gap, periodic=periodic)
    assert set(images.unique().tolist()) == {0.0, 1.0}
    found = {
        tuple(map(tuple, image[0].nonzero().tolist())): label
        for image, label in zip(images, classes.tolist(), strict=True)
    }
    pixels = [(row, column) for row in range(side) for column in range(side)]
    expected = {}
    for pair in combinations(pixels, 2):
        r = distance(*pair, side, periodic=periodic)
        if r < scale - gap or r >= scale + gap:
            expected[pair] = int(r >= scale + gap)
    assert len(found) == len(images)
    assert found == expected


@pytest.mark.parametrize(("side", "scale"), [(12, 3), (12, 4), (11, 5)])
def test_on_a_ring_every_pixel_has_as_many_near_ones_on_either_side(side, scale):
    images, classes = everything(side=side, scale=scale, dimensions=1)
    assert images.shape[1:] == (1, 1, side)
    assert (classes == 0).sum() == side * (scale - 1)
    assert len(classes) == side * (side - 1) // 2


@pytest.mark.parametrize("gap", [0, 1])
def test_in_one_dimension_windows_of_the_scale_tell_the_classes_apart_and_others_do_not(gap):
    scale, side = 5, 24
    images, classes = everything(side=side, scale=scale, gap=gap, dimensions=1)
    solved = []
    for window in range(2, 12):
        around = functional.pad(images[:, 0], (0, window - 1), mode="circular")
        largest = functional.avg_pool1d(around, window, stride=1).amax((1, 2)) * window
        far = largest.round() < 2
        if torch.equal(far.long(), classes):
            solved.append(window)
    assert solved == [w for w in range(2, 12) if scale - gap <= w <= scale + gap]


def test_gaussian_windows_tell_the_classes_apart_best_at_half_the_scale():
    scale, side = 8.0, 64
    data = ScaleDetection(side=side, scale=scale, dimensions=1)
    pairs, distances = data.pairs()
    near, far = (pairs[distances == r][0] for r in (7.0, 9.0))
    at = torch.arange(side, dtype=torch.float64) - side // 2
    contrasts = {}
    for sigma in torch.arange(2.0, 8.1, 0.25).tolist():
        window = torch.fft.fft(torch.exp(-at.square() / (2 * sigma**2)))
        energies = []
        for pair in (near, far):
            image = torch.zeros(side, dtype=torch.float64)
            image[pair] = 1
            energies.append(float(torch.fft.ifft(torch.fft.fft(image) * window).real.square().sum()))
        single = float(torch.fft.ifft(window).real.square().sum())
        contrasts[sigma] = (energies[0] - energies[1]) / single
        # |g|^2 (2 + 2 exp(-r^2 / 4 sigma^2)) at r = 7 and 9; windows are short against the ring.
        law = [2 * torch.tensor(-(r**2) / (4 * sigma**2)).exp() for r in (7.0, 9.0)]
        assert contrasts[sigma] == pytest.approx(float(law[0] - law[1]), rel=1e-3)
    assert max(contrasts, key=contrasts.get) == pytest.approx(scale / 2, abs=0.25)


def test_splits_are_balanced_share_no_image_and_do_not_hang_on_the_seed():
    one, other = (ScaleDetection(n_train=100, n_test=60, seed=seed) for seed in (0, 1))
    for data in (one, other):
        data.setup()
    assert torch.bincount(one.train_classes).tolist() == [50, 50]
    assert torch.bincount(one.test_classes).tolist() == [30, 30]
    assert torch.equal(one.test_images, other.test_images)
    assert not torch.equal(one.train_images, other.train_images)
    train, test = (
        {tuple(image.flatten().tolist()) for image in part} for part in (one.train_images, one.test_images)
    )
    assert not train & test


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"side": 2}, "side must be at least 3"),
        ({"side": 46}, "dimensions must be 1 or 2 with 2048 pixels at most, got 2 with side 46"),
        ({"dimensions": 3}, "dimensions must be 1 or 2"),
        ({"gap": 5.0}, r"gap must lie in \[0, scale = 5.0\), got 5.0"),
        ({"gap": -1.0}, "gap must lie in"),
        ({"size": 8}, "size must be None"),
        ({"n_train": 9, "pool": 8}, "pool must be at least n_train = 9"),
    ],
)
def test_numbers_out_of_range_are_refused(options, message):
    with pytest.raises(ArgumentError, match=message):
        ScaleDetection(**options)


def test_a_task_of_one_class_is_refused():
    with pytest.raises(ArgumentError, match="scale must leave two pairs of pixels at least on either side"):
        ScaleDetection(side=8, scale=1.0).setup()
