"""Exact pricing in two and three dimensions: all local maxima of the certificate, by enumeration.

In d = 2 the kinks cut the circle into arcs. In d = 3 they are great circles which cut the sphere into about n^2
cells; walking along each circle visits every vertex and every edge, and with them every cell, in O(n^2 log n).
A cell's interior maximum A / |A| has its nearest boundary point, the foot of a perpendicular, inside one of the
cell's edges, and that foot is where the edge itself is stationary: so stationary edges find all cells.
"""

import numpy as np
from numpy.typing import NDArray

from diffstab.sphere.arcs import Arcs, derivative, value, walk
from diffstab.sphere.certificate import Certificate, Floats, Integers, Maxima

Truths = NDArray[np.bool_]
EPSILON = float(np.finfo(np.float64).eps)
CIRCLES_AT_ONCE = 128
"""Great circles walked together; bounds the memory to about 30 arrays of that many times n."""


class _Found:
    """Local maxima collected so far; those at or below the floor are dropped."""

    def __init__(self, dimension: int, floor: float) -> None:
        self.floor = floor
        self.neurons = [np.empty((0, dimension))]
        self.values = [np.empty(0)]
        self.largest = 0.0

    def add(self, neurons: Floats, values: Floats) -> None:
        """Add local maxima (k, d) with their values (k,)."""
        self.note(values)
        size = np.abs(values)
        self.neurons.append(neurons[size > self.floor])
        self.values.append(values[size > self.floor])

    def note(self, values: Floats) -> None:
        """Take note of values of g somewhere on the sphere, of which the largest counts."""
        self.largest = max(self.largest, float(np.abs(values).max(initial=0.0)))

    def maxima(self) -> Maxima:
        """All that was found."""
        return Maxima(np.concatenate(self.neurons), np.concatenate(self.values), self.largest)


def maxima_on_line(certificate: Certificate, *, floor: float = 0.0) -> Maxima:
    """Both points of the sphere in one dimension."""
    neurons = np.array([[1.0], [-1.0]])
    found = _Found(1, floor)
    found.add(neurons, certificate(neurons))
    return found.maxima()


def maxima_on_circle(certificate: Certificate, *, floor: float = 0.0) -> Maxima:
    """All local maxima of |g| above a floor on the circle, exact to rounding.

    Args:
        certificate: Certificate in two dimensions.
        floor: Maxima with |g| <= floor are left out.

    Returns:
        The maxima.
    """
    axes = np.eye(2)[None]
    found = _Found(2, floor)
    for arcs, sign in _halves(certificate, axes):
        rows, arc, angle, _ = _stationary_arcs(arcs)
        found.add(_neurons(axes[rows], angle, sign), sign * value(arcs.slopes[rows, :, arc], angle))
        _add_largest_kink(found, arcs, axes, sign)
        rows, kink = _stationary_kinks(arcs)
        angle = arcs.edges[rows, kink + 1]
        found.add(_neurons(axes[rows], angle, sign), sign * value(arcs.slopes[rows, :, kink], angle))
    return found.maxima()


def maxima_on_sphere(certificate: Certificate, *, floor: float = 0.0) -> Maxima:
    """All local maxima of |g| above a floor on the 2-sphere, exact to rounding; see `maxima_on_circle`."""
    found = _Found(3, floor)
    vertices = []
    count = len(certificate.directions)
    for start in range(0, count, CIRCLES_AT_ONCE):
        circles = np.arange(start, min(start + CIRCLES_AT_ONCE, count))
        axes = _axes_around(certificate.directions[circles])
        for arcs, sign in _halves(certificate, axes):
            _add_edges_and_cells(found, certificate, circles, axes, arcs, sign)
            _add_largest_kink(found, arcs, axes, sign)
            vertices.append(_vertices(circles, axes, arcs, sign, floor))
    _add_vertices(found, certificate, vertices)
    return found.maxima()


def _halves(certificate: Certificate, axes: Floats) -> list[tuple[Arcs, float]]:
    """Both halves of the circles, with the sign s in theta(phi) = s (u cos(phi) + v sin(phi))."""
    arcs = walk(certificate, axes)
    return [(arcs, 1.0), (arcs.opposite(), -1.0)]


def _axes_around(normals: Floats) -> Floats:
    """(b, 3, 3) orthonormal axes u, v, w with w the given normals."""
    helper = np.eye(3)[np.abs(normals).argmin(axis=1)]
    first = np.cross(normals, helper)
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    return np.stack([first, np.cross(normals, first), normals], axis=1)


def _neurons(axes: Floats, angle: Floats, sign: float) -> Floats:
    """Unit vectors (k, d) at angles (k,) of circles with axes (k, c, d)."""
    plane = np.cos(angle)[:, None] * axes[:, 0] + np.sin(angle)[:, None] * axes[:, 1]
    return sign * plane


