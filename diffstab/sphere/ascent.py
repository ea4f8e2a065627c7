"""Pricing in any dimension: ascent of the certificate from many starts, exact along great circles.

Each step follows the great circle towards A, the slope of g where it stands, to the first maximum, found exactly
between the sorted kinks. A step that ends on a kink stays on it (the kink joins the active set) until the
multipliers say that g climbs on one side; so maxima on kinks, edges and vertices are reached, not circled. What is
found is a lower bound of the largest |g|, not a proof.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from diffstab.sphere.arcs import ORTHOGONAL
from diffstab.sphere.certificate import Certificate, Floats, Integers, Maxima

STARTS_AT_ONCE = 512
NEAREST_KINKS = 24
"""Kinks of a circle that are sorted before all of them are."""
AT_ONCE = 1e-150
"""|x . u| below which a circle starts on the kink of x; quotients by it, and their products, stay finite."""
MAX_STEPS = 60
STATIONARY = 1e-9
"""Tangential part of A, relative to its length, at which a climber counts as arrived."""
SAME_MAXIMUM = 1e-7
"""Grid on which two arrivals count as one maximum."""


def maxima_by_ascent(certificate: Certificate, starts: Floats, *, floor: float = 0.0) -> Maxima:
    """Local maxima of |g| above a floor that ascent reaches from given starts.

    Args:
        certificate: Certificate in d >= 2 dimensions.
        starts: (s, d) unit vectors; from each, g is climbed where it is positive and -g elsewhere.
        floor: Maxima with |g| <= floor are left out.

    Returns:
        The maxima, each once.
    """
    negated = certificate._replace(slopes=-certificate.slopes, linear=-certificate.linear)
    positive = certificate(starts) >= 0
    ends = [
        _climb(side, begun[first : first + STARTS_AT_ONCE])
        for side, begun in ((certificate, starts[positive]), (negated, starts[~positive]))
        for first in range(0, len(begun), STARTS_AT_ONCE)
    ]
    neurons = np.concatenate([np.empty((0, starts.shape[1])), *ends])
    _, first_of = np.unique(np.round(neurons / SAME_MAXIMUM), axis=0, return_index=True)
    neurons = neurons[first_of]
    values = certificate(neurons)
    tall = np.abs(values) > floor
    return Maxima(neurons[tall], values[tall], float(np.abs(values).max(initial=0.0)))


def _climb(certificate: Certificate, starts: Floats) -> Floats:
    """Where climbers of g arrive that start at (s, d)."""
    neurons = starts.copy()
    active = np.full((len(starts), starts.shape[1] - 1), -1)
    moving = np.arange(len(starts))
    for _ in range(MAX_STEPS):
        here = neurons[moving]
        tangent, active[moving] = _ascent(certificate, here, active[moving])
        length = np.linalg.norm(tangent, axis=1)
        goes = length > 0
        moving, here, tangent = moving[goes], here[goes], tangent[goes] / length[goes, None]
        if not len(moving):
            break
        angle, kink = _first_maximum(certificate, here, tangent)
        there = np.cos(angle)[:, None] * here + np.sin(angle)[:, None] * tangent
        neurons[moving] = there / np.linalg.norm(there, axis=1, keepdims=True)
        active[moving] = _join(active[moving], kink)
    return neurons


def _ascent(certificate: Certificate, neurons: Floats, active: Integers) -> tuple[Floats, Integers]:
    """Tangent of steepest ascent (s, d), zero at a maximum, and the active kinks (s, d - 1) after a release."""
    on = neurons @ certificate.directions.T > 0
    rows, slots = np.nonzero(active >= 0)
    on[rows, active[rows, slots]] = False
    slope = (on * certificate.slopes) @ certificate.directions + certificate.linear
    tangent, force = _project(certificate, neurons, active, slope)
    still = np.nonzero(_vanishes(tangent, slope))[0]
    slot, jump = _release(certificate, active[still], force[still])
    kept = slot < 0
    tangent[still[kept]] = 0.0
    still, slot, jump = still[~kept], slot[~kept], jump[~kept]
    slope[still] += jump[:, None] * certificate.directions[active[still, slot]]
    active[still, slot] = -1
    tangent[still], _ = _project(certificate, neurons[still], active[still], slope[still])
    tangent[still] *= ~_vanishes(tangent[still], slope[still])[:, None]
    return tangent, active


def _vanishes(tangent: Floats, slope: Floats) -> NDArray[np.bool_]:
    arrived: NDArray[np.bool_] = np.linalg.norm(tangent, axis=1) <= STATIONARY * np.linalg.norm(slope, axis=1)
    return arrived


def _project(
    certificate: Certificate, neurons: Floats, active: Integers, slope: Floats
) -> tuple[Floats, Floats]:
    """Part of A tangent to the sphere and to the active kinks, and what the kinks (s, d - 1) take from A."""
    held = active >= 0
    rows = np.concatenate([neurons[:, None], certificate.directions[active] * held[:, :, None]], axis=1)
    gram = rows @ rows.transpose(0, 2, 1)
    slots = np.arange(1, gram.shape[1])
    gram[:, slots, slots] += np.where(held, 1e-14, 1.0)
    force = np.linalg.solve(gram, rows @ slope[:, :, None])[:, :, 0]
    return slope - np.einsum("sk,skd->sd", force, rows), force[:, 1:]


def _release(certificate: Certificate, active: Integers, force: Floats) -> tuple[Integers, Floats]:
    """Slot of the active kink to leave, -1 for none, and the jump of A on the side to which it is left.

    At a maximum on kinks, A + sum_j m_j slopes_j x_j is radial with all m_j in [0, 1]. Where m_j < 0, g climbs to
    the side on which point j is off; where m_j > 1, to the side on which it is on.
    """
    held = active >= 0
    slopes = np.where(held, certificate.slopes[active], -1.0)
    multiplier = np.where(held, -force / slopes, 0.5)
    excess = np.abs(multiplier - 0.5) - 0.5
    slot = excess.argmax(axis=1)
    rows = np.arange(len(active))
    jump = np.where(multiplier[rows, slot] > 1, slopes[rows, slot], 0.0)
    return np.where(excess[rows, slot] > 1e-9, slot, -1), jump


def _first_maximum(certificate: Certificate, here: Floats, tangent: Floats) -> tuple[Floats, Integers]:
    """Angle (s,) of the first maximum along each circle, and the point (s,) whose kink it lies on, -1 for none.

    The circle leaves `here` towards the unit tangent, both (s, d). Few circles pass many kinks: the nearest are
    sorted first, and all of them only where the maximum is beyond.
    """
    circles = _Circles.through(certificate, here, tangent)
    angle, kink, found = circles.first_maximum(min(NEAREST_KINKS, len(certificate.directions)))
    beyond = np.nonzero(~found)[0]
    if len(beyond) and len(certificate.directions) > NEAREST_KINKS:
        rest = _Circles(*(part[beyond] for part in circles))
        angle[beyond], kink[beyond], _ = rest.first_maximum(len(certificate.directions))
    return angle, kink


class _Circles(NamedTuple):
    """Half great circles u cos(phi) + v sin(phi), 0 <= phi <= pi, and the kinks of a certificate on them.

    Each kink is crossed once, at -cot(phi) = (x . v) / (x . u) =: t, which grows with phi; and
    dg / dphi = B cos(phi) - A sin(phi) has the sign of -(A + B t), A and B the slopes along u and v. So arcs are
    sorted and maxima are found without an angle.

    Attributes:
        crossings: (s, m) t of each kink.
        along: (s, m) by how much A changes there.
        ahead: (s, m) by how much B changes there.
        begin: (s, 2) A and B at the start.
    """

    crossings: Floats
    along: Floats
    ahead: Floats
    begin: Floats

    @staticmethod
    def through(certificate: Certificate, here: Floats, tangent: Floats) -> "_Circles":
        """Circles that leave unit vectors (s, d) towards unit tangents (s, d)."""
        along, ahead = here @ certificate.directions.T, tangent @ certificate.directions.T
        # One on whose kink the circle starts is crossed at once, or only at the end.
        along = np.where(np.abs(along) < AT_ONCE, -AT_ONCE, along)
        # A point that is on at the start is switched off where it is crossed.
        falling = along > 0
        slopes = certificate.slopes * (np.maximum(np.abs(along), np.abs(ahead)) > ORTHOGONAL)
        begin = (slopes * falling) @ certificate.directions + certificate.linear
        begin = np.stack([(begin * here).sum(axis=1), (begin * tangent).sum(axis=1)], axis=1)
        crossings = ahead / along
        slopes *= np.where(falling, -1.0, 1.0)
        return _Circles(crossings, along * slopes, ahead * slopes, begin)

    def first_maximum(self, count: int) -> tuple[Floats, Integers, NDArray[np.bool_]]:
        """Angle (s,) and kink (s,) of the first maximum up to the first kinks, and whether there is one."""
        order, edges = self._first_crossings(count)
        along, ahead = self._slopes(self.along, 0, order), self._slopes(self.ahead, 1, order)
        at_start = np.concatenate([ahead[:, :1] <= 0, along[:, 1:] + ahead[:, 1:] * edges >= 0], axis=1)
        at_end = along[:, :-1] + ahead[:, :-1] * edges >= 0
        # The last arc is whole only where no kink is left out.
        whole = (ahead[:, -1:] >= 0) & (count == self.crossings.shape[1])
        falls = at_start | np.concatenate([at_end, whole], axis=1)
        rows, arc = np.arange(len(falls)), falls.argmax(axis=1)
        at_kink = at_start[rows, arc] & (arc > 0)
        before = np.maximum(arc - 1, 0)
        begin = np.where(arc > 0, np.arctan2(1.0, -edges[rows, before]), 0.0)
        end = np.where(arc < count, np.arctan2(1.0, -edges[rows, np.minimum(arc, count - 1)]), np.pi)
        stationary = np.clip(np.arctan2(ahead[rows, arc], along[rows, arc]), begin, end)
        kink = np.where(at_kink, order[rows, before], -1)
        return np.where(at_kink, begin, stationary), kink, falls[rows, arc]

    def _first_crossings(self, count: int) -> tuple[Integers, Floats]:
        """Points (s, count) that are crossed first, in order, and t there."""
        if count == self.crossings.shape[1]:
            order = np.argsort(self.crossings, axis=1)
            return order, np.take_along_axis(self.crossings, order, axis=1)
        first = np.argpartition(self.crossings, count, axis=1)[:, :count]
        crossings = np.take_along_axis(self.crossings, first, axis=1)
        order = np.argsort(crossings, axis=1)
        return np.take_along_axis(first, order, axis=1), np.take_along_axis(crossings, order, axis=1)

    def _slopes(self, changes: Floats, component: int, order: Integers) -> Floats:
        """A or B (s, count + 1) on the arcs between the crossings in order."""
        steps = np.take_along_axis(changes, order, axis=1)
        return np.cumsum(np.concatenate([self.begin[:, component, None], steps], axis=1), axis=1)


def _join(active: Integers, kink: Integers) -> Integers:
    """Active kinks (s, d - 1) with one more each, where there is one and a slot is free."""
    free = active < 0
    rows = np.nonzero((kink >= 0) & free.any(axis=1))[0]
    active[rows, free[rows].argmax(axis=1)] = kink[rows]
    return active
