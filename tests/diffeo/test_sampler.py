"""The kornia augmentation: replay, randomness, shapes, pipelines and errors."""

import copy
import math
import pickle
import subprocess
import sys

import pytest
import torch
from kornia.augmentation import AugmentationSequential, RandomHorizontalFlip
from torchvision.transforms import v2

from diffstab.diffeo import displacement_field, draw_coefficients, temperature_from_displacement, warp
from diffstab.diffeo.sampler import RandomDiffeomorphism
from diffstab.errors import ArgumentError, FoldingWarning


@pytest.fixture
def images(generator):
    return torch.rand(6, 3, 12, 10, generator=generator)


@pytest.mark.parametrize("mode", ["bilinear", "nearest", "gaussian"])
def test_it_warps_by_the_drawn_coefficients(mode, images, generator):
    temperature = temperature_from_displacement(0.5, (12, 10), 2)
    expected = draw_coefficients(
        6, 2, temperature=temperature, generator=copy.deepcopy(generator), dtype=torch.float64
    )
    augmentation = RandomDiffeomorphism(0.5, cutoff=2, mode=mode, generator=generator)
    result = augmentation(images)
    assert torch.equal(augmentation._params["coefficients"], expected)
    assert torch.equal(result, warp(images, displacement_field(expected.float(), 12, 10), mode))


@pytest.mark.parametrize("p", [1.0, 0.5])
@pytest.mark.parametrize("same_on_batch", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_parameters_replay_to_the_bit(p, same_on_batch, dtype, images, generator):
    augmentation = RandomDiffeomorphism(0.5, p=p, same_on_batch=same_on_batch, generator=generator)
    first = augmentation(images.to(dtype))
    parameters = copy.deepcopy(augmentation._params)
    augmentation(images.to(dtype))
    assert first.dtype == dtype
    assert torch.equal(augmentation(images.to(dtype), params=parameters), first)


def test_delta_and_temperature_are_two_names_of_one_strength(images):
    temperature = temperature_from_displacement(0.5, (12, 10), 3)
    by_delta, by_temperature = (
        RandomDiffeomorphism(**strength, generator=torch.Generator().manual_seed(1))(images)
        for strength in ({"delta_px": 0.5}, {"temperature": temperature})
    )
    assert torch.equal(by_delta, by_temperature)


def test_one_field_per_image_unless_shared(images, generator):
    same = images[:1].repeat(4, 1, 1, 1)
    own = RandomDiffeomorphism(0.5, generator=generator)(same)
    assert not torch.equal(own[0], own[1])
    shared = RandomDiffeomorphism(0.5, same_on_batch=True, generator=generator)(same)
    assert torch.equal(shared, shared[:1].expand_as(shared))
    assert not torch.equal(shared, same)


def test_p_is_the_share_of_deformed_images(generator):
    images = torch.rand(2000, 1, 4, 4, generator=generator)
    result = RandomDiffeomorphism(0.3, p=0.3, generator=generator)(images)
    deformed = (result != images).flatten(1).any(1).double().mean()
    assert abs(deformed - 0.3) < 4 * math.sqrt(0.3 * 0.7 / 2000)
    assert torch.equal(RandomDiffeomorphism(0.3, p=0.0, generator=generator)(images), images)


def test_p_of_a_shared_field_is_one_decision(images, generator):
    augmentation = RandomDiffeomorphism(0.5, p=0.5, same_on_batch=True, generator=generator)
    shares = {(augmentation(images) != images).flatten(1).any(1).double().mean().item() for _ in range(20)}
    assert shares == {0.0, 1.0}


def test_without_a_generator_the_global_seed_decides(images):
    with torch.random.fork_rng(devices=[]):
        augmentation = RandomDiffeomorphism(0.5, p=0.5)
        torch.manual_seed(3)
        first = augmentation(images)
        torch.manual_seed(3)
        assert torch.equal(augmentation(images), first)
        assert not torch.equal(augmentation(images), first)


@pytest.mark.parametrize("keepdim", [True, False])
def test_convention_keepdim(keepdim, images, generator):
    augmentation = RandomDiffeomorphism(0.5, keepdim=keepdim, generator=generator)
    assert augmentation(images).shape == images.shape
    assert augmentation(images[0]).shape == ((3, 12, 10) if keepdim else (1, 3, 12, 10))
    assert augmentation(images[0, 0]).shape == ((12, 10) if keepdim else (1, 1, 12, 10))
    assert augmentation(images[:0]).shape == (0, 3, 12, 10)


def test_in_a_torchvision_pipeline(images, generator):
    deform = RandomDiffeomorphism(0.5, generator=generator)
    pipeline = v2.Compose([v2.ToDtype(torch.float32, scale=True), deform, v2.Normalize([0.5] * 3, [0.5] * 3)])
    for batch in ((255 * images).byte(), (255 * images[0]).byte()):
        result = pipeline(batch)
        replayed = deform(batch.float() / 255, params=deform._params)
        assert torch.allclose(result, 2 * replayed - 1, atol=1e-6)


def test_in_a_kornia_sequence_with_masks(images, generator):
    masks = (images[:, :1] > 0.5).float() * 3
    deform = RandomDiffeomorphism(0.5, generator=generator)
    sequence = AugmentationSequential(RandomHorizontalFlip(p=1.0), deform, data_keys=["input", "mask"])
    warped, warped_masks = sequence(images, masks)
    field = displacement_field(deform._params["coefficients"].float(), 12, 10)
    assert torch.equal(warped, warp(images.flip(3), field))
    assert torch.equal(warped_masks, warp(masks.flip(3), field, "nearest"))
    again, again_masks = sequence(images, masks, params=sequence._params)
    assert torch.equal(again, warped)
    assert torch.equal(again_masks, warped_masks)


def test_masks_of_images_that_are_left_alone_stay(images, generator):
    deform = RandomDiffeomorphism(0.5, p=0.5, generator=generator)
    warped, masks = AugmentationSequential(deform, data_keys=["input", "mask"])(images, images[:, :1].round())
    alone = (warped == images).flatten(1).all(1)
    assert 0 < alone.sum() < len(images)
    assert torch.equal(masks[alone], images[alone, :1].round())


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda module: pickle.loads(pickle.dumps(module))])
def test_a_copy_draws_the_same(duplicate, images, generator):
    augmentation = RandomDiffeomorphism(0.5, generator=generator)
    twin = duplicate(augmentation)
    assert torch.equal(twin(images), augmentation(images))