def _stationary_arcs(arcs: Arcs, *, slack: float = 0.0) -> tuple[Integers, Integers, Floats, Truths]:
    """Arcs along which g is stationary inside: circle, arc, angle, and whether that lies inside without any slack.

    On an arc g is a sinusoid, and it is stationary where the plane part of A points at theta or away from it. With a
    slack, the rounding error of A, arcs that miss their stationary point by no more than rounding are among them.
    """
    angle = np.arctan2(arcs.slopes[:, 1], arcs.slopes[:, 0])
    turned = np.where(angle < 0, angle + np.pi, angle)
    starts, ends = arcs.edges[:, :-1], arcs.edges[:, 1:]
    if not slack:
        rows, arc = np.nonzero((turned >= starts) & (turned <= ends))
        return rows, arc, turned[rows, arc], np.ones(len(rows), dtype=bool)
    off = slack / np.maximum(np.hypot(arcs.slopes[:, 0], arcs.slopes[:, 1]), slack)
    near = (turned >= starts - arcs.blur[:, :-1] - off) & (turned <= ends + arcs.blur[:, 1:] + off)
    rows, arc = np.nonzero(near)
    angle = turned[rows, arc]
    return rows, arc, angle, (angle >= starts[rows, arc]) & (angle <= ends[rows, arc])


def _stationary_kinks(arcs: Arcs) -> tuple[Integers, Integers]:
    """Kinks, by circle and index, where |g| has a maximum along the circle."""
    angle = arcs.edges[:, 1:-1]
    before, after = arcs.slopes[:, :, :-1], arcs.slopes[:, :, 1:]
    outward = np.sign(value(before, angle))
    rising = outward * derivative(before, angle) >= 0
    falling = outward * derivative(after, angle) <= 0
    rows, kink = np.nonzero(rising & falling)
    return rows, kink


def _add_largest_kink(found: _Found, arcs: Arcs, axes: Floats, sign: float) -> None:
    """Add the kink with the largest |g|, a maximum or not.

    Where many kinks meet in one point, no pair of them need show a maximum; the bound must hold there too.
    """
    angle = arcs.edges[:, 1:-1]
    values = sign * value(arcs.slopes[:, :, :-1], angle)
    if values.size:
        row, kink = np.unravel_index(np.abs(values).argmax(), values.shape)
        found.add(_neurons(axes[[row]], angle[[row], [kink]], sign), values[[row], [kink]])


def _add_edges_and_cells(
    found: _Found, certificate: Certificate, circles: Integers, axes: Floats, arcs: Arcs, sign: float
) -> None:
    """Add the maxima inside edges and, beyond stationary edges, inside cells."""
    rounding = len(certificate.slopes) * EPSILON * float(np.abs(certificate.slopes).sum())
    rows, arc, angle, strict = _stationary_arcs(arcs, slack=rounding)
    plane = sign * value(arcs.slopes[rows, :, arc], angle)
    found.note(plane[strict])
    normal = arcs.slopes[rows, 2, arc]
    own = certificate.slopes[circles[rows]]
    outward = np.sign(plane)
    # Rates of |g| on leaving the circle to either side; the own point is on at one side only.
    climbs, sinks = outward * (normal + own) > 0, outward * normal < 0
    edge = strict & ~climbs & ~sinks
    neurons = _neurons(axes[rows], angle, sign)
    found.add(neurons[edge], plane[edge])
    for leaves, rate in ((climbs, normal + own), (sinks, normal)):
        peak = plane[leaves, None] * neurons[leaves] + rate[leaves, None] * axes[rows[leaves], 2]
        length = np.linalg.norm(peak, axis=1)
        tall = length > found.floor
        length, inside = length[tall], peak[tall] / length[tall, None]
        inside *= outward[leaves][tall, None]
        values = certificate(inside)
        found.note(values)
        # A / |A| belongs to the cell only if g there is what the cell's A says.
        real = np.abs(np.abs(values) - length) <= 1e-9 * length + rounding
        found.add(inside[real], values[real])


def _vertices(
    circles: Integers, axes: Floats, arcs: Arcs, sign: float, floor: float
) -> tuple[Integers, Integers, Floats, Floats]:
    """Vertices with a maximum along their circle: both points, the neuron and g."""
    rows, kink = _stationary_kinks(arcs)
    angle = arcs.edges[rows, kink + 1]
    peak = sign * value(arcs.slopes[rows, :, kink], angle)
    other = arcs.crossed[rows, kink]
    # The circle's own point crosses nothing: its entry lies at an arbitrary angle.
    keep = (np.abs(peak) > floor) & (other != circles[rows])
    neurons = _neurons(axes[rows[keep]], angle[keep], sign)
    return circles[rows[keep]], other[keep], neurons, peak[keep]


def _add_vertices(
    found: _Found, certificate: Certificate, parts: list[tuple[Integers, Integers, Floats, Floats]]
) -> None:
    """Add vertices that are maxima along both of their circles: in each of the four corners g is linear."""
    first, second, neurons, values = (np.concatenate(column) for column in zip(*parts, strict=True))
    low, high = np.minimum(first, second), np.maximum(first, second)
    cross = np.cross(certificate.directions[low], certificate.directions[high])
    front = (cross * neurons).sum(axis=1) > 0
    key = (low * len(certificate.directions) + high) * 2 + front
    _, index, times = np.unique(key, return_index=True, return_counts=True)
    found.add(neurons[index[times == 2]], values[index[times == 2]])
