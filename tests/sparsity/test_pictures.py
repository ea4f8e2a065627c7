import math
import subprocess
import sys

import pytest
import torch
from matplotlib.colors import to_hex

from diffstab.errors import ArgumentError, DegenerateError
from diffstab.sparsity import (
    draw_neurons,
    draw_neurons_on_circle,
    draw_neurons_on_sphere,
    mass,
    neuron_picture,
    principal_axes,
)

BLUE, VERMILION = "#0072b2", "#d55e00"


def discs(ax):
    """The scatter of neurons: the first with points of varying area."""
    return next(c for c in ax.collections if len(c.get_offsets()) and len(c.get_sizes()) > 1)


def test_principal_axes_diagonalise_the_moment_of_the_directions(random_layer):
    theta, weights_out, _ = random_layer(30, 5, 1)
    masses = mass(theta, weights_out)
    found = principal_axes(theta, masses)
    unit = theta / theta.norm(dim=1, keepdim=True)
    values, vectors = torch.linalg.eigh(unit.T @ (masses[:, None] * unit))
    for row, vector, value in zip(found, vectors.T.flip(0), values.flip(0)):
        assert abs(float(row @ vector)) == pytest.approx(1, abs=1e-9)
        assert value > 0
    assert (found @ found.T - torch.eye(2)).abs().max() < 1e-12


def test_picture_of_planar_neurons_is_the_plane_turned(random_layer):
    theta, weights_out, _ = random_layer(20, 2, 1)
    plane = torch.linalg.qr(random_layer(10, 2, 1).theta).Q
    places = neuron_picture(theta @ plane.T, mass(theta, weights_out))
    assert places.shape == (20, 2)
    assert torch.allclose(places @ places.T, theta @ theta.T, atol=1e-12)


def test_convention_mean_direction_points_up_and_right(random_layer):
    theta, weights_out, _ = random_layer(20, 4, 1)
    masses = mass(theta, weights_out)
    for sign in (1, -1):
        places = neuron_picture(sign * theta, masses)
        weight = masses / theta.norm(dim=1)
        assert (weight @ places >= 0).all()


def test_two_pictures_can_share_their_axes(random_layer):
    theta, weights_out, _ = random_layer(20, 4, 1)
    axes = principal_axes(theta, mass(theta, weights_out))
    later = neuron_picture(theta + 1, mass(theta, weights_out), axes=axes)
    assert torch.allclose(later, (theta + 1) @ axes.T)


@pytest.mark.parametrize(("neurons", "dimension"), [(1, 5), (6, 1), (1, 1)])
def test_missing_axes_are_zero(random_layer, neurons, dimension):
    theta, weights_out, _ = random_layer(neurons, dimension, 1)
    places = neuron_picture(theta, mass(theta, weights_out))
    assert places.shape == (neurons, 2)
    assert torch.allclose(places.norm(dim=1), theta.norm(dim=1))
    assert not places[:, 1].any()


