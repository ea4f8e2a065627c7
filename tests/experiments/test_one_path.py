"""The same net by `fit` and by `compare`, with the same seed and settings: the same numbers to the bit."""

import pytest
import torch
import yaml

from datamodules import Digits
from diffstab.cli import main
from diffstab.experiments.image_training import train
from diffstab.experiments.images import ImageExperiment, Method, NetChoice
from diffstab.experiments.unit import Cell
from diffstab.solvers.optimise import OptimiserSettings

pytestmark = [
    pytest.mark.filterwarnings("ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The dirpath has changed:UserWarning"),
]

SEED = 3
CASES = {
    "gradient_flow": {"alpha": 1e-3},
    "gradient_flow in float64": {"trainer": "gradient_flow", "alpha": 1e4, "dtype": "float64"},
    "euler": {"alpha": 1.0},
    "gd": {"alpha": 1.0, "optimiser": OptimiserSettings(learning_rate=0.5)},
    "adam": {"alpha": 1.0, "optimiser": OptimiserSettings(learning_rate=0.01)},
    "adam in batches": {
        "trainer": "adam",
        "alpha": 1.0,
        "optimiser": OptimiserSettings(learning_rate=0.005, batch_size=16),
    },
    "sgd in batches": {
        "trainer": "sgd",
        "alpha": 0.1,
        "optimiser": OptimiserSettings(learning_rate=0.2, momentum=0.9, batch_size=7),
    },
}


def fitted(place, method):
    """Weights after `diffstab fit`, and the last line of its numbers."""
    settings = {"name": method.trainer, "learning_rate": method.optimiser.learning_rate}
    settings["momentum"] = method.optimiser.momentum
    net = {"in_features": 64, "hidden": [20], "dtype": method.dtype}
    options = {
        "n_train": 48,
        "n_test": 50,
        "size": 8,
        "seed": SEED,
        "batch_size": method.optimiser.batch_size,
    }
    quiet = {"enable_progress_bar": False, "enable_model_summary": False}
    config = {
        "seed_everything": SEED,
        "model": {
            "net": {"class_path": "diffstab.nets.FCN", "init_args": net},
            "alpha": method.alpha,
            "optimiser": settings,
        },
        "data": {"class_path": "datamodules.Digits", "init_args": options},
        "trainer": {"accelerator": "cpu", **quiet},
    }
    (place / "fit.yaml").write_text(yaml.safe_dump(config))
    assert main(["fit", "--config", "fit.yaml"]) == 0
    path = place / "results" / "fit" / "version_0" / "checkpoints" / "final.ckpt"
    return torch.load(path, weights_only=True)


def compared(method):
    """The predictor that a comparison trains."""
    data = Digits(n_train=48, n_test=50, size=8, seed=SEED)
    data.setup()
    experiment = ImageExperiment(
        methods={"a": method}, net=NetChoice(hidden=[20]), n_train=[48], seeds=[SEED]
    )
    trained = train(experiment, Cell(method="a", n_train=48, seed=SEED), data)
    return trained.models[0], trained.outcome


@pytest.mark.parametrize("case", CASES)
def test_a_net_is_the_same_by_fit_and_by_compare(place, case):
    method = Method(**{"trainer": case, **CASES[case]})
    content = fitted(place, method)
    model, status = compared(method)
    assert status.reason == "margin"
    state = {name.removeprefix("predictor."): value for name, value in content["state_dict"].items()}
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name]), name
    if case.endswith("batches"):
        assert content["global_step"] == status.steps
