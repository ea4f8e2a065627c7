"""Reports of finished runs: figures (axes in, axes out), tidy tables and a self-contained HTML page.

The page is written by `diffstab.report.page.write_report`; figures and tables work on any frame of records.
"""

from diffstab.report.figures import (
    Neurons,
    curve,
    examples_grid,
    neurons,
    neurons_before_after,
    paired_differences,
)
from diffstab.report.style import figure_style
from diffstab.report.tables import (
    missing_cells,
    paired_draws,
    paired_table,
    sparsity_table,
    summary_table,
    tidy_records,
    training_table,
)

__all__ = [
    "Neurons",
    "curve",
    "examples_grid",
    "figure_style",
    "missing_cells",
    "neurons",
    "neurons_before_after",
    "paired_differences",
    "paired_draws",
    "paired_table",
    "sparsity_table",
    "summary_table",
    "tidy_records",
    "training_table",
]