def test_gradients_reach_the_images(images, generator):
    images.requires_grad_()
    RandomDiffeomorphism(0.5, generator=generator)(images).sum().backward()
    # Every output pixel is a mean of input pixels: the weights add up to the number of pixels.
    assert images.grad.sum().item() == pytest.approx(images.numel(), rel=1e-5)


@pytest.mark.parametrize("mode", ["bilinear", "nearest", "gaussian"])
@pytest.mark.parametrize("p", [1.0, 0.5])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.uint8], ids=str)
def test_other_types_are_warped_in_float32_and_come_back(dtype, p, mode, images, generator):
    augmentation = RandomDiffeomorphism(0.7, p=p, mode=mode, generator=generator)
    given = (255 * images).to(dtype) if dtype == torch.uint8 else images.to(dtype)
    result = augmentation(given)
    expected = augmentation(given.float(), params=augmentation._params)
    assert result.dtype == dtype
    assert torch.equal(result, (expected.round() if dtype == torch.uint8 else expected).to(dtype))
    assert not torch.equal(result, given)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16], ids=str)
def test_autocast_changes_nothing(dtype, images, generator):
    augmentation = RandomDiffeomorphism(0.7, generator=generator)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = augmentation(images.to(dtype))
    assert torch.equal(result, augmentation(images.to(dtype), params=augmentation._params))


def test_a_generator_of_the_call_is_drawn_from(images, generator):
    augmentation = RandomDiffeomorphism(0.7, generator=torch.Generator().manual_seed(5))
    expected = RandomDiffeomorphism(0.7, generator=torch.Generator().manual_seed(9))(images)
    for _ in range(2):
        assert torch.equal(augmentation(images, generator=torch.Generator().manual_seed(9)), expected)
    own = RandomDiffeomorphism(0.7, generator=torch.Generator().manual_seed(5))
    assert torch.equal(augmentation(images), own(images))


@pytest.mark.parametrize("keyword", [{"genrator": 1}, {"delta_px": 2.0}, {"cutoff": 5}])
def test_unknown_keywords_are_refused(keyword, images, generator):
    with pytest.raises(
        ArgumentError, match=r"keyword must be one of params, generator, align_corners, data_keys"
    ):
        RandomDiffeomorphism(0.7, generator=generator)(images, **keyword)


def test_the_mode_of_a_call_is_checked(images, generator):
    augmentation = RandomDiffeomorphism(0.7, generator=generator)
    nearest = augmentation(images, mode="nearest")
    assert set(nearest.flatten().tolist()) <= set(images.flatten().tolist())
    with pytest.raises(ArgumentError, match="mode must be one of bilinear, nearest, gaussian, got 'cubic'"):
        augmentation(images, mode="cubic")


