import math

import pytest
import torch

from datamodules import CompleteBipartite, ComposedTeacher, OneHotClasses, ScalarFunction, TeacherNetwork
from datamodules.regression import RegressionDataModule
from diffstab.errors import ArgumentError

TOYS = [CompleteBipartite(), OneHotClasses(), ScalarFunction()]


def loaded(data):
    data.setup()
    return data


def teacher(**options):
    return loaded(TeacherNetwork(**{"widths": [4, 5, 2], "n_train": 30, "n_test": 7} | options))


def test_splits_are_float64_rows_and_single_batches():
    data = teacher()
    assert (data.train_inputs.shape, data.train_targets.shape) == ((30, 4), (30, 2))
    assert (data.test_inputs.shape, data.test_targets.shape) == ((7, 4), (7, 2))
    assert data.train_inputs.dtype == data.train_targets.dtype == torch.float64
    for loader, inputs in (
        (data.train_dataloader(), data.train_inputs),
        (data.val_dataloader(), data.test_inputs),
    ):
        (points, _), *others = loader
        assert points is inputs
        assert not others


@pytest.mark.parametrize("data", TOYS, ids=lambda data: data.name)
def test_toys_have_no_test_split(data):
    loaded(data)
    assert data.test_inputs is None
    assert data.test_targets is None
    assert data.val_dataloader() == data.test_dataloader() == data.predict_dataloader() == []
    assert len(data.train_inputs) == len(data.train_targets) == data.n_train


def test_a_teacher_is_its_layers_of_relu():
    data = teacher()
    one, two = torch.eye(4, dtype=torch.float64), -torch.eye(4, dtype=torch.float64)
    # Of one layer below the output and positively homogeneous: f(2 x) = 2 f(x), and not linear.
    torch.testing.assert_close(data.teach(2 * one), 2 * data.teach(one))
    assert not torch.allclose(data.teach(one), -data.teach(two))
    linear = teacher(widths=[4, 2])
    torch.testing.assert_close(linear.teach(one), -linear.teach(two))


def test_convention_teacher_weights_have_variance_one_over_inputs():
    data = teacher(widths=[400, 300])
    weights = data.teach(torch.eye(400, dtype=torch.float64))
    # The relative error of a variance from m values is sqrt(2 / m); four of them.
    assert float(weights.var()) * 400 == pytest.approx(1, abs=4 * math.sqrt(2 / weights.numel()))


def test_the_seed_draws_points_and_the_teacher_stays():
    same, again, other = teacher(seed=1), teacher(seed=1), teacher(seed=2)
    assert torch.equal(same.train_targets, again.train_targets)
    assert not torch.equal(same.train_inputs, other.train_inputs)
    torch.testing.assert_close(other.test_targets, same.teach(other.test_inputs))
    assert not torch.equal(teacher(seed=1, teacher_seed=1).train_targets, same.train_targets)
    assert torch.equal(teacher(seed=1, n_train=50).test_inputs, same.test_inputs)


def test_noise_is_on_the_training_targets_only():
    noisy = teacher(noise=0.5, n_train=2000)
    added = noisy.train_targets - noisy.teach(noisy.train_inputs)
    assert float(added.std()) == pytest.approx(0.5, rel=4 / math.sqrt(2 * added.numel()))
    assert torch.equal(noisy.test_targets, noisy.teach(noisy.test_inputs))


