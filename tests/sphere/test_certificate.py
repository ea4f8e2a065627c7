import numpy as np
import pytest

from diffstab.sphere.arcs import derivative, value, walk
from diffstab.sphere.arrangement import maxima_on_circle, maxima_on_line, maxima_on_sphere
from diffstab.sphere.ascent import _first_maximum, maxima_by_ascent
from diffstab.sphere.certificate import Certificate, certificate, group_by_line
from tests.references.minnorm import circle_grid, relu_features, sphere_grid

ENUMERATIONS = {2: (maxima_on_circle, circle_grid(200_000)), 3: (maxima_on_sphere, sphere_grid(200_000))}


def unit(rng, count, dimension):
    points = rng.standard_normal((count, dimension))
    return points / np.linalg.norm(points, axis=1, keepdims=True)


@pytest.fixture
def rng():
    return np.random.default_rng(1)


def degenerate(points):
    """Points some of which are antipodal, of other lengths, equal, or on a coordinate axis."""
    points = points.copy()
    points[-1], points[-2], points[-3] = -points[0], 2 * points[1], points[1]
    points[2] = np.eye(points.shape[1])[0]
    return points


@pytest.mark.parametrize("dimension", [2, 3, 6])
def test_lines_carry_the_same_function_as_the_points(rng, dimension):
    points = degenerate(unit(rng, 12, dimension))
    dual = rng.standard_normal(12)
    lines = group_by_line(points)
    assert len(lines.directions) == 9
    neurons = unit(rng, 1000, dimension)
    expected = dual @ relu_features(points, neurons)
    np.testing.assert_allclose(certificate(lines, dual)(neurons), expected, atol=1e-12)


@pytest.mark.parametrize("kind", [lambda points: points, degenerate])
@pytest.mark.parametrize("dimension", [2, 3, 5])
def test_arcs_give_value_and_slope_along_great_circles(rng, dimension, kind):
    function = certificate(group_by_line(kind(unit(rng, 10, dimension))), rng.standard_normal(10))
    axes = np.linalg.qr(rng.standard_normal((4, dimension, 2)))[0].transpose(0, 2, 1)
    axes[0] = np.eye(dimension)[:2]
    arcs = walk(function, axes)
    assert (np.diff(arcs.edges, axis=1) >= 0).all()
    for half, sign in ((arcs, 1), (arcs.opposite(), -1)):
        middle = (half.edges[:, :-1] + half.edges[:, 1:]) / 2
        for circle, arc in np.ndindex(middle.shape):
            slopes, angle = half.slopes[[circle], :, arc], middle[[circle], arc]

            def along(shift, circle=circle, angle=angle, sign=sign):
                phi = angle + shift
                return function(
                    sign * (np.cos(phi) * axes[circle, :1].T + np.sin(phi) * axes[circle, 1:].T).T
                )

            np.testing.assert_allclose(sign * value(slopes, angle), along(0.0), atol=1e-12)
            if half.edges[circle, arc + 1] - half.edges[circle, arc] > 1e-5:
                numeric = (along(1e-6) - along(-1e-6)) / 2e-6
                np.testing.assert_allclose(sign * derivative(slopes, angle), numeric, atol=1e-7)


@pytest.mark.parametrize("kind", [lambda points: points, degenerate])
@pytest.mark.parametrize("count", [8, 40])
@pytest.mark.parametrize("dimension", [2, 3])
def test_enumeration_finds_the_largest_value_of_a_fine_grid(rng, dimension, count, kind):
    maxima_of, grid = ENUMERATIONS[dimension]
    points = kind(unit(rng, count, dimension))
    function = certificate(group_by_line(points), rng.standard_normal(count))
    maxima = maxima_of(function)
    np.testing.assert_allclose(function(maxima.neurons), maxima.values, atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(maxima.neurons, axis=1), 1, atol=1e-12)
    assert maxima.largest == pytest.approx(np.abs(maxima.values).max(), rel=1e-14)
    seen = np.abs(function(grid)).max()
    # |A| bounds the slope of g, so the grid misses the maximum by no more than half a step times that.
    steepest = np.abs(function.slopes).sum() + np.linalg.norm(function.linear)
    step = np.pi / len(grid) if dimension == 2 else np.sqrt(4 * np.pi / len(grid))
    assert seen - 1e-12 <= maxima.largest <= seen + steepest * step


