import math

import numpy as np
import pytest
import torch
from scipy.linalg import cho_factor, cho_solve

from diffstab.errors import ArgumentError, DegenerateError
from diffstab.kernels import (
    NTKRegressor,
    RidgePathSettings,
    as_predictor,
    fit_ridge_path,
    gram_panels,
    ntk,
    random_feature_kernel,
    ridge_path,
)
from diffstab.kernels.block_kernel import BlockKernel
from diffstab.kernels.gram_panels import GramPanels
from diffstab.kernels.low_rank import low_rank
from diffstab.stability import diffeomorphism, measure_stability

KERNELS = {"ntk": ntk, "random_feature": random_feature_kernel}


@pytest.fixture
def images(generator):
    """Images of different norms, two of them nearly parallel and two equal up to their size."""
    found = torch.randn(60, 1, 4, 5, dtype=torch.float64, generator=generator)
    found[1] = found[0] + 1e-4 * found[2]
    found[3] = 2 * found[4]
    return found.float()


@pytest.fixture
def targets(images):
    """Two smooth functions of the images."""
    flat = images.flatten(1).double()
    return torch.stack([flat[:, 0] * flat[:, 1], flat[:, 2].abs()], dim=1)


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(gram_panels, "_SIDE", 16)


def cholesky(images, targets, new, *, ridge, **options):
    """The predictor of ridge regression by a dense factorisation in float64."""
    gram = ntk(images, **options).numpy()
    gram += ridge * np.diag(gram).mean() * np.eye(len(gram))
    return ntk(new, images, **options).numpy() @ cho_solve(cho_factor(gram), targets.numpy())


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_entries_are_those_of_the_exact_kernel_to_single_precision(images, kernel, depth):
    exact = KERNELS[kernel](images, depth=depth)
    blocks = BlockKernel(images, kernel=kernel, depth=depth)
    assert blocks.diagonal.numpy() == pytest.approx(exact.diagonal().numpy(), rel=1e-12)
    scale = (blocks.diagonal[:, None] * blocks.diagonal).sqrt()
    everything = slice(0, len(images))
    # Cosines are off by some 1e-7, and angles by that over the sine of the angle: at most 3e-6.
    assert ((blocks.block(everything, everything) - exact) / scale).abs().max() < 5e-6
    some = torch.tensor([7, 0, 59])
    assert ((blocks.columns(some) - exact[:, some]) / scale[:, some]).abs().max() < 5e-6
    assert torch.equal(blocks.exact_rows(some), KERNELS[kernel](images[some], images, depth=depth))


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("on_disk", [False, True])
def test_products_are_those_of_the_whole_matrix(images, generator, on_disk, tmp_path):
    panels = GramPanels(BlockKernel(images), folder=tmp_path if on_disk else None)
    gram = ntk(images)
    vectors = torch.randn(60, 3, dtype=torch.float64, generator=generator)
    scale = gram.diagonal().max() * vectors.abs().sum()
    assert (panels.product(vectors) - gram @ vectors).abs().max() < 3e-6 * scale
    identity = panels.product(torch.eye(60, dtype=torch.float64), exact=True)
    assert torch.equal(identity, identity.T)
    assert torch.equal(panels.product(torch.eye(60, dtype=torch.float64)), identity)
    assert len(list(tmp_path.iterdir())) == (4 if on_disk else 0)


@pytest.mark.parametrize("rank", [1, 13, 60, 1000])
def test_the_preconditioner_is_the_inverse_of_what_it_says_and_close_to_the_matrix(images, rank, generator):
    gram = ntk(images)
    part = low_rank(lambda places: gram[:, places], gram.diagonal(), rank=rank, generator=generator)
    ridges = torch.tensor([0.1, 2.0], dtype=torch.float64)
    vectors = torch.randn(60, 2, dtype=torch.float64, generator=generator)
    low = part.factor @ part.factor.T
    for ridge, column, solved in zip(ridges, vectors.T, part.solve(vectors, ridges).T, strict=True):
        matrix = low + (part.remainder + ridge) * torch.eye(60, dtype=torch.float64)
        torch.testing.assert_close(solved, torch.linalg.solve(matrix, column), rtol=1e-9, atol=1e-12)
    left = gram - low
    assert part.remainder == pytest.approx(float(left.diagonal().mean()), abs=2e-4 * float(gram.max()))
    # What is left of a positive matrix after some of its columns is positive, and 0 after all of them.
    assert torch.linalg.eigvalsh(left).min() > -1e-4 * gram.diagonal().max()
    if rank >= 60:
        assert left.abs().max() < 2e-4 * gram.max()
    else:
        assert part.factor.shape[1] == rank


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("outputs", [None, 2])
def test_predictions_are_those_of_cholesky_at_every_ridge(images, targets, depth, outputs):
    train, new, y = images[:50], images[50:], targets[:50] if outputs else targets[:50, 0]
    settings = RidgePathSettings(depth=depth, rank=10)
    path = fit_ridge_path(train, y, settings)
    assert path.predict(new).shape == (10, 3, *y.shape[1:])
    for place, ridge in enumerate(settings.ridges):
        expected = cholesky(train, y, new, ridge=ridge, depth=depth)
        # The residual is 1e-4 of the targets; the matrix of these images has condition numbers up to 1e6.
        assert np.abs(path.predict(new)[:, place].numpy() - expected).max() < 1e-3 * float(y.abs().max())
        torch.testing.assert_close(
            path.predictor(ridge)(new), path.predict(new)[:, place], rtol=1e-9, atol=1e-9
        )
    assert (path.residual <= 1e-4).all()
    assert path.ridge_values.tolist() == pytest.approx(
        [r * float(ntk(train, depth=depth).diagonal().mean()) for r in settings.ridges], rel=1e-12
    )