def test_tsne_keeps_the_groups_apart(generator):
    directions = torch.eye(3).repeat_interleave(12, dim=0)
    theta = (1 + torch.rand(36, 1, generator=generator)) * directions
    theta = theta + 0.01 * torch.randn(36, 3, generator=generator)
    state = generator.get_state()
    places = neuron_picture(theta, torch.ones(36), method="tsne", generator=generator)
    assert places.shape == (36, 2)
    apart = torch.cdist(places, places).fill_diagonal_(math.inf)
    assert torch.equal(apart.argmin(dim=1) // 12, torch.arange(36) // 12)
    again = neuron_picture(theta, torch.ones(36), method="tsne", generator=generator.set_state(state))
    assert torch.equal(places, again)


def test_area_is_mass_and_colour_is_sign(axes):
    places = torch.tensor([[0.0, 0.0], [1.0, 2.0], [3.0, 1.0], [5.0, 5.0]])
    ax = draw_neurons(
        axes(), places, torch.tensor([1.0, 4.0, 2.0, 0.0]), signs=torch.tensor([0.3, -1.0, 2.0, 1.0])
    )
    drawn = discs(ax)
    assert drawn.get_offsets().tolist() == [
        [1, 2],
        [3, 1],
        [0, 0],
    ]  # the heavy first, below; none without mass
    sizes = drawn.get_sizes()
    assert (sizes / sizes[0]).tolist() == pytest.approx([1, 0.5, 0.25])
    assert [to_hex(colour) for colour in drawn.get_facecolors()] == [VERMILION, BLUE, BLUE]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["w > 0", "w < 0"]
    ax.figure.canvas.draw()


def test_two_pictures_can_share_the_scale_of_their_areas(axes):
    places = torch.zeros(2, 2)
    whole = discs(draw_neurons(axes(), places, torch.tensor([1.0, 3.0]))).get_sizes()
    half = discs(draw_neurons(axes(), places, torch.tensor([1.0, 3.0]), heaviest=6.0)).get_sizes()
    assert half.tolist() == pytest.approx((whole / 2).tolist())


def test_circle_shows_directions_and_points(axes):
    theta, masses = torch.tensor([[2.0, 0.0], [0.0, -3.0]]), torch.tensor([2.0, 1.0])
    ax = draw_neurons_on_circle(axes(), theta, masses, x=torch.tensor([[0.0, 5.0]]))
    assert discs(ax).get_offsets().tolist() == [[1, 0], [0, -1]]
    across, up = ax.lines[-1].get_data()
    assert list(across) == pytest.approx([0, 0])
    assert min(up) > 1
    assert ax.get_legend() is None
    ax.figure.canvas.draw()


def test_sphere_is_a_map_of_longitude_and_latitude(axes):
    theta = torch.tensor([[4.0, 0.0, 0.0], [0.0, 1.0, 0.0], [1.0, 0.0, 1.0]])
    ax = draw_neurons_on_sphere(
        axes("mollweide"), theta, torch.tensor([3.0, 2.0, 1.0]), signs=torch.ones(3), x=-theta
    )
    expected = [0, 0, math.pi / 2, 0, 0, math.pi / 4]
    assert discs(ax).get_offsets().flatten().tolist() == pytest.approx(expected, abs=1e-6)
    ax.figure.canvas.draw()


def test_importing_the_room_loads_no_plotting():
    code = "import sys, diffstab.sparsity; assert not {'matplotlib', 'sklearn'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_arguments_are_checked(axes, generator):
    theta, masses = torch.eye(3), torch.ones(3)
    with pytest.raises(ArgumentError, match="method must be pca or tsne, got 'umap'"):
        neuron_picture(theta, masses, method="umap")
    with pytest.raises(ArgumentError, match=r"generator must be given for t-SNE, got None\. Pass stream"):
        neuron_picture(theta, masses, method="tsne")
    with pytest.raises(ArgumentError, match="at least four neurons for t-SNE, got 3"):
        neuron_picture(theta, masses, method="tsne", generator=generator)
    with pytest.raises(ArgumentError, match="axes must be two rows, got 3"):
        neuron_picture(theta, masses, axes=theta)
    with pytest.raises(ArgumentError, match=r"masses must have shape \(3,\)"):
        neuron_picture(theta, torch.ones(2))
    with pytest.raises(DegenerateError, match="zero mass"):
        neuron_picture(theta, torch.zeros(3))
    with pytest.raises(ArgumentError, match="ax must be of the projection mollweide, got rectilinear"):
        draw_neurons_on_sphere(axes(), theta, masses)
    with pytest.raises(ArgumentError, match=r"theta must be a matrix of 2 columns"):
        draw_neurons_on_circle(axes(), theta, masses)
    with pytest.raises(ArgumentError, match=r"signs must have shape \(3,\), got \(2,\)"):
        draw_neurons(axes(), theta[:, :2], masses, signs=torch.ones(2))
    with pytest.raises(ArgumentError, match="heaviest must be positive, got 0"):
        draw_neurons(axes(), theta[:, :2], torch.zeros(3))
