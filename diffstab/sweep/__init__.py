"""Grids of runs on Dask: the engine executes, the disk remembers."""