@pytest.mark.usefixtures("small_blocks")
def test_the_residual_is_that_of_the_coefficients_returned(images, targets):
    path = fit_ridge_path(images, targets, RidgePathSettings(tolerance=1e-2, rank=3, checked_points=60))
    gram = ntk(images)
    for place, ridge in enumerate(path.ridge_values):
        missed = targets - gram @ path.dual[:, place] - ridge * path.dual[:, place]
        relative = (missed.norm(dim=0) / targets.norm(dim=0)).max()
        assert float(path.exact_residual[place]) == pytest.approx(float(relative), rel=1e-6)
        # The matrix in single precision is off by 1e-6, times coefficients.
        assert float(path.residual[place]) == pytest.approx(float(relative), abs=1e-3)
    assert (path.residual <= 1e-2).all()
    assert (path.residual > 1e-5).all()


@pytest.mark.usefixtures("small_blocks")
def test_few_points_tell_the_residual_of_all(images, targets):
    settings = {"tolerance": 1e-2, "rank": 3}
    whole = fit_ridge_path(images, targets, RidgePathSettings(checked_points=60, **settings))
    some = fit_ridge_path(images, targets, RidgePathSettings(checked_points=30, **settings))
    assert torch.equal(some.dual, whole.dual)
    assert some.exact_residual.numpy() == pytest.approx(whole.exact_residual.numpy(), rel=0.6)


class Killed(Exception):
    pass


def killer(at_steps):
    """Ends a fit after some steps, as a signal would."""

    def tell(values):
        if values.get("steps") == at_steps:
            raise Killed

    return tell


@pytest.mark.usefixtures("small_blocks")
def test_a_killed_fit_goes_on_and_ends_with_the_same_numbers(images, targets, tmp_path, monkeypatch):
    monkeypatch.setattr(ridge_path, "_STEPS_PER_SAVE", 2)
    settings, made = RidgePathSettings(rank=3, tolerance=1e-8), []
    whole = fit_ridge_path(images, targets, settings)
    assert whole.steps.max() > 9
    block = BlockKernel.block
    monkeypatch.setattr(BlockKernel, "block", lambda *args: made.append(1) or block(*args))
    with pytest.raises(Killed):
        fit_ridge_path(images, targets, settings, folder=tmp_path, tell=killer(7))
    assert len(made) == 4
    told = []
    again = fit_ridge_path(
        images, targets, settings, folder=tmp_path, tell=lambda values: told.append(values)
    )
    assert len(made) == 4  # the matrix is that on the disk
    assert next(values["steps"] for values in told if "steps" in values) == 7  # of the six that were saved
    assert torch.equal(again.dual, whole.dual)
    assert torch.equal(again.steps, whole.steps)


@pytest.mark.usefixtures("small_blocks")
def test_files_of_other_problems_in_the_folder_are_left_alone(images, targets, tmp_path):
    for points, values in ((images, targets), (images + 1, targets), (images, targets.flip(1))):
        found = fit_ridge_path(points, values, folder=tmp_path)
        assert torch.equal(found.dual, fit_ridge_path(points, values).dual)
    # A file that was being written when the process died has another name.
    assert not list(tmp_path.glob("*.part"))


def test_ridge_zero_of_a_singular_matrix_is_reported_as_it_comes(images):
    points = torch.cat([images, images[:10]])
    y = torch.cat([torch.ones(60), -torch.ones(10)])  # ten points have both labels
    path = fit_ridge_path(points, y, RidgePathSettings(ridges=(0.0, 1e-2), max_steps=60))
    assert path.dual.isfinite().all()
    # No function meets both: the best misses each by 1, 20 of 70 targets.
    assert float(path.residual[0]) >= math.sqrt(20 / 70) - 1e-6
    assert float(path.residual[1]) <= 1e-4


