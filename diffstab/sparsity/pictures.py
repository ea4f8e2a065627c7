"""Pictures of neurons: in the plane of two principal axes or of t-SNE, on the circle and on the sphere.

The area of a disc is the mass of its neuron, its colour the sign of the outgoing weight.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from diffstab.errors import ArgumentError
from diffstab.sparsity.angles import unit_directions
from diffstab.sparsity.measures import mass_shares
from diffstab.sparsity.validation import checked_masses, checked_matrix

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Blue and vermilion of Okabe and Ito (2008), told apart with any common colour blindness.
_COLOURS = {"w > 0": "#0072B2", "w < 0": "#D55E00"}
_LARGEST_AREA = 220.0  # square points, of the heaviest neuron


def principal_axes(theta: Tensor, masses: Tensor) -> Tensor:
    """Return the two leading eigenvectors of sum_h m_h u_h u_h^T, u_h the directions of the neurons.

    Args:
        theta: Weights, shape (H, d).
        masses: Shape (H,).

    Returns:
        Orthonormal rows, float64, shape (2, d); a row that does not exist (d or H below 2) is zero.

    Raises:
        ArgumentError: If the shapes do not fit or an entry is not a finite float.
        DegenerateError: If all masses vanish.

    Convention: the mass-weighted mean direction has no negative coordinate on either axis.
    """
    unit = unit_directions(theta)
    shares = mass_shares(checked_masses(masses, count=len(unit))).to(unit.device)
    found = torch.linalg.svd(unit * shares.sqrt()[:, None], full_matrices=False).Vh[:2]
    found = found * torch.where(found @ (shares @ unit) < 0, -1.0, 1.0)[:, None]
    return torch.cat([found, found.new_zeros(2 - len(found), found.shape[1])])


def neuron_picture(
    theta: Tensor,
    masses: Tensor,
    *,
    method: str = "pca",
    axes: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Return the place of each neuron in a plane.

    Args:
        theta: Weights, shape (H, d).
        masses: Shape (H,); they weigh the neurons in the choice of the axes.
        method: "pca": theta_h on two orthonormal axes. "tsne": t-SNE of the directions, which keeps neighbours by
            angle but neither distances nor axes.
        axes: For "pca", the axes, shape (2, d), so that two pictures can share them; None takes `principal_axes`.
        generator: For "tsne", the source of its seed; needed there.

    Returns:
        Float64, shape (H, 2).

    Raises:
        ArgumentError: If the method is unknown, the shapes do not fit, or t-SNE lacks a generator or neurons.
        DegenerateError: If all masses vanish.
    """
    incoming = checked_matrix("theta", theta)
    checked_masses(masses, count=len(incoming))
    if method == "pca":
        chosen = principal_axes(incoming, masses) if axes is None else axes
        chosen = checked_matrix("axes", chosen, columns=incoming.shape[1])
        if len(chosen) != 2:
            raise ArgumentError("axes", "be two rows", len(chosen))
        return torch.mm(incoming, chosen.T)
    if method == "tsne":
        return _embedding(incoming, generator)
    raise ArgumentError("method", "be pca or tsne", repr(method))


def _embedding(theta: Tensor, generator: torch.Generator | None) -> Tensor:
    from sklearn.manifold import TSNE

    if generator is None:
        raise ArgumentError("generator", "be given for t-SNE", None, "Pass stream(0, 'embedding').")
    if len(theta) < 4:
        raise ArgumentError("theta", "hold at least four neurons for t-SNE", len(theta))
    seed = int(torch.randint(2**31 - 1, (), generator=generator, device=generator.device))
    perplexity = min(30.0, (len(theta) - 1) / 3)
    # On the unit sphere the Euclidean distance is a function of the angle.
    model = TSNE(perplexity=perplexity, init="random", random_state=seed)
    return torch.from_numpy(model.fit_transform(unit_directions(theta).cpu().numpy())).double()


def draw_neurons(
    ax: Axes, places: Tensor, masses: Tensor, *, signs: Tensor | None = None, heaviest: float | None = None
) -> Axes:
    """Draw neurons as discs in a plane, the lighter ones on top.

    Args:
        ax: Where to draw.
        places: Coordinates, shape (H, 2), as from `neuron_picture`.
        masses: Shape (H,).
        signs: Outgoing weights or their signs, shape (H,); zero goes with the positive ones. None: one colour.
        heaviest: Mass of the largest disc, so that two pictures can share a scale; None is the largest mass.

    Returns:
        The same axes.

    Raises:
        ArgumentError: If the shapes do not fit or an entry is out of range.
    """
    points = checked_matrix("places", places, columns=2)
    weight = checked_masses(masses, count=len(points))
    scale = float(weight.max()) if heaviest is None else heaviest
    if not scale > 0:
        raise ArgumentError("heaviest", "be positive", scale)
    _discs(ax, points, weight / scale, signs)
    ax.set_aspect("equal", adjustable="datalim")
    ax.set(xlabel="First axis", ylabel="Second axis")
    return ax


