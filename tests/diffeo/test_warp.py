"""Warping images: against loops, exact identities, conventions and errors."""

import math

import pytest
import torch

from diffstab.diffeo import displacement_field, draw_coefficients, draw_field, warp, warp_by_coefficients
from diffstab.errors import ArgumentError
from tests.references.diffeo import warp_by_loops

MODES = ("bilinear", "nearest", "gaussian")
DTYPES = (torch.float32, torch.float64)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", [(2, 1, 7, 7), (2, 3, 5, 9), (1, 2, 2, 3)])
def test_against_loops(shape, mode, dtype, generator):
    images = torch.randn(shape, generator=generator, dtype=dtype)
    field = 3 * torch.randn(shape[0], 2, *shape[2:], generator=generator, dtype=dtype)
    result = warp(images, field, mode)
    assert result.dtype == dtype
    # A displacement of up to 10 px rounds by 10 eps, times slopes of up to 8; 49 taps left-out weigh 1e-11.
    tolerance = 200 * torch.finfo(dtype).eps + (1e-10 if mode == "gaussian" else 0)
    assert (result - warp_by_loops(images, field, mode)).abs().max() < tolerance


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
def test_convention_zero_field_is_the_identity_to_the_bit(mode, dtype, generator):
    for height in (2, 3, 7, 28, 31, 32, 33, 65, 224):
        for width in (2, 5, 28, 32, 63, 100, 224):
            images = torch.randn(2, 1, height, width, generator=generator, dtype=dtype)
            own, shared = (torch.zeros(count, 2, height, width, dtype=dtype) for count in (2, 1))
            assert torch.equal(warp(images, own, mode), images), (height, width)
            assert torch.equal(warp(images, shared, mode), images), (height, width)


def test_convention_zero_field_is_a_blur_for_gaussian():
    images = torch.zeros(1, 1, 9, 9, dtype=torch.float64)
    images[0, 0, 4, 4] = 1
    result = warp(images, torch.zeros(1, 2, 9, 9, dtype=torch.float64), "gaussian")[0, 0]
    side = math.exp(-1 / (2 * 0.4715**2))
    line = 1 + 2 * (side + side**4 + side**9)
    assert float(result[4, 4]) == pytest.approx(1 / line**2, rel=1e-12)
    assert float(result[4, 5]) == pytest.approx(side / line**2, rel=1e-12)
    assert float(result.sum()) == pytest.approx(1, rel=1e-9)


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
@pytest.mark.parametrize(("height", "width"), [(6, 9), (28, 28)])
def test_convention_the_value_comes_from_x_minus_dx(mode, height, width, generator):
    # dx = +2 moves the picture two columns to the right, dy = -1 one row up; the edge is repeated.
    images = torch.randn(1, 2, height, width, generator=generator)
    field = torch.empty(1, 2, height, width)
    field[:, 0], field[:, 1] = 2, -1
    result = warp(images, field, mode)
    assert torch.equal(result[:, :, :-1, 2:], images[:, :, 1:, :-2])
    assert torch.equal(result[:, :, :-1, :2], images[:, :, 1:, :1].expand(-1, -1, -1, 2))
    assert torch.equal(result[:, :, -1, 2:], images[:, :, -1, :-2])


def test_convention_nearest_halfway_goes_to_the_even_pixel():
    images = torch.arange(5.0).expand(1, 1, 5, 5)
    field = torch.zeros(1, 2, 5, 5)
    field[:, 0] = 0.5
    assert warp(images, field, "nearest")[0, 0, 0].tolist() == [0, 0, 2, 2, 4]


@pytest.mark.parametrize("mode", MODES)
def test_values_stay_within_the_image_and_constants_stay(mode, generator):
    field = 50 * torch.randn(4, 2, 12, 10, generator=generator)
    images = torch.rand(4, 1, 12, 10, generator=generator)
    result = warp(images, field, mode)
    slack = 10 * torch.finfo(torch.float32).eps
    assert result.min() >= images.min() - slack
    assert result.max() <= images.max() + slack
    assert torch.allclose(warp(torch.full_like(images, 0.3), field, mode), torch.tensor(0.3), rtol=1e-6)


def test_bilinear_is_exact_on_planes(generator):
    # The picture 2 x + 3 y, moved: its value is 2 (x - dx) + 3 (y - dy) wherever nothing is clamped.
    rows, columns = torch.meshgrid(torch.arange(20.0), torch.arange(30.0), indexing="ij")
    field = draw_field(3, 20, 30, delta_px=0.5, generator=generator, dtype=torch.float64)
    plane = (2 * columns + 3 * rows).double()
    result = warp(plane.expand(3, 1, -1, -1), field)[:, 0]
    assert torch.allclose(result, plane - 2 * field[:, 0] - 3 * field[:, 1], atol=1e-12)


