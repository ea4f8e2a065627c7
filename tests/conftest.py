"""Fixtures and the strictness that every test runs under."""

import os
from pathlib import Path

import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

torch.set_num_threads(1)


@pytest.fixture
def generator() -> torch.Generator:
    """A seeded CPU generator, fresh for each test."""
    return torch.Generator().manual_seed(0)


@pytest.fixture
def axes():
    """A maker of axes, each on a small figure of its own."""

    def make(projection=None):
        figure = Figure(figsize=(3, 3))
        FigureCanvasAgg(figure)
        return figure.add_subplot(projection=projection)

    return make


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of real image data; skips the test when DIFFSTAB_DATA is unset."""
    root = os.environ.get("DIFFSTAB_DATA")
    if not root:
        pytest.skip("DIFFSTAB_DATA is not set")
    return Path(root)


@pytest.fixture
def place(tmp_path, tmp_path_factory, monkeypatch):
    """A folder to run in, with no W&B settings and an empty home; the seeds that a run sets are taken back."""
    for name in (
        "WANDB_MODE",
        "WANDB_API_KEY",
        "NETRC",
        "PL_GLOBAL_SEED",
        "PL_SEED_WORKERS",
        "DIFFSTAB_DEBUG",
    ):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
    monkeypatch.chdir(tmp_path)
    with torch.random.fork_rng():
        yield tmp_path


@pytest.fixture(autouse=True)
def _global_state_is_left_alone():
    """Fail a test that leaves the global seed, default dtype, grad mode or working directory changed."""
    rng, dtype, folder, grad = (
        torch.get_rng_state(),
        torch.get_default_dtype(),
        Path.cwd(),
        torch.is_grad_enabled(),
    )
    yield
    assert torch.get_default_dtype() == dtype, "the default dtype was changed"
    assert Path.cwd() == folder, "the working directory was changed"
    assert torch.is_grad_enabled() == grad, "the gradient mode was changed"
    assert torch.equal(torch.get_rng_state(), rng), "the global torch seed was used"