def test_steps_that_run_out_are_seen_in_the_residual(images, targets):
    path = fit_ridge_path(images, targets, RidgePathSettings(max_steps=2, rank=1))
    assert path.steps.tolist() == [2, 2, 2]
    assert (path.residual > 1e-4).any()


def test_a_target_of_zeros_is_met_by_zeros(images, targets):
    path = fit_ridge_path(images, torch.stack([targets[:, 0], torch.zeros(60)], dim=1))
    assert torch.equal(path.dual[..., 1], torch.zeros(60, 3, dtype=torch.float64))
    assert (path.residual <= 1e-4).all()


def test_images_in_double_precision_get_the_exact_kernel(images, targets):
    path = fit_ridge_path(images, targets[:, 0])
    exact = ntk(images.double() + 0.1, images) @ path.dual
    torch.testing.assert_close(path.predict(images.double() + 0.1), exact, rtol=1e-12, atol=1e-12)
    single = path.predict(images + 0.1)
    assert (single - exact).abs().max() < 1e-5 * ntk(images).max() * path.dual.abs().sum(dim=0).max()


def test_it_stands_as_any_model_where_stability_is_measured(generator):
    images = torch.randn(40, 1, 8, 8, generator=generator)
    y = images.flatten(1)[:, 3].double()
    path = fit_ridge_path(images[:20], y[:20], RidgePathSettings(ridges=(1e-2,), tolerance=1e-7))
    dense = as_predictor(NTKRegressor(ridge=float(path.ridge_values[0])).fit(images[:20].flatten(1), y[:20]))
    options = {"deform": diffeomorphism(0.5, 3), "bootstrap": 0}
    found, expected = (
        measure_stability(f, images[20:], **options).estimate for f in (path.predictor(1e-2), dense)
    )
    for name in ("deformation", "noise", "relative"):
        # Single precision moves an output by 1e-5 of its size, where the changes are a tenth of it.
        assert float(getattr(found, name)) == pytest.approx(float(getattr(expected, name)), rel=1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ridges": ()}, r"ridges must be different finite numbers >= 0, at least one, got \[\]"),
        ({"ridges": (1e-2, 1e-2)}, "ridges must be different"),
        ({"ridges": (-1.0,)}, "ridges must be different finite numbers >= 0"),
        ({"ridges": (math.nan,)}, "ridges must be different finite numbers"),
        ({"tolerance": 0.0}, "tolerance must lie strictly between 0 and 1, got 0.0"),
        ({"rank": 0}, "rank must be at least 1, got 0"),
        ({"max_steps": 0}, "max_steps must be at least 1"),
        ({"checked_points": 0}, "checked_points must be at least 1"),
        ({"kernel": "rbf"}, "kernel must be 'ntk' or 'random_feature', got 'rbf'"),
        ({"depth": 0}, "depth must be an integer >= 1"),
        ({"depth": True}, "depth must be an integer >= 1"),
    ],
)
def test_settings_out_of_range_are_refused(images, targets, options, message):
    with pytest.raises(ArgumentError, match=message):
        fit_ridge_path(images, targets, RidgePathSettings(**options))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, y: (x.long(), y), "images must be a floating-point tensor"),
        (lambda x, y: (x / 0, y), "images must be finite"),
        (lambda x, y: (x, y[:-1]), r"targets must have shape \(60,\) or \(60, outputs\), got \(59, 2\)"),
        (lambda x, y: (x, y[:, :, None]), r"targets must have shape"),
        (lambda x, y: (x, y[:, :0]), r"targets must have shape"),
        (lambda x, y: (x, y / 0), "targets must be finite"),
    ],
)
def test_data_that_do_not_fit_are_refused(images, targets, change, message):
    with pytest.raises(ArgumentError, match=message):
        fit_ridge_path(*change(images, targets))


def test_images_of_another_size_or_ridges_that_were_not_asked_for_are_refused(images, targets):
    path = fit_ridge_path(images, targets)
    with pytest.raises(ArgumentError, match="images must have 20 pixels, as the training images, got 19"):
        path.predict(torch.ones(2, 19))
    with pytest.raises(ArgumentError, match=r"ridge must be one of 0\.01, 0\.0001, 1e-06, got 0\.1"):
        path.predictor(0.1)
    with pytest.raises(DegenerateError, match="All training images are zero"):
        fit_ridge_path(torch.zeros(3, 4), torch.ones(3))