@pytest.mark.parametrize("mode", MODES)
def test_one_field_is_shared_by_all(mode, generator):
    images = torch.randn(3, 2, 8, 9, generator=generator, dtype=torch.float64)
    field = draw_field(1, 8, 9, delta_px=0.6, generator=generator, dtype=torch.float64)
    assert torch.allclose(warp(images, field, mode), warp(images, field.repeat(3, 1, 1, 1), mode), atol=1e-14)


@pytest.mark.parametrize("mode", MODES)
def test_a_large_batch_is_its_images_one_by_one(mode, generator):
    # 200 images of 64 x 64 are worked through in several chunks.
    images = torch.randn(200, 1, 64, 64, generator=generator)
    coefficients = draw_coefficients(200, 3, temperature=1e-3, generator=generator)
    field = displacement_field(coefficients, 64, 64)
    result = warp(images, field, mode)
    for index in (0, 127, 128, 199):
        one = slice(index, index + 1)
        assert torch.equal(result[one], warp(images[one], field[one], mode))
    # Fields made chunk by chunk may round differently, by 1e-5 px at most; slopes are up to 8 per px, and
    # nearest jumps where 1e-5 px decides.
    different = (warp_by_coefficients(images, coefficients, mode) - result).abs() > 1e-4
    assert different.double().mean() <= (1e-4 if mode == "nearest" else 0)


def test_coefficients_are_converted_to_the_images(generator):
    images = torch.randn(3, 1, 8, 8, generator=generator)
    coefficients = draw_coefficients(3, 2, temperature=1e-3, generator=generator, dtype=torch.float64)
    expected = warp(images, displacement_field(coefficients.float(), 8, 8))
    assert torch.equal(warp_by_coefficients(images, coefficients), expected)
    shared = warp(images, displacement_field(coefficients[:1].float(), 8, 8))
    assert torch.equal(warp_by_coefficients(images, coefficients[:1]), shared)


@pytest.mark.parametrize("mode", MODES)
def test_the_callers_tensors_stay_and_layout_does_not_matter(mode, generator):
    images = torch.randn(3, 4, 8, 9, generator=generator)
    field = draw_field(3, 8, 9, delta_px=0.7, generator=generator)
    kept = images.clone(), field.clone()
    result = warp(images, field, mode)
    assert torch.equal(images, kept[0])
    assert torch.equal(field, kept[1])
    channels_last = images.contiguous(memory_format=torch.channels_last)
    transposed = field.transpose(2, 3).contiguous().transpose(2, 3)
    assert torch.allclose(warp(channels_last, transposed, mode), result, atol=1e-6)


@pytest.mark.parametrize("mode", ["bilinear", "gaussian"])
def test_gradients(mode, generator):
    images = torch.randn(2, 1, 5, 6, generator=generator, dtype=torch.float64, requires_grad=True)
    # Within (0.1, 0.4) px no coordinate meets a pixel (a kink of bilinear) or halfway (other taps).
    field = 0.1 + 0.3 * torch.rand(2, 2, 5, 6, generator=generator, dtype=torch.float64)
    field.requires_grad_()
    fast_mode = {"atol": 1e-6, "rtol": 1e-5}
    assert torch.autograd.gradcheck(lambda x, d: warp(x, d, mode), (images, field), **fast_mode)


@pytest.mark.parametrize(("picture", "share"), [("noise", 0.56), ("checkerboard", 0.28), ("wave", 0.74)])
def test_the_energy_that_bilinear_interpolation_keeps(picture, share, generator):
    count, size = 600, 28
    place = torch.arange(float(size))
    images = {
        "noise": torch.randn(count, 1, size, size, generator=generator),
        "checkerboard": ((place[:, None] + place) % 2 * 2 - 1).expand(count, 1, -1, -1),
        "wave": torch.cos(math.pi / 2 * place + torch.arange(count)[:, None, None, None]).expand(
            -1, 1, size, -1
        ),
    }[picture]
    field = draw_field(count, size, size, delta_px=1.0, generator=generator)
    kept = warp(images, field).square().mean((1, 2, 3)) / images.square().mean((1, 2, 3))
    assert abs(kept.mean() - share) < 4 * kept.std() / math.sqrt(count) + 0.006  # the shares are rounded