def draw_neurons_on_circle(
    ax: Axes, theta: Tensor, masses: Tensor, *, signs: Tensor | None = None, x: Tensor | None = None
) -> Axes:
    """Draw the directions of neurons in two dimensions on the unit circle, training points as ticks outside it.

    Args:
        ax: Where to draw.
        theta: Weights, shape (H, 2).
        masses: Shape (H,); neurons without mass are not drawn.
        signs: Outgoing weights or their signs, shape (H,).
        x: Training points, shape (n, 2).

    Returns:
        The same axes.

    Raises:
        ArgumentError: If the shapes do not fit or an entry is out of range.
        DegenerateError: If all masses vanish.
    """
    unit = unit_directions(checked_matrix("theta", theta, columns=2))
    weight = mass_shares(checked_masses(masses, count=len(unit)))
    turn = torch.linspace(0, 2 * torch.pi, 361, dtype=torch.float64)
    ax.plot(turn.cos().numpy(), turn.sin().numpy(), color="#8a8a8a", linewidth=0.8, zorder=1)
    if x is not None:
        points = unit_directions(checked_matrix("x", x, columns=2)).cpu()
        for point in points:
            ax.plot(*(torch.tensor([1.06, 1.14]) * point[:, None]).numpy(), color="#222222", linewidth=0.8)
    _discs(ax, unit, weight / weight.max(), signs)
    ax.set_aspect("equal")
    ax.set_axis_off()
    return ax


def draw_neurons_on_sphere(
    ax: Axes, theta: Tensor, masses: Tensor, *, signs: Tensor | None = None, x: Tensor | None = None
) -> Axes:
    """Draw the directions of neurons in three dimensions on an equal-area map, training points as crosses.

    Args:
        ax: Axes of the projection "mollweide".
        theta: Weights, shape (H, 3); the third coordinate points to the north pole, the first to the centre.
        masses: As for `draw_neurons_on_circle`.
        signs: As there.
        x: Training points, shape (n, 3).

    Returns:
        The same axes.

    Raises:
        ArgumentError: If the axes are of another projection, the shapes do not fit or an entry is out of range.
        DegenerateError: If all masses vanish.
    """
    if ax.name != "mollweide":
        raise ArgumentError("ax", "be of the projection mollweide", ax.name, 'Pass projection="mollweide".')
    weight = mass_shares(checked_masses(masses, count=len(theta)))
    if x is not None:
        longitude, latitude = _longitude_latitude("x", x).T.numpy()
        ax.scatter(longitude, latitude, marker="x", s=18, color="#222222", linewidth=0.8)
    _discs(ax, _longitude_latitude("theta", theta), weight / weight.max(), signs)
    ax.set(xticklabels=[], yticklabels=[])
    ax.grid(visible=True, color="#e6e6e6")
    return ax


def _longitude_latitude(name: str, points: Tensor) -> Tensor:
    east, north, up = unit_directions(checked_matrix(name, points, columns=3)).cpu().T
    return torch.stack([torch.atan2(north, east), up.clamp(-1, 1).asin()], dim=1)


def _discs(ax: Axes, places: Tensor, relative_masses: Tensor, signs: Tensor | None) -> None:
    """Scatter the neurons that have mass, the heavy first, and a legend where there are signs."""
    order = relative_masses.argsort(descending=True, stable=True)
    order = order[relative_masses[order] > 0]
    points, areas = places[order].cpu(), _LARGEST_AREA * relative_masses[order].cpu()
    blue, vermilion = _COLOURS.values()
    colours = [blue] * len(order)
    if signs is not None:
        if signs.shape != relative_masses.shape:
            raise ArgumentError("signs", f"have shape {tuple(relative_masses.shape)}", tuple(signs.shape))
        colours = [vermilion if sign < 0 else blue for sign in signs[order].tolist()]
    # One scatter for both signs, so that light discs lie on heavy ones of either.
    across, up = points.T.numpy()
    ax.scatter(
        across, up, s=areas.numpy(), c=colours, alpha=0.6, edgecolors="white", linewidths=0.4, zorder=2
    )
    if signs is not None:
        for label, colour in _COLOURS.items():
            if colour not in colours:
                continue
            ax.scatter([], [], s=40, color=colour, label=label)
        ax.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False)