@pytest.mark.parametrize("p", [1.0, 0.5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.uint8], ids=str)
def test_inverse_undoes_to_interpolation(dtype, p, generator):
    rows, columns = torch.meshgrid(torch.linspace(0, 1, 40), torch.linspace(0, 1, 40), indexing="ij")
    picture = (0.5 + 0.5 * torch.sin(4 * rows + 3 * columns)).expand(6, 1, -1, -1)
    given = (255 * picture).round().to(dtype) if dtype == torch.uint8 else picture.to(dtype)
    augmentation = RandomDiffeomorphism(2.0, cutoff=2, p=p, generator=generator)
    warped = augmentation(given)
    undone = augmentation.inverse(warped)
    assert undone.dtype == dtype
    size = 255 if dtype == torch.uint8 else 1
    assert (warped.float() - given.float()).abs().max() > 0.05 * size
    # Each interpolation misses by (4^2 + 3^2) / 39^2 / 16 = 0.001, the second one that of a stretched picture.
    rounding = {torch.float32: 0, torch.bfloat16: 2**-8, torch.uint8: 1.5 / 255}[dtype]
    assert (undone.float() - given.float()).abs().max() < (0.004 + rounding) * size
    left = ~augmentation._applied(augmentation._params)
    assert torch.equal(undone[left], given[left])
    assert (
        augmentation.inverse(warped[0], params={k: v[:1] for k, v in augmentation._params.items()}).ndim == 3
    )


def test_inverse_of_a_fold_is_told(images, generator):
    augmentation = RandomDiffeomorphism(temperature=0.04, generator=generator)
    with pytest.warns(FoldingWarning, match="temperature 0.04 exceeds"):
        warped = augmentation(images)
    with pytest.warns(FoldingWarning, match="of the 6 fields that are undone fold the image"):
        augmentation.inverse(warped)


def test_a_field_has_no_matrix(images, generator):
    augmentation = RandomDiffeomorphism(0.7, p=0.5, generator=generator)
    augmentation(images)
    applied = augmentation._applied(augmentation._params)
    assert 0 < applied.sum() < len(images)
    assert augmentation.transform_matrix[applied].isnan().all()
    assert torch.equal(
        augmentation.transform_matrix[~applied], torch.eye(3).expand(len(images), 3, 3)[~applied]
    )


def test_parameters_are_one_row_per_image_even_if_shared(images, generator):
    augmentation = RandomDiffeomorphism(0.7, same_on_batch=True, generator=generator)
    augmentation(images)
    assert augmentation._params["coefficients"].shape == (6, 2, 3, 3)
    assert torch.equal(
        augmentation(images, augmentation._params), augmentation(images, params=augmentation._params)
    )


def test_folding_is_told_once(images, generator, recwarn):
    augmentation = RandomDiffeomorphism(temperature=2.0, generator=generator)
    with pytest.warns(
        FoldingWarning, match=r"temperature 2 exceeds the admissible .* of the 6 drawn fields fold"
    ):
        augmentation(images)
    augmentation(images)
    RandomDiffeomorphism(0.5, generator=generator)(images)
    assert not recwarn.list


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "delta_px and temperature must be given one without the other"),
        (
            {"delta_px": 1.0, "temperature": 0.1},
            "delta_px and temperature must be given one without the other",
        ),
        ({"delta_px": -1.0}, "delta_px must be finite and at least 0, got -1.0"),
        ({"temperature": -1.0}, "temperature must be finite and at least 0, got -1.0"),
        ({"delta_px": 1.0, "cutoff": 1}, "cutoff must be an integer of at least 2, got 1"),
        ({"temperature": 0.1, "cutoff": 1}, "cutoff must be an integer of at least 2, got 1"),
        ({"delta_px": 1.0, "mode": "cubic"}, "mode must be one of bilinear, nearest, gaussian, got 'cubic'"),
        ({"delta_px": 1.0, "p": 1.5}, "p must be between 0 and 1, got 1.5"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        RandomDiffeomorphism(**arguments)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (
            torch.zeros(2, 1, 8, 8, dtype=torch.int64),
            "images must be floating-point or uint8, got torch.int64. Wrap masks in",
        ),
        (torch.full((2, 1, 8, 8), math.nan), "images must be finite"),
        (torch.zeros(2, 1, 1, 8), "height must be an integer of at least 2 pixels, got 1"),
        (torch.zeros(1, 2, 1, 8, 8), r"images must have 2 to 4 dimensions, got shape \(1, 2, 1, 8, 8\)"),
    ],
)
def test_bad_images_are_refused(bad, message, generator):
    with pytest.raises(ArgumentError, match=message):
        RandomDiffeomorphism(0.5, generator=generator)(bad)


def test_the_package_does_not_import_kornia():
    code = "import sys, diffstab.diffeo; sys.exit('kornia' in sys.modules or 'torchvision' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
