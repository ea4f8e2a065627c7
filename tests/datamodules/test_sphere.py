import pytest
import torch

from datamodules import SphereRegression
from diffstab.errors import ArgumentError
from diffstab.sphere import GaussianFieldTarget, TeacherTarget


def loaded(**options):
    data = SphereRegression(**{"dimension": 4, "n_train": 10, "n_test": 30} | options)
    data.setup()
    return data


def test_splits_hold_unit_points_and_values_of_the_target():
    data = loaded()
    assert data.train_points.shape == (10, 4)
    assert data.test_points.shape == (30, 4)
    torch.testing.assert_close(data.test_points.norm(dim=1), torch.ones(30, dtype=torch.float64))
    assert (data.train_values == 1).all()
    assert (data.test_values == 1).all()
    (points, values), *others = data.train_dataloader()
    assert not others
    assert points is data.train_points
    assert values is data.train_values


def test_both_splits_see_one_realisation():
    field = loaded(dimension=2, n_train=400, n_test=400, target=GaussianFieldTarget(smoothness=4.0))
    nearest = (field.test_points @ field.train_points.T).argmax(dim=1)
    # Neighbours on the circle are about 1/400 of a turn apart, and the field is smooth.
    torch.testing.assert_close(field.test_values, field.train_values[nearest], atol=0.2, rtol=0)


def test_seed_decides_points_and_target():
    same, again = (loaded(target=TeacherTarget(exponent=1.0, width=20), seed=3) for _ in range(2))
    other = loaded(target=TeacherTarget(exponent=1.0, width=20), seed=4)
    assert torch.equal(same.train_values, again.train_values)
    assert torch.equal(same.test_points, again.test_points)
    assert not torch.equal(same.train_points, other.train_points)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dimension": 1}, "dimension must be at least 2"),
        ({"n_train": 0}, "n_train must be at least 1"),
        ({"n_test": 0}, "n_test must be at least 1"),
        ({"seed": -1}, "seed must be at least 0"),
    ],
)
def test_numbers_out_of_range_are_refused(options, message):
    with pytest.raises(ArgumentError, match=message):
        SphereRegression(**options)
