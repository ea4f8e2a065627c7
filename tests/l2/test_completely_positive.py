"""CP-rank: exact without triangles, bounded with them, and factors that prove it."""

import pytest
import torch

from diffstab.errors import ArgumentError
from diffstab.l2.completely_positive import bipartite_gram, cp_rank_bounds, gram_rank, triangle_free_factor
from diffstab.l2.graphs import edges_apart
from tests.references.completely_positive import (
    cp_rank_without_triangles,
    largest_set_of_edges_apart,
    least_residual,
)

CYCLES = {f"C{n}": [(i, (i + 1) % n) for i in range(n)] for n in (4, 5, 7)}
GRAPHS = {
    **CYCLES,
    "edge": [(0, 1)],
    "path": [(0, 1), (1, 2), (2, 3)],
    "star": [(0, 1), (0, 2), (0, 3), (0, 4)],
    "cycle with a tail": [(0, 1), (1, 2), (2, 3), (3, 0), (3, 4), (4, 5)],
    "K33": [(i, j) for i in range(3) for j in range(3, 6)],
    "K24": [(i, j) for i in range(2) for j in range(2, 6)],
    "cycle and path": [(0, 1), (1, 2), (2, 3), (3, 0), (4, 5), (5, 6)],
    "two cycles": [(0, 1), (1, 2), (2, 3), (3, 0), (3, 4), (4, 5), (5, 6), (6, 3)],
}


def on_graph(edges, generator, *, diagonal):
    """A completely positive matrix that is a sum over edges, and over vertices if asked."""
    size = 1 + max(max(edge) for edge in edges)
    rows = torch.zeros(len(edges), size, dtype=torch.float64)
    for row, edge in zip(rows, edges, strict=True):
        row[list(edge)] = torch.rand(2, generator=generator, dtype=torch.float64) + 0.2
    extra = torch.rand(size, generator=generator, dtype=torch.float64) * diagonal
    return rows.T @ rows + extra.diag()


@pytest.mark.parametrize("diagonal", [0.0, 1.0])
@pytest.mark.parametrize("name", GRAPHS)
def test_cp_rank_without_triangles_is_counted_and_factored(name, diagonal, generator):
    matrix = on_graph(GRAPHS[name], generator, diagonal=diagonal)
    bounds, factor = cp_rank_bounds(matrix), triangle_free_factor(matrix)
    assert bounds.exact
    assert "no triangles" in bounds.reason
    assert bounds.lower == bounds.upper == len(factor) == cp_rank_without_triangles(matrix.numpy())
    assert factor.min() >= 0
    torch.testing.assert_close(factor.T @ factor, matrix, rtol=0, atol=1e-12)


@pytest.mark.parametrize("diagonal", [0.0, 1.0])
def test_entries_of_very_different_size_keep_their_digits(diagonal, generator):
    for name in ("C7", "K33", "K24", "two cycles", "path"):
        edges = GRAPHS[name]
        rows = torch.zeros(len(edges), 1 + max(max(edge) for edge in edges), dtype=torch.float64)
        for row, edge in zip(rows, edges, strict=True):
            row[list(edge)] = (2 * torch.randn(2, generator=generator, dtype=torch.float64)).exp()
        extra = torch.rand(rows.shape[1], generator=generator, dtype=torch.float64)
        matrix = rows.T @ rows + diagonal * extra.diag()
        factor = triangle_free_factor(matrix, tolerance=1e-13)
        scale = matrix.diagonal().sqrt()
        error = (factor.T @ factor - matrix) / scale / scale[:, None]
        assert error.abs().max() < 1e-13
        assert len(factor) in (len(edges), len(edges) + (name == "path"))


@pytest.mark.parametrize(("name", "rank"), [("C4", 4), ("C5", 5), ("K33", 9), ("path", 3)])
def test_known_cp_ranks(name, rank, generator):
    assert cp_rank_bounds(on_graph(GRAPHS[name], generator, diagonal=0.0)).lower == rank


@pytest.mark.parametrize(("name", "rank"), [("C4", 4), ("C5", 5)])
def test_general_minimiser_needs_as_many_rows(name, rank, generator):
    matrix = on_graph(GRAPHS[name], generator, diagonal=1.0).numpy()
    assert least_residual(matrix, rank, starts=8, seed=0) < 1e-6
    assert least_residual(matrix, rank - 1, starts=8, seed=0) > 1e-3


@pytest.mark.parametrize("vertices", [4, 6, 8, 20])
def test_convention_bipartite_gram_has_rank_a_quarter_of_n_squared(vertices):
    matrix = bipartite_gram(vertices)
    bounds = cp_rank_bounds(matrix)
    assert bounds.exact
    assert bounds.lower == vertices**2 // 4
    assert 2 * matrix.trace() == vertices**2
    incidence = triangle_free_factor(matrix)
    rows = incidence[incidence > 0]  # a double root: the root of the rounding
    torch.testing.assert_close(rows, torch.ones_like(rows), rtol=0, atol=1e-6)
    assert (matrix.diagonal() == vertices / 2).all()
    assert matrix[0, -1] == 1
    assert matrix[0, 1] == 0


def test_bipartite_gram_of_two_vertices_is_one_edge():
    assert cp_rank_bounds(bipartite_gram(2)).lower == 1


@pytest.mark.parametrize("classes", [1, 2, 5])
def test_one_hot_rank_is_the_number_of_classes(classes, generator):
    labels = torch.randint(classes, (30,), generator=generator)
    labels[:classes] = torch.arange(classes)
    targets = torch.nn.functional.one_hot(labels, classes).double()
    sizes = targets.sum(0)
    root = (targets / sizes.sqrt()) @ targets.T  # (Y^T Y)^(1/2)
    assert cp_rank_bounds(root)[:3] == (classes, classes, True)


