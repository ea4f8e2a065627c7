import pytest
import torch

from datamodules import Digits, SphereRegression, TeacherNetwork
from diffstab.errors import ArgumentError
from diffstab.experiments.l2_points import load_points, prediction_error

TEACHER = {"class_path": "datamodules.TeacherNetwork", "init_args": {"widths": [3, 2, 2], "n_test": 7}}
DIGITS = {"class_path": "datamodules.Digits", "init_args": {"n_test": 30, "labels": "classes"}}


def load(choice, **options):
    return load_points(choice, **{"n_train": 12, "seed": 1, "cost": "mse", "dtype": torch.float64} | options)


def gram(columns):
    return columns.T @ columns


def test_convention_columns_are_points():
    points = load(TEACHER)
    data = TeacherNetwork(widths=[3, 2, 2], n_train=12, n_test=7, seed=1)
    data.setup()
    assert torch.equal(points.inputs, data.train_inputs.T)
    assert torch.equal(points.targets, data.train_targets.T)
    assert torch.equal(points.test_inputs, data.test_inputs.T)
    assert points.labels is None
    assert points.classes is None
    assert points.name == "teacher"


def test_images_keep_their_geometry_in_the_span():
    points = load(DIGITS, cost="cross_entropy")
    data = Digits(n_train=12, n_test=30, labels="classes", seed=1)
    data.setup()
    train, test = data.train_images.flatten(1).double(), data.test_images.flatten(1).double()
    assert points.inputs.shape == (12, 12)
    torch.testing.assert_close(gram(points.inputs), train @ train.T)
    torch.testing.assert_close(points.test_inputs.T @ points.inputs, test @ train.T)
    assert torch.equal(points.targets, data.train_labels)
    assert torch.equal(points.test_labels, data.test_labels)
    assert points.classes == 10


def test_classes_become_one_hot_targets_for_mse():
    points = load(DIGITS, dtype=torch.float32)
    assert points.targets.shape == (10, 12)
    assert points.targets.dtype == points.inputs.dtype == points.test_inputs.dtype == torch.float32
    assert torch.equal(points.targets.argmax(0), points.labels)
    assert (points.targets.sum(0) == 1).all()


def test_parity_is_one_output_without_classes():
    points = load({"class_path": "datamodules.Digits"})
    assert points.targets.shape == (1, 12)
    assert set(points.targets.flatten().tolist()) == {-1.0, 1.0}
    assert points.classes is None


def test_a_toy_has_no_test_points_and_says_what_is_known():
    points = load({"class_path": "datamodules.CompleteBipartite"}, n_train=4)
    assert points.test_inputs is None
    assert points.test_targets is None
    assert points.test_labels is None
    assert (points.plateau_width, points.plateau_cost) == (4, 16.0)


def test_errors_are_shares_of_classes_or_mean_squares():
    outputs = torch.tensor([[2.0, 0.0, 1.0], [1.0, 1.0, 3.0]])
    assert prediction_error(outputs, outputs, torch.tensor([0, 0, 1])) == pytest.approx(1 / 3)
    targets = outputs + torch.tensor([[1.0, 0.0, 0.0], [2.0, 0.0, 0.0]])
    assert prediction_error(outputs, targets, None) == pytest.approx(5 / 3)


@pytest.mark.parametrize(
    ("choice", "options", "message"),
    [
        (TEACHER, {"cost": "hinge"}, "cost must be one of mse, cross_entropy"),
        (TEACHER, {"cost": "cross_entropy"}, "data must have classes for cross_entropy, got 'teacher'"),
        ({"class_path": "datamodules.Digits"}, {"cost": "cross_entropy"}, "labels: classes"),
        (
            {"class_path": f"{SphereRegression.__module__}.SphereRegression"},
            {},
            "data.class_path must name a data module with train_images or train_inputs",
        ),
        ({"class_path": "datamodules.Nothing"}, {}, "data.class_path must name an importable class"),
        (
            {"class_path": "datamodules.OneHotClasses", "init_args": {"vertices": 3}},
            {},
            "data.init_args must be among classes, got vertices",
        ),
    ],
)
def test_wrong_data_are_refused(choice, options, message):
    with pytest.raises(ArgumentError, match=message):
        load(choice, **options)


@pytest.mark.data
def test_mnist_in_its_span(data_root):
    options = {"labels": "classes", "n_test": 50, "root": str(data_root)}
    points = load(
        {"class_path": "datamodules.MNIST", "init_args": options}, n_train=1000, cost="cross_entropy"
    )
    # Pixels that are white in no image are in no direction of the span.
    assert points.inputs.shape[0] < 784
    assert points.test_inputs.shape == (len(points.inputs), 50)
    assert points.targets.bincount().tolist() == [100] * 10
    # On the sphere of radius sqrt(784), as float32 images.
    torch.testing.assert_close(points.inputs.norm(dim=0).float(), torch.full((1000,), 28.0))