def test_the_energy_of_noise_under_a_uniform_shift_is_that_of_the_weights(generator):
    # Weights (1 - a)(1 - b), ...: the sum of their squares, over uniform a and b, is (2/3)^2.
    shifts = torch.rand(500, 2, 1, 1, generator=generator).expand(-1, -1, 40, 40).contiguous()
    images = torch.randn(500, 1, 40, 40, generator=generator)
    kept = warp(images, shifts)[:, :, 2:, 2:].square().mean((1, 2, 3))
    assert abs(kept.mean() - 4 / 9) < 4 * kept.std() / math.sqrt(500)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_images_are_warped_in_float32(dtype, mode, generator):
    images = torch.rand(5, 2, 9, 8, generator=generator).to(dtype)
    field = draw_field(5, 9, 8, delta_px=0.6, generator=generator)
    assert torch.equal(warp(images, field, mode), warp(images.float(), field, mode).to(dtype))
    coefficients = draw_coefficients(5, 3, temperature=1e-3, generator=generator)
    expected = warp_by_coefficients(images.float(), coefficients, mode).to(dtype)
    assert torch.equal(warp_by_coefficients(images, coefficients, mode), expected)
    with pytest.raises(ArgumentError, match=r"field must be float32 or float64"):
        warp(images, field.to(dtype), mode)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_autocast_changes_nothing(dtype, mode, generator):
    images = torch.rand(3, 2, 12, 8, generator=generator, dtype=dtype)
    coefficients = draw_coefficients(3, 3, temperature=1e-3, generator=generator, dtype=dtype)
    field, expected = (
        displacement_field(coefficients, 12, 8),
        warp_by_coefficients(images, coefficients, mode),
    )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(displacement_field(coefficients, 12, 8), field)
        assert torch.equal(warp(images, field, mode), expected)
        assert torch.equal(warp_by_coefficients(images, coefficients, mode), expected)
        assert torch.is_autocast_enabled("cpu")


def test_an_empty_batch():
    assert warp(torch.zeros(0, 1, 4, 4), torch.zeros(0, 2, 4, 4)).shape == (0, 1, 4, 4)


def test_finite_images_whose_sum_overflows_are_taken():
    images = torch.full((1, 1, 4, 4), 3e38)
    assert torch.equal(warp(images, torch.zeros(1, 2, 4, 4)), images)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(1, 8, 8), r"images must have shape \(n, C, H, W\), got \(1, 8, 8\)"),
        (
            torch.zeros(1, 1, 8, 8, dtype=torch.uint8),
            r"images must be floating-point, got torch.uint8. Convert images of integers with images.float\(\)",
        ),
        (torch.full((1, 1, 8, 8), math.nan), "images must be finite, got NaN or infinity"),
        (
            torch.zeros(1, 1, 1, 8),
            r"images must have a height and width of at least 2 pixels, got \(1, 1, 1, 8\)",
        ),
    ],
)
def test_bad_images_are_refused(images, message):
    with pytest.raises(ArgumentError, match=message):
        warp(images, torch.zeros(1, 2, 8, 8))
    with pytest.raises(ArgumentError, match=message):
        warp_by_coefficients(images, torch.zeros(1, 2, 3, 3))


@pytest.mark.parametrize(
    ("field", "message"),
    [
        (
            torch.zeros(3, 2, 8, 8),
            r"field must have shape \(2 or 1, 2, 8, 8\) like the images, got \(3, 2, 8, 8\)",
        ),
        (torch.zeros(2, 2, 8, 9), r"field must have shape \(2 or 1, 2, 8, 8\) like the images"),
        (torch.zeros(2, 3, 8, 8), r"field must have shape \(count, 2, H, W\)"),
        (torch.full((2, 2, 8, 8), math.nan), "field must be finite"),
        (
            torch.zeros(2, 2, 8, 8, dtype=torch.float64),
            "field must be torch.float32 on cpu for images of torch.float32, got torch.float64 on cpu. Use field.to",
        ),
    ],
)
def test_bad_fields_are_refused(field, message):
    with pytest.raises(ArgumentError, match=message):
        warp(torch.zeros(2, 1, 8, 8), field)


def test_bad_coefficients_are_refused():
    with pytest.raises(ArgumentError, match=r"coefficients must have 2 rows \(or 1\) like the images, got 3"):
        warp_by_coefficients(torch.zeros(2, 1, 8, 8), torch.zeros(3, 2, 3, 3))
    with pytest.raises(ArgumentError, match=r"coefficients must have shape"):
        warp_by_coefficients(torch.zeros(2, 1, 8, 8), torch.zeros(2, 3, 3))


def test_an_unknown_mode_is_refused():
    with pytest.raises(ArgumentError, match="mode must be one of bilinear, nearest, gaussian, got 'cubic'"):
        warp(torch.zeros(1, 1, 4, 4), torch.zeros(1, 2, 4, 4), "cubic")
