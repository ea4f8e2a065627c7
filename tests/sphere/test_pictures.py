import math
import time

import matplotlib.image
import pytest
import torch

from diffstab.errors import ArgumentError
from diffstab.sphere import (
    GaussianField,
    draw_field_on_circle,
    draw_field_on_sphere,
    write_field_picture,
)
from diffstab.sphere.pictures import field_on_circle, field_on_sphere


def grid_points(count):
    """Centres of the cells of `field_on_sphere`, by its definition."""
    rows = []
    for i in range(count):
        latitude = (i + 0.5) * math.pi / count - math.pi / 2
        for j in range(2 * count):
            longitude = (j + 0.5) * math.pi / count - math.pi
            flat = math.cos(latitude)
            rows.append([flat * math.cos(longitude), flat * math.sin(longitude), math.sin(latitude)])
    return torch.tensor(rows, dtype=torch.float64)


@pytest.mark.parametrize("parity", ["even", "all"])
@pytest.mark.parametrize("smoothness", [0.5, 4.0])
def test_the_grid_has_the_covariance_of_the_field(smoothness, parity, generator):
    field = GaussianField(3, smoothness, parity=parity)
    drawn = torch.stack([field_on_sphere(field, generator=generator, count=5).flatten() for _ in range(3000)])
    covariance = field.covariance_matrix(grid_points(5))
    error = (drawn.T @ drawn / 3000 - covariance) / ((1 + covariance.square()) / 3000).sqrt()
    assert float(error.abs().max()) < 5
    assert float(error.square().mean()) == pytest.approx(1, abs=0.5)


def test_the_circle_has_the_covariance_of_the_field(generator):
    field = GaussianField(2, 0.3, parity="all")
    drawn = torch.stack([field_on_circle(field, generator=generator, count=16)[1] for _ in range(3000)])
    angles, _ = field_on_circle(field, generator=generator, count=16)
    covariance = field.covariance_matrix(torch.stack([angles.cos(), angles.sin()], 1))
    error = (drawn.T @ drawn / 3000 - covariance) / ((1 + covariance.square()) / 3000).sqrt()
    assert float(error.abs().max()) < 5


def test_a_rough_field_looks_rough_and_a_smooth_one_smooth(generator):
    """Mean square difference of neighbours along the equator, against the variance."""
    roughness = []
    for smoothness in (0.5, 4.0):
        values = field_on_sphere(GaussianField(3, smoothness), generator=generator)
        roughness.append(float(values[60].diff().square().mean() / values.square().mean()))
    assert roughness[0] > 30 * roughness[1]


def test_a_fine_grid_is_fast(generator):
    started = time.process_time()
    values = field_on_sphere(GaussianField(3, 0.5), generator=generator)
    assert values.shape == (120, 240)
    assert time.process_time() - started < 20  # about 1 s; a joint draw of 28,800 points would need minutes


def test_the_circle_shows_the_values_as_a_relief(axes, generator):
    field = GaussianField(2, 1.5)
    ax = axes()
    assert draw_field_on_circle(ax, field, generator=torch.Generator().manual_seed(3)) is ax
    _, values = field_on_circle(field, generator=torch.Generator().manual_seed(3))
    across, up = (torch.from_numpy(axis) for axis in ax.lines[1].get_data())
    torch.testing.assert_close((across.square() + up.square()).sqrt()[:-1], (1 + 0.2 * values).abs())
    assert (across[0], up[0]) == (across[-1], up[-1])


def test_the_sphere_shows_the_values_in_their_cells(axes):
    field = GaussianField(3, 1.5)
    mesh = draw_field_on_sphere(axes("mollweide"), field, generator=torch.Generator().manual_seed(3))
    values = field_on_sphere(field, generator=torch.Generator().manual_seed(3))
    assert (mesh.get_array() == values.numpy()).all()
    corners = mesh.get_coordinates()
    assert corners.shape == (121, 241, 2)
    assert corners[0, 0].tolist() == pytest.approx([-math.pi, -math.pi / 2])
    assert corners[-1, -1].tolist() == pytest.approx([math.pi, math.pi / 2])
    assert mesh.norm.vmin == -mesh.norm.vmax  # zero is white


@pytest.mark.parametrize("dimension", [2, 3])
def test_pictures_are_written_and_repeat(dimension, tmp_path):
    paths = [tmp_path / name for name in ("first.png", "second.png")]
    for path in paths:
        assert write_field_picture(path, dimension, [0.5, 4]) == path
    first, second = (matplotlib.image.imread(path) for path in paths)
    assert (first == second).all()
    assert first[..., :3].std() > 0.02
    other = write_field_picture(tmp_path / "third.png", dimension, [0.5, 4], seed=1)
    assert (matplotlib.image.imread(other).shape != first.shape) or (
        matplotlib.image.imread(other) != first
    ).any()


def test_bad_pictures_are_refused(axes, generator, tmp_path):
    with pytest.raises(ArgumentError, match="ax must be of the projection mollweide, got rectilinear"):
        draw_field_on_sphere(axes(), GaussianField(3, 1.0), generator=generator)
    with pytest.raises(ArgumentError, match="field must be one of dimension 3, got 2"):
        field_on_sphere(GaussianField(2, 1.0), generator=generator)
    with pytest.raises(ArgumentError, match="field must be one of dimension 2, got 3"):
        draw_field_on_circle(axes(), GaussianField(3, 1.0), generator=generator)
    with pytest.raises(ArgumentError, match="dimension must be 2 or 3 for a picture, got 5"):
        write_field_picture(tmp_path / "x.png", 5, [1.0])
    with pytest.raises(ArgumentError, match="smoothnesses must not be empty"):
        write_field_picture(tmp_path / "x.png", 3, [])
    with pytest.raises(ArgumentError, match=r"output must end in \.png, \.pdf, \.svg, got .*x\.xyz"):
        write_field_picture(tmp_path / "x.xyz", 3, [1.0])
    with pytest.raises(
        ArgumentError, match=r"output must be in a folder that is there, .* Make .*none first"
    ):
        write_field_picture(tmp_path / "none" / "x.png", 3, [1.0])
    with pytest.raises(ArgumentError, match="seed must be at least 0"):
        write_field_picture(tmp_path / "x.png", 3, [1.0], seed=-1)
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(ArgumentError, match="output must be a file"):
        write_field_picture(tmp_path / "folder.png", 3, [1.0])
    assert not (tmp_path / "none").exists()
    assert not (tmp_path / "x.png").exists()
