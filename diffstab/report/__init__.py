"""Reports of finished runs: plots and tables as data, figures by name, tidy frames and a self-contained HTML page.

`diffstab.report.page.write_report` writes the page of a results folder; everything here works on any frame of records.
"""

from diffstab.report.catalogue import draw_figure
from diffstab.report.plots import Layer, Plot, Reference
from diffstab.report.special.examples import examples_grid
from diffstab.report.special.neurons import Neurons, neurons
from diffstab.report.style import figure_style
from diffstab.report.tables import difference_frame, tidy_records

__all__ = [
    "Layer",
    "Neurons",
    "Plot",
    "Reference",
    "difference_frame",
    "draw_figure",
    "examples_grid",
    "figure_style",
    "neurons",
    "tidy_records",
]