@pytest.mark.parametrize("vertices", [2, 4, 6])
def test_the_complete_bipartite_matrix_is_the_sum_over_its_edges(vertices):
    data = loaded(CompleteBipartite(n_train=vertices))
    edges = torch.zeros(vertices, vertices, dtype=torch.float64)
    count = 0
    for left in range(vertices // 2):
        for right in range(vertices // 2, vertices):
            ends = torch.zeros(vertices, dtype=torch.float64)
            ends[left] = ends[right] = 1
            edges += torch.outer(ends, ends)
            count += 1
    assert torch.equal(data.train_inputs, torch.eye(vertices, dtype=torch.float64))
    assert torch.equal(data.train_targets, edges)
    assert (data.plateau_width, data.plateau_cost) == (count, 2 * float(edges.trace()))


@pytest.mark.parametrize(("classes", "n_train"), [(3, 9), (3, 8), (1, 4), (4, 4)])
def test_one_hot_costs_twice_the_trace_of_the_root(classes, n_train):
    data = loaded(OneHotClasses(classes=classes, n_train=n_train))
    counts = data.train_targets.sum(0)
    assert counts.max() - counts.min() <= 1
    assert (data.train_targets.sum(1) == 1).all()
    root_trace = torch.linalg.svdvals(data.train_targets).sum()
    assert data.plateau_cost == pytest.approx(2 * float(root_trace), rel=1e-12)
    assert data.plateau_width == classes


def test_scalar_functions_lie_on_points_of_an_interval():
    sine, values = loaded(ScalarFunction(function="sine", n_train=50)), loaded(ScalarFunction(n_train=2000))
    assert sine.train_inputs.shape == sine.train_targets.shape == (50, 1)
    torch.testing.assert_close(sine.train_targets, torch.sin(2 * math.pi * sine.train_inputs))
    assert values.train_inputs.abs().max() <= 1
    assert float(values.train_targets.std()) == pytest.approx(1, rel=4 / math.sqrt(4000))


def test_a_subclass_must_say_what_to_draw():
    with pytest.raises(NotImplementedError, match=r"RegressionDataModule must implement draw\(\)"):
        RegressionDataModule(n_train=1, seed=0).setup()


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (TeacherNetwork, {"widths": [3]}, "widths must be at least two numbers of at least 1"),
        (TeacherNetwork, {"widths": [3, 0]}, "widths must be at least two numbers of at least 1"),
        (TeacherNetwork, {"n_train": 0}, "n_train must be at least 1"),
        (TeacherNetwork, {"n_test": 0}, "n_test must be at least 1"),
        (TeacherNetwork, {"seed": -1}, "seed must be at least 0"),
        (TeacherNetwork, {"teacher_seed": -1}, "teacher_seed must be at least 0"),
        (TeacherNetwork, {"noise": -0.1}, "noise must be finite and at least 0"),
        (TeacherNetwork, {"noise": math.nan}, "noise must be finite and at least 0"),
        (CompleteBipartite, {"n_train": 3}, "n_train must be even"),
        (OneHotClasses, {"classes": 5, "n_train": 4}, "classes must lie in 1 to n_train = 4, got 5"),
        (OneHotClasses, {"classes": 0}, "classes must lie in 1 to n_train"),
        (ScalarFunction, {"function": "cube"}, "function must be random or sine"),
    ],
)
def test_options_out_of_range_are_refused(make, options, message):
    with pytest.raises(ArgumentError, match=message):
        make(**options)


def test_a_composed_function_has_the_rank_of_its_inner_numbers():
    for inner in (1, 2, 3):
        data = loaded(ComposedTeacher(inner=inner, inputs=6, hidden=20, outputs=5, n_train=50, seed=3))
        slopes = [torch.autograd.functional.jacobian(data.teach, point[None]) for point in data.train_inputs]
        values = torch.linalg.svdvals(torch.stack(slopes).squeeze((1, 3)))
        assert (values[:, inner:] < 1e-12 * values[:, :1]).all()
        assert (values[:, inner - 1] > 1e-6 * values[:, 0]).any()


def test_a_composed_function_is_another_one_for_each_seed_and_the_same_on_all_points():
    data, other = (loaded(ComposedTeacher(seed=seed, n_train=20)) for seed in (0, 1))
    torch.testing.assert_close(data.teach(data.train_inputs)[:5], data.teach(data.train_inputs[:5]))
    assert not torch.allclose(data.teach(data.train_inputs), other.teach(data.train_inputs))
    assert data.test_targets.std(0) == pytest.approx([1.0] * 10, abs=0.15)
