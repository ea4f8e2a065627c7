"""Small results folders of every stage: real runs on the sphere and of forces, made-up records of the others."""

import pytest
from rich.console import Console

from tests.references.plateau_records import write_plateau_records

IMAGES = {"images_mnist": "mnist", "images_fashion": "fashion_mnist", "images_cifar10": "cifar10-jpeg"}
PLATEAUS = {
    "plateau_mnist": {"dataset": "mnist", "depth": 3, "classes": True, "cone": False},
    "plateau_mnist_shallow": {"dataset": "mnist", "classes": True, "cone": False},
    "plateau_teacher": {"cone": False},
    "plateau_bipartite": {"dataset": "complete_bipartite", "cone": False},
    "plateau_onehot": {"dataset": "one_hot", "cone": False},
    "plateau_scalar": {"dataset": "scalar"},
    "plateau_optimisers": {},
}


@pytest.fixture(scope="session")
def stage_folders(make_records, make_folder, tmp_path_factory):
    """The results folder of each stage by name."""
    root = tmp_path_factory.mktemp("paper")
    folders = {}
    for stage, dataset in IMAGES.items():
        records = make_records(sizes=(32, 64), seeds=(0, 1), datasets=(dataset,))
        folders[stage] = make_folder(root / stage, records, examples=2)
    for stage, options in PLATEAUS.items():
        folders[stage] = write_plateau_records(root / stage, widths=(2, 4, 6, 8), restarts=2, **options)
    for stage, experiment in small_experiments().items():
        folders[stage] = run(experiment, root / stage)
    return folders


def run(experiment, folder):
    from diffstab.grid.running import run_grid

    return run_grid(experiment, folder, console=Console(quiet=True))


def small_experiments():
    """The configuration of each stage that is cheaper to run than to make up."""
    from diffstab.experiments.forces import ForcesExperiment
    from diffstab.experiments.sphere import SphereExperiment, SphereMethod
    from diffstab.l2.descent import DescentSettings

    exact = {"lazy_ntk": SphereMethod(), "feature_exact": SphereMethod(predictor="exact")}
    options = {"n_train": [6, 12, 20], "seeds": [0, 1], "methods": exact}
    options |= {"n_test": 100, "degrees": 6, "spectrum_points": 50}
    fields = [
        {"class_path": "diffstab.sphere.GaussianFieldTarget", "init_args": {"smoothness": smoothness}}
        for smoothness in (0.5, 4.0)
    ]
    teachers = [
        {
            "class_path": "diffstab.sphere.TeacherTarget",
            "init_args": {"exponent": 1.0, "activation": "abs"} | one,
        }
        for one in ({}, {"coordinates": 2})
    ]
    digits = {"class_path": "datamodules.Digits", "init_args": {"labels": "classes", "n_test": 10}}
    forces = ForcesExperiment(
        data=digits,
        n_train=20,
        hidden=[6, 5],
        gd_steps=20,
        snapshots=[0, 6],
        seeds=[0],
        descent=DescentSettings(adam_steps=60, finish_steps=100),
    )
    return {
        "sphere_constant": SphereExperiment(dimensions=[2, 3], **options),
        "sphere_exact": SphereExperiment(dimensions=[2], **options),
        "sphere_field": SphereExperiment(dimensions=[2], targets=fields[1:2], **options),
        "sphere_trained": SphereExperiment(dimensions=[5], **options),
        "sphere_gaussian": SphereExperiment(dimensions=[3], targets=fields, **options),
        "sphere_anisotropic": SphereExperiment(dimensions=[4], targets=teachers, **options),
        "forces_mnist": forces,
    }
