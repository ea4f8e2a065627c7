import math

import numpy as np
import pytest
import torch

from diffstab.errors import ArgumentError
from diffstab.l2.geometry import class_separation, principal_planes


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_planes_are_the_leading_eigenvectors():
    z = normal(5, 9) + 2
    planes = principal_planes(z)
    values, vectors = np.linalg.eigh(np.cov(z.numpy()))
    inner = np.abs(vectors[:, ::-1][:, :2].T @ planes.columns.numpy())
    np.testing.assert_allclose(inner, np.eye(2), atol=1e-10)
    assert planes.column_share == pytest.approx(values[-2:].sum() / values.sum())
    values, vectors = np.linalg.eigh(z.numpy().T @ z.numpy())
    np.testing.assert_allclose(np.abs(vectors[:, ::-1][:, :2].T @ planes.rows.numpy()), np.eye(2), atol=1e-10)
    assert planes.row_share == pytest.approx(values[-2:].sum() / values.sum())


def test_aligned_neurons_lie_on_one_ray():
    z = normal(5, 9)
    z[1] = 3 * z[0]
    places = principal_planes(z).neurons(z)
    torch.testing.assert_close(places[1], 3 * places[0])
    assert places.shape == (5, 2)
    assert principal_planes(z).points(z).shape == (9, 2)


def test_convention_the_largest_coordinate_of_an_axis_is_positive():
    z = normal(5, 9)
    planes, flipped = principal_planes(z), principal_planes(-z)
    torch.testing.assert_close(planes.columns, flipped.columns)
    for axes in (planes.columns, planes.rows):
        assert (axes.gather(0, axes.abs().argmax(0, keepdim=True)) > 0).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 6), (6, 1)])
def test_a_missing_axis_is_zero(shape):
    planes = principal_planes(torch.ones(shape))
    assert planes.columns.shape == (shape[0], 2)
    assert planes.rows.shape == (shape[1], 2)
    assert not planes.rows[:, 1].any()
    # Columns without scatter have no axis at all.
    assert not planes.columns.any()
    assert (planes.column_share, planes.row_share) == (1, 1)


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (torch.ones(3), r"floating matrix \(neurons, points\)"),
        (torch.ones(0, 3), "not empty"),
        (torch.ones(2, 3, dtype=torch.uint8), "floating matrix"),
        (torch.full((2, 2), math.nan), "be finite"),
    ],
)
def test_planes_refuse_what_is_no_layer(matrix, message):
    with pytest.raises(ArgumentError, match=f"representation must .*{message}"):
        principal_planes(matrix)


def test_separation_by_loops():
    z, labels = normal(3, 8), torch.tensor([0, 2, 2, 0, 5, 5, 5, 0])
    mean, between, total = z.mean(1), 0.0, 0.0
    for label in (0, 2, 5):
        members = z[:, labels == label]
        between += members.shape[1] * float((members.mean(1) - mean).square().sum())
    for column in z.T:
        total += float((column - mean).square().sum())
    assert class_separation(z, labels) == pytest.approx(between / total)
    assert class_separation(3 * z + 7, labels) == pytest.approx(between / total)


def test_separation_is_one_for_points_and_zero_for_equal_means():
    labels = torch.tensor([0, 0, 1, 1])
    assert class_separation(torch.tensor([[1.0, 1.0, 4.0, 4.0]]), labels) == 1
    assert class_separation(torch.tensor([[1.0, -1.0, 2.0, -2.0]]), labels) == 0
    assert math.isnan(class_separation(torch.ones(2, 4), labels))


@pytest.mark.parametrize("labels", [torch.zeros(3), torch.zeros(4), torch.tensor([0, 1, -1, 0])])
def test_separation_refuses_other_labels(labels):
    with pytest.raises(ArgumentError, match=r"labels must be class indices of shape \(4,\)"):
        class_separation(torch.ones(2, 4), labels)
