"""Test error against R, D or G over models, with the power law between them."""

from diffstab.report.scatter.drawing import Marks, draw_scatter
from diffstab.report.scatter.laws import Fits, fitted
from diffstab.report.scatter.points import Points, averaged, read_points
from diffstab.report.scatter.power_law import PowerLaw, fit_power_law

__all__ = [
    "Fits",
    "Marks",
    "Points",
    "PowerLaw",
    "averaged",
    "draw_scatter",
    "fit_power_law",
    "fitted",
    "read_points",
]
