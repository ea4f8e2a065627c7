"""The certificate along great circles, piece by piece: the exact core of pricing in every dimension.

On the circle theta(phi) = u cos(phi) + v sin(phi) each kink theta . x_j = 0 is crossed once in [0, pi), and
between crossings g = A . theta. With kinks sorted, A follows from one cumulative sum; the other half of the circle
has the complementary points active, so that it needs no second walk.
"""

from typing import NamedTuple

import numpy as np

from diffstab.sphere.certificate import Certificate, Floats, Integers

ORTHOGONAL = 1e-12
"""Cosine below which a point counts as orthogonal to a plane."""
ROUNDING = 16 * float(np.finfo(np.float64).eps)
"""Rounding error of the direction of a unit vector."""


class Arcs(NamedTuple):
    """Arcs of a batch of great circles, over the half circle phi in [0, pi].

    Attributes:
        edges: (b, m + 2) increasing angles, from 0 to pi; arc k lies between edges k and k + 1.
        slopes: (b, c, m + 1) components of A on each arc along the c axes that were asked for.
        crossed: (b, m) index of the point whose kink separates arcs k and k + 1.
        both: (b, c) A(phi) + A(phi + pi): every point is on at one of the two.
        blur: (b, m + 2) rounding error of the edges, large for points that are nearly orthogonal to the circle.
    """

    edges: Floats
    slopes: Floats
    crossed: Integers
    both: Floats
    blur: Floats

    def opposite(self) -> "Arcs":
        """The arcs at phi + pi: the same edges, the complementary points on."""
        return self._replace(slopes=self.both[:, :, None] - self.slopes)


def walk(certificate: Certificate, axes: Floats) -> Arcs:
    """Follow a certificate along great circles.

    Args:
        certificate: Certificate in d dimensions.
        axes: (b, c, d) orthonormal axes, c >= 2; the circle lies in the plane of the first two, the others only ask
            for further components of A. Points orthogonal to the plane, which are nowhere on, keep out of A.

    Returns:
        The arcs.
    """
    along = axes @ certificate.directions.T
    cosine, sine = along[:, 0], along[:, 1]
    angle = np.arctan2(-cosine, sine)
    rising = angle >= 0
    angle = np.where(rising, angle, angle + np.pi)
    order = np.argsort(angle, axis=1)
    reach = np.maximum(np.abs(cosine), np.abs(sine))
    inside = reach > ORTHOGONAL
    kinks = along * (certificate.slopes * inside)[:, None]
    # A point is switched on where its crossing rises, and begins on where it falls, kinks at phi = 0 included.
    begin = np.where(rising, 0.0, 1.0)
    linear = axes @ certificate.linear
    begin_slopes = np.einsum("bm,bcm->bc", begin, kinks) + linear
    switched = np.take_along_axis(kinks * (1 - 2 * begin)[:, None], order[:, None], axis=2)
    slopes = np.concatenate([begin_slopes[:, :, None], switched], axis=2)
    np.cumsum(slopes, axis=2, out=slopes)
    edges = np.empty((len(axes), angle.shape[1] + 2))
    edges[:, 0], edges[:, -1] = 0.0, np.pi
    edges[:, 1:-1] = np.take_along_axis(angle, order, axis=1)
    blur = np.zeros_like(edges)
    blur[:, 1:-1] = np.take_along_axis(ROUNDING / np.maximum(reach, ROUNDING), order, axis=1)
    return Arcs(edges, slopes, order, kinks.sum(axis=2) + 2 * linear, blur)


def value(slopes: Floats, angle: Floats) -> Floats:
    """Value of g at angles (b, k) of arcs with A along the axes (b, c, k); likewise without the last axis."""
    return slopes[:, 0] * np.cos(angle) + slopes[:, 1] * np.sin(angle)


def derivative(slopes: Floats, angle: Floats) -> Floats:
    """Slope dg / dphi at angles (b, k) of arcs with A along the axes (b, c, k); likewise without the last axis."""
    return slopes[:, 1] * np.cos(angle) - slopes[:, 0] * np.sin(angle)
