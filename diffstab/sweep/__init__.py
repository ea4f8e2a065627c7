"""Grids of runs on Dask: the engine executes, the disk remembers."""

from diffstab.sweep.cluster import Engine
from diffstab.sweep.engine import run_on_dask, run_sweep
from diffstab.sweep.file import SweepFile, read_sweep
from diffstab.sweep.plan import Plan, make_plan

__all__ = ["Engine", "Plan", "SweepFile", "make_plan", "read_sweep", "run_on_dask", "run_sweep"]
