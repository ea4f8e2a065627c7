"""Packages that not everybody needs: looked for where they are used, and asked for in one line."""

from importlib.util import find_spec

from diffstab.errors import ArgumentError

EXTRAS = {
    "wandb": "wandb",
    "wandb_workspaces": "dashboards",
    "distributed": "grids",
    "dask_jobqueue": "grids",
    "cryptography": "grids",
    "timm": "models",
    "safetensors": "models",
    "onnxruntime": "models",
}
"""Modules that a plain installation lacks, and the extra of the project that brings each."""


def require(module: str, purpose: str) -> None:
    """Refuse to go on without a module.

    Args:
        module: One of `EXTRAS`.
        purpose: What it is needed for, continuing "must be installed ...".

    Raises:
        ArgumentError: If it is not installed; the message says what to install.
    """
    if find_spec(module) is None:
        way_out = f"Run: pip install 'diffstab[{EXTRAS[module]}]'."
        raise ArgumentError(module.replace("_", "-"), f"be installed {purpose}", "no such package", way_out)