def test_rank_two_and_three_points_are_exact(generator):
    factor = torch.rand(2, 9, generator=generator, dtype=torch.float64)
    assert cp_rank_bounds(factor.T @ factor)[:3] == (2, 2, True)
    factor = torch.rand(7, 3, generator=generator, dtype=torch.float64)
    assert cp_rank_bounds(factor.T @ factor)[:3] == (3, 3, True)


@pytest.mark.parametrize("size", [4, 5, 6, 7])
def test_bounds_with_triangles_hold_the_rows_found(size, generator):
    factor = torch.rand(size + 2, size, generator=generator, dtype=torch.float64)
    factor *= torch.rand(size + 2, size, generator=generator) > 0.5
    matrix = factor.T @ factor
    bounds = cp_rank_bounds(matrix)
    assert gram_rank(matrix, tolerance=1e-9) <= bounds.lower <= min(bounds.upper, size + 2)
    assert bounds.exact == (bounds.lower == bounds.upper)


def test_edges_apart_is_a_lower_bound_of_the_largest_set(generator):
    for _ in range(10):
        upper = torch.rand(5, 5, generator=generator).triu(1) > 0.4
        adjacent = (upper | upper.T).numpy()
        assert edges_apart(adjacent) <= largest_set_of_edges_apart(adjacent)


def test_edges_apart_counts_what_the_rank_misses():
    # K33 and two vertices joined to each other and to one edge: triangles, but nine edges apart
    edges = [*GRAPHS["K33"], (0, 6), (3, 6)]
    adjacent = torch.zeros(7, 7, dtype=torch.bool)
    for i, j in edges:
        adjacent[i, j] = adjacent[j, i] = True
    assert edges_apart(adjacent.numpy()) == largest_set_of_edges_apart(adjacent.numpy()) == 9
    matrix = adjacent.double() + 6 * torch.eye(7, dtype=torch.float64)
    assert cp_rank_bounds(matrix).lower == 9


def test_scaling_and_order_of_the_points_change_nothing(generator):
    matrix = on_graph(GRAPHS["cycle with a tail"], generator, diagonal=0.0)
    scale = torch.logspace(-2, 2, len(matrix), dtype=torch.float64)
    order = torch.randperm(len(matrix), generator=generator)
    assert cp_rank_bounds((matrix * scale * scale[:, None])[order][:, order]) == cp_rank_bounds(matrix)


def test_zero_matrix_has_rank_zero_and_unseen_points_count_for_nothing():
    assert cp_rank_bounds(torch.zeros(3, 3))[:3] == (0, 0, True)
    assert triangle_free_factor(torch.zeros(3, 3)).shape == (0, 3)
    assert cp_rank_bounds(torch.diag(torch.tensor([1.0, 0.0, 2.0])))[:3] == (2, 2, True)
    assert cp_rank_bounds(torch.tensor([[4.0]]))[:3] == (1, 1, True)


def test_gram_rank_is_that_of_the_nearest_matrix_within_the_tolerance():
    matrix = torch.diag(torch.tensor([3.0, 1.0, 1e-4, 1e-4], dtype=torch.float64))
    ranks = [gram_rank(matrix, tolerance=t) for t in (1e-9, 4e-5, 1e-4, 0.5)]
    assert ranks == [4, 3, 2, 1]


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (torch.ones(2, 3), r"matrix must be square and not empty, got \(2, 3\)"),
        (torch.zeros(0, 0), r"matrix must be square and not empty"),
        (torch.ones(2, 2, dtype=torch.uint8), r"matrix must be a floating matrix"),
        (torch.full((2, 2), torch.nan), r"matrix must be finite"),
        (torch.tensor([[1.0, 0.0], [0.5, 1.0]]), r"matrix must be symmetric"),
        (torch.tensor([[1.0, 2.0], [2.0, 1.0]]), r"matrix must be positive semi-definite"),
        (torch.tensor([[1.0, -0.5], [-0.5, 1.0]]), r"no negative entries.*got a correlation of -0.5"),
    ],
)
def test_what_is_no_non_negative_gram_matrix_is_refused(matrix, message):
    with pytest.raises(ArgumentError, match=message):
        cp_rank_bounds(matrix)


def test_positive_but_not_completely_positive_is_refused():
    # the five-cycle: positive semi-definite and non-negative up to 0.618, completely positive up to 0.5
    cycle = torch.eye(5, dtype=torch.float64)
    for i in range(5):
        cycle[i, (i + 1) % 5] = cycle[(i + 1) % 5, i] = 0.6
    assert torch.linalg.eigvalsh(cycle)[0] > 0
    with pytest.raises(ArgumentError, match="must be completely positive"):
        cp_rank_bounds(cycle)


def test_factor_of_a_graph_with_a_triangle_is_refused():
    with pytest.raises(ArgumentError, match="a graph without triangles"):
        triangle_free_factor(torch.ones(3, 3))


@pytest.mark.parametrize("vertices", [0, 1, 5])
def test_odd_bipartite_graphs_are_refused(vertices):
    with pytest.raises(ArgumentError, match="vertices must be even and at least 2"):
        bipartite_gram(vertices)


@pytest.mark.parametrize("tolerance", [-1.0, 1.0, float("nan")])
def test_tolerance_out_of_range_is_refused(tolerance):
    with pytest.raises(ArgumentError, match=r"tolerance must lie in \[0, 1\)"):
        cp_rank_bounds(torch.eye(2), tolerance=tolerance)
