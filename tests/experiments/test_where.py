"""Where experiments compute: Lightning's device options on each of them."""

import pytest
import torch

from diffstab.errors import ArgumentError
from diffstab.experiments.forces import ForcesExperiment
from diffstab.experiments.image_training import initial_predictor
from diffstab.experiments.images import ImageExperiment
from diffstab.experiments.plateau import PlateauExperiment
from diffstab.experiments.sphere import SphereExperiment, SphereMethod
from diffstab.experiments.sphere_fits import fit
from diffstab.experiments.unit import Workplace
from diffstab.grid.options import parse
from diffstab.l2.descent import DescentSettings
from diffstab.l2.frank_wolfe import FrankWolfeSettings
from diffstab.l2.projected import ProjectedSettings
from diffstab.nets import FCN, CentredOutput
from diffstab.solvers.sphere_net import SphereTraining
from tests.references.elsewhere import DEVICE, Elsewhere, moved

QUICK = DescentSettings(adam_steps=5, finish_steps=5)
POINTS = {"class_path": "datamodules.TeacherNetwork", "init_args": {"n_test": 10}}
EXPERIMENTS = (ImageExperiment, PlateauExperiment, ForcesExperiment, SphereExperiment)


@pytest.mark.parametrize("kind", EXPERIMENTS, ids=lambda kind: kind.name)
def test_every_experiment_takes_the_device_options_and_no_key_hangs_on_them(kind):
    args = ["--accelerator=auto", "--devices=[0]"]
    if kind is SphereExperiment:
        args.append('--methods={"trained": {"predictor": "trained"}}')
    experiment = parse(kind, args).experiment
    assert (experiment.accelerator, experiment.devices) == ("auto", [0])
    plain = parse(kind, args[2:]).experiment
    cells = list(plain.cells())
    assert [experiment.key(cell) for cell in cells] == [plain.key(cell) for cell in cells]


def listed(value):
    return value if isinstance(value, list) else [value]


def near(columns):
    """What another device may change by rounding: the numbers of a record, those of lists too."""
    return {
        name: pytest.approx(listed(values), rel=1e-7, abs=1e-12, nan_ok=True)
        for name, values in columns.items()
        if "seconds" not in name and all(isinstance(value, int | float) for value in listed(values))
    }


@pytest.mark.parametrize("optimiser", ["weights", "shrinking", "representations", "covariances"])
def test_a_plateau_is_found_where_the_points_lie(optimiser):
    quick = {
        "descent": QUICK,
        "projected": ProjectedSettings(steps=5, projected_steps=3),
        "frank_wolfe": FrankWolfeSettings(rounds=2),
    }
    options = {"widths": [2, 3], "restarts": 1, "n_train": [8], "depth": 2, "bias": 0.0}
    experiment = PlateauExperiment(data=POINTS, optimisers=[optimiser], **options, **quick)
    cells = list(experiment.cells())
    points = experiment.prepare(cells[0])
    expected = dict(experiment.run_together(cells, points, Workplace(None, {}, print)))
    with Elsewhere():
        there = points.to(DEVICE)
        assert there.inputs.device == there.test_targets.device == DEVICE
        found = dict(experiment.run_together(cells, there, Workplace(None, {}, print)))
    for cell in cells:
        for name, value in near(expected[cell]).items():
            assert listed(found[cell][name]) == value, name


def test_forces_are_measured_where_the_points_lie(tmp_path):
    data = {"class_path": "datamodules.Digits", "init_args": {"labels": "classes", "size": 8}}
    options = {"n_train": 20, "hidden": [4], "gd_steps": 4, "snapshots": [0, 4], "descent": QUICK}
    experiment = ForcesExperiment(data=data, **options)
    (cell,) = experiment.cells()
    workplace = Workplace(tmp_path, {cell: "a"}, print)
    experiment.begin(tmp_path)
    points = experiment.prepare(cell)
    expected = experiment.run(cell, points, workplace)
    with Elsewhere():
        found = experiment.run(cell, points.to(DEVICE), workplace)
    for name, value in near(expected).items():
        assert listed(found[name]) == value, name


def test_a_predictor_on_the_sphere_is_trained_on_the_device_and_serves_points_of_the_cpu():
    method = SphereMethod(predictor="trained", training=SphereTraining(width=6, max_steps=5))
    experiment = SphereExperiment(methods={"trained": method}, n_test=20, n_train=[8])
    drawn = experiment.prepare(next(experiment.cells()))
    expected = fit(method, drawn, seed=0)
    with Elsewhere():
        found = fit(method, drawn, seed=0, device=DEVICE)
        assert found.coefficients.device == torch.device("cpu")
        outputs = found.predict(drawn.test)
    torch.testing.assert_close(outputs, expected.predict(drawn.test))


def test_what_is_solved_on_the_sphere_stays_on_the_cpu():
    message = "accelerator must be cpu for lazy_ntk, feature_exact: .* float64, got 'gpu'"
    with pytest.raises(ArgumentError, match=message):
        SphereExperiment(accelerator="gpu")


def test_images_are_measured_where_the_net_lies():
    net = FCN(16, (5,), generator=torch.Generator().manual_seed(0))
    images = torch.randn(6, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    expected = initial_predictor([CentredOutput(net)])(images)
    with Elsewhere():
        found = initial_predictor([CentredOutput(moved(net))])(images)
    torch.testing.assert_close(found, expected)
