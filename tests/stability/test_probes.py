import math
import random
import warnings

import kornia.augmentation as kornia
import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from diffstab.diffeo.sampler import RandomDiffeomorphism
from diffstab.errors import ArgumentError
from diffstab.stability import (
    add_noise,
    change_norms,
    diffeomorphism,
    draw_pairs,
    random_rotation,
    random_sphere_rotation,
    random_translation,
)

HALVES = [torch.float16, torch.bfloat16]
OWN = [diffeomorphism(0.5), random_rotation(10.0), random_translation(1.0), random_sphere_rotation(10.0)]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def images(count=6, dtype=torch.float32):
    return torch.rand(count, 1, 16, 16, generator=seeded(3), dtype=torch.float32).to(dtype)


def drawn(deform, *, seed=0, x=None, **options):
    return draw_pairs(images() if x is None else x, deform=deform, generator=seeded(seed), **options)


def numpy_shift(x):
    return x + np.random.rand() + random.random()  # noqa: NPY002 (as augmentations of others do)


FOREIGN = {
    "diffstab's sampler": lambda: RandomDiffeomorphism(delta_px=0.5),
    "its own generator": lambda: RandomDiffeomorphism(delta_px=0.5, generator=seeded(7)),
    "kornia": lambda: kornia.RandomAffine(20.0),
    "kornia container": lambda: kornia.AugmentationSequential(
        RandomDiffeomorphism(delta_px=0.5, generator=seeded(7)), kornia.RandomHorizontalFlip()
    ),
    "torchvision": lambda: v2.RandomAffine(20.0),
    "torchvision compose": lambda: v2.Compose(
        [v2.ColorJitter(0.5), RandomDiffeomorphism(0.5, generator=seeded(7))]
    ),
    "numpy and random": lambda: numpy_shift,
    "swallows keywords": lambda: lambda x, **unused: x + torch.rand(()),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_anybodys_augmentation_is_a_function_of_the_generator(name):
    deform = FOREIGN[name]()
    first = drawn(deform, fields_per_image=2)
    states = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002
    again, other = drawn(deform, fields_per_image=2), drawn(deform, seed=1)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.get_state()[1].tolist(), random.getstate()) == states[1:]  # noqa: NPY002
    assert torch.equal(first.deformed, again.deformed)
    assert torch.equal(first.noisy, again.noisy)
    assert not torch.equal(first.deformed[0], first.deformed[1])
    assert not torch.equal(first.deformed[0], other.deformed[0])


def test_a_generator_of_its_own_is_put_back():
    generator = seeded(7)
    drawn(v2.Compose([RandomDiffeomorphism(0.5, generator=generator)]))
    assert torch.equal(generator.get_state(), seeded(7).get_state())


def test_global_generators_are_put_back_after_an_error():
    def breaks(x):
        torch.rand(3)
        raise RuntimeError("broken")

    state = torch.get_rng_state()
    with pytest.raises(RuntimeError, match="broken"):
        drawn(breaks)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("deform", OWN)
def test_unknown_keywords_of_a_deformation_are_refused(deform):
    with pytest.raises(TypeError, match="generatr"):
        deform(images(), generator=seeded(), generatr=seeded())


def test_a_deformation_that_returns_something_else_is_refused():
    with pytest.raises(ArgumentError, match="deform must return images or a `Deformed`, got tuple"):
        drawn(lambda x: (x, x))


def in_place(x, *, generator):
    return x.add_(torch.rand(len(x), 1, 1, 1, generator=generator))


def transposed_view(x, *, generator):
    return x.transpose(-1, -2)


def one_buffer():
    buffer = torch.empty(6, 1, 16, 16)

    def run(x, *, generator):
        return torch.add(x, torch.rand((), generator=generator), out=buffer)

    return run


@pytest.mark.parametrize(
    "deform", [in_place, transposed_view, one_buffer(), v2.Normalize([0.5], [0.5], True)]
)
def test_a_deformation_may_work_in_place_or_return_a_buffer(deform):
    x = images()
    probes = drawn(deform, x=x, fields_per_image=2)
    assert torch.equal(x, images())
    assert torch.equal(probes.clean, x)
    if deform is transposed_view:
        assert torch.equal(probes.deformed[1], x.mT)
    elif not isinstance(deform, v2.Normalize):
        shifts = (probes.deformed - x).mean(dim=(2, 3, 4))
        assert not torch.allclose(shifts[0], shifts[1])
    assert torch.allclose(probes.draw.deformation_norms, change_norms(x, probes.deformed))


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("deform", OWN)
def test_half_precision_images_are_deformed_in_float32_and_come_back(deform, dtype):
    half, full = drawn(deform, x=images(dtype=dtype)), drawn(deform, x=images(dtype=dtype).float())
    assert (half.deformed.dtype, half.noisy.dtype) == (dtype, dtype)
    # one rounding of numbers below 1, or 2 for points that were turned
    assert float((half.deformed.float() - full.deformed).abs().max()) <= torch.finfo(dtype).eps


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("noise", ["matched", "batch", 0.3])
def test_noise_of_half_precision_images_has_the_norm_that_a_predictor_sees(dtype, noise):
    x = images(dtype=dtype)
    probes = drawn(diffeomorphism(0.5), x=x, noise=noise)
    moved = change_norms(x, probes.deformed)
    assert moved.dtype == torch.float32
    assert torch.equal(probes.draw.deformation_norms, moved)
    wanted = {"matched": moved, "batch": moved.mean().expand_as(moved), 0.3: torch.full_like(moved, 0.3)}[
        noise
    ]
    assert torch.allclose(change_norms(x, probes.noisy), wanted, rtol=0.01)
    assert torch.equal(probes.draw.noise_norms, change_norms(x, probes.noisy))


def test_noise_below_the_rounding_of_the_images_is_scaled_to_what_is_left():
    x = 1 + images(dtype=torch.bfloat16)  # units of 2^-7
    noisy = add_noise(x, torch.full((6,), 0.05), generator=seeded())
    # at a norm of 0.05 over 256 pixels most of the noise is rounded away; without scaling 0.03 or less is left
    assert float((change_norms(x, noisy[None])[0] / 0.05 - 1).abs().max()) < 0.3


@pytest.mark.parametrize("deform", OWN)
def test_autocast_around_changes_nothing(deform):
    wanted = drawn(deform)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = drawn(deform)
    for part, other in zip(wanted[:3], found[:3], strict=True):
        assert torch.equal(part, other)
    assert torch.equal(wanted.draw.noise_norms, found.draw.noise_norms)


def test_no_warning_comes_with_any_of_it():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        probes = drawn(kornia.RandomHorizontalFlip(p=0.5))
    assert math.isnan(probes.draw.delta_px)