@pytest.mark.parametrize("dimension", [2, 3])
def test_every_maximum_on_a_grid_is_enumerated(rng, dimension):
    maxima_of, grid = ENUMERATIONS[dimension]
    function = certificate(group_by_line(unit(rng, 12, dimension)), rng.standard_normal(12))
    maxima = maxima_of(function)
    peaks = grid[np.abs(function(grid)) > 0.3 * maxima.largest]
    # Steepest ascent by small random moves, with no knowledge of kinks, from a few of the grid's points.
    for peak in peaks[:: len(peaks) // 20]:
        for scale in 10.0 ** -np.arange(1, 7):
            for _ in range(8):
                near = peak + scale * rng.standard_normal((200, dimension))
                near = np.vstack([peak, near / np.linalg.norm(near, axis=1, keepdims=True)])
                peak = near[np.abs(function(near)).argmax()]
        assert np.linalg.norm(maxima.neurons - peak, axis=1).min() < 1e-4


@pytest.mark.parametrize("count", [20, 100])
def test_ascent_finds_the_enumerated_maxima_and_no_others(rng, count):
    function = certificate(group_by_line(unit(rng, count, 3)), rng.standard_normal(count))
    exact = maxima_on_sphere(function)
    found = maxima_by_ascent(function, unit(rng, 2000, 3))
    assert found.largest == pytest.approx(exact.largest, rel=1e-12)
    distance = np.linalg.norm(found.neurons[:, None] - exact.neurons, axis=2).min(axis=1)
    assert distance.max() < 1e-6


@pytest.mark.parametrize("dimension", [4, 7])
def test_ascent_ends_at_local_maxima(rng, dimension):
    function = certificate(group_by_line(unit(rng, 60, dimension)), rng.standard_normal(60))
    found = maxima_by_ascent(function, unit(rng, 300, dimension))
    for neuron, height in zip(found.neurons, found.values, strict=True):
        near = neuron + 1e-5 * rng.standard_normal((300, dimension))
        near /= np.linalg.norm(near, axis=1, keepdims=True)
        assert np.abs(function(near)).max() <= abs(height) + 1e-12


def test_floor_leaves_out_low_maxima(rng):
    function = certificate(group_by_line(unit(rng, 30, 3)), rng.standard_normal(30))
    every = maxima_on_sphere(function)
    floor = np.median(np.abs(every.values))
    high = maxima_on_sphere(function, floor=floor)
    assert len(high.values) == (np.abs(every.values) > floor).sum()
    assert high.largest == every.largest


def test_line_has_two_ends():
    function = certificate(group_by_line(np.array([[2.0], [-1.0]])), np.array([1.0, 3.0]))
    maxima = maxima_on_line(function)
    np.testing.assert_allclose(maxima.values, [2.0, 3.0])


def first_maximum_by_angles(found, here, tangent):
    """Angle of the first maximum of each circle from the arcs in order of their angles, and the kink there or -1."""
    arcs = walk(found, np.stack([here, tangent], axis=1))
    starts, ends = arcs.edges[:, :-1], arcs.edges[:, 1:]
    falls_at_once = derivative(arcs.slopes, starts) <= 0
    falls = falls_at_once | (derivative(arcs.slopes, ends) <= 0)
    rows, arc = np.arange(len(here)), falls.argmax(axis=1)
    at_kink = falls_at_once[rows, arc] & (arc > 0)
    top = np.arctan2(arcs.slopes[rows, 1, arc], arcs.slopes[rows, 0, arc])
    angle = np.where(at_kink, starts[rows, arc], np.clip(top, starts[rows, arc], ends[rows, arc]))
    return angle, np.where(at_kink, arcs.crossed[rows, np.maximum(arc - 1, 0)], -1)


@pytest.mark.parametrize("count", [12, 24, 25, 90])
@pytest.mark.parametrize("linear", [0.0, 1.0])
def test_first_maxima_of_circles_are_those_of_sorted_angles(rng, count, linear):
    found = Certificate(unit(rng, count, 4), rng.standard_normal(count), linear * rng.standard_normal(4))
    here = unit(rng, 300, 4)
    slope = ((here @ found.directions.T > 0) * found.slopes) @ found.directions + found.linear
    tangent = slope - (slope * here).sum(axis=1, keepdims=True) * here
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    angle, kink = _first_maximum(found, here, tangent)
    expected, at = first_maximum_by_angles(found, here, tangent)
    np.testing.assert_allclose(angle, expected, atol=1e-9)
    np.testing.assert_array_equal(kink, at)


def test_climbers_that_start_on_kinks_divide_by_nothing(rng):
    points = rng.integers(-2, 3, size=(30, 4)).astype(float)
    points = points[np.abs(points).sum(axis=1) > 0]
    lines = group_by_line(points)
    found = certificate(lines, 10.0 * rng.standard_normal(len(points)))
    starts = np.concatenate([np.eye(4), -np.eye(4), unit(rng, 20, 4)])
    assert maxima_by_ascent(found, starts).largest >= np.abs(found(starts)).max() - 1e-12
