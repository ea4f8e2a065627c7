"""Slow, obvious versions of what diffstab.sparsity computes, in plain Python loops."""

import math


def dot(a, b):
    return math.fsum(x * y for x, y in zip(a, b, strict=True))


def masses_by_loops(theta, outgoing):
    """|w_h| |theta_h| from rows theta_h and rows of outgoing weights, one per output."""
    return [
        math.hypot(*row) * math.hypot(*(weights[h] for weights in outgoing)) for h, row in enumerate(theta)
    ]


def atoms_by_loops(theta, x, masses):
    """A dictionary from each tuple of signs to the neurons that have it, and the falling masses of these sets."""
    groups = {}
    for h, row in enumerate(theta):
        pattern = tuple((dot(row, point) > 0) - (dot(row, point) < 0) for point in x)
        groups.setdefault(pattern, []).append(h)
    return groups, sorted((math.fsum(masses[h] for h in group) for group in groups.values()), reverse=True)


def carrying_by_loops(masses, share):
    """Take the heaviest ones away until at most 1 - share of the mass is left."""
    left, total, taken = sorted(masses), math.fsum(masses), 0
    while math.fsum(left) > (1 - share) * total:
        left.pop()
        taken += 1
    return taken


def angle_deg(a, b):
    """Angle by the chord of unit vectors."""
    a = [v / math.hypot(*a) for v in a]
    b = [v / math.hypot(*b) for v in b]
    chord = math.hypot(*(v - w for v, w in zip(a, b, strict=True)))
    return math.degrees(2 * math.asin(min(chord / 2, 1)))


def nearest_angles_by_loops(theta):
    return [min(angle_deg(a, b) for j, b in enumerate(theta) if j != i) for i, a in enumerate(theta)]


def leaders_by_loops(theta, masses, angle):
    """The lists of neurons of each leader, leaders by falling mass."""
    free, groups = sorted(range(len(theta)), key=lambda h: (-masses[h], h)), []
    while free:
        leader = free[0]
        group = [h for h in free if h == leader or angle_deg(theta[h], theta[leader]) <= angle]
        free = [h for h in free if h not in group]
        groups.append(group)
    return groups


def dead_by_loops(theta, x, masses, threshold):
    return [
        all(dot(row, point) <= 0 for point in x) or masses[h] <= threshold * max(masses)
        for h, row in enumerate(theta)
    ]


def cap_share_by_sum(angle_deg, dimension, steps=20000):
    """Share of S^(d-1) within an angle: the integral of sin^(d-2), midpoint rule."""

    def integral(end):
        width = end / steps
        return width * math.fsum(math.sin((k + 0.5) * width) ** (dimension - 2) for k in range(steps))

    return integral(math.radians(angle_deg)) / integral(math.pi)


def top_eigenvalue_by_powers(matrix, rounds=2000):
    """Largest eigenvalue of a symmetric positive matrix by the power method."""
    vector = [1.0 + 0.1 * k for k in range(len(matrix))]
    for _ in range(rounds):
        vector = [dot(row, vector) for row in matrix]
        size = math.hypot(*vector)
        vector = [v / size for v in vector]
    return dot(vector, [dot(row, vector) for row in matrix])
