"""Test error against R, D or G over models, with the power law between them."""

from diffstab.report.scatter.drawing import draw_scatter
from diffstab.report.scatter.points import Points, read_points
from diffstab.report.scatter.power_law import PowerLaw, fit_power_law

__all__ = ["Points", "PowerLaw", "draw_scatter", "fit_power_law", "read_points"]
