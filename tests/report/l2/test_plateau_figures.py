import numpy as np
import pytest
from matplotlib.figure import Figure

from diffstab.report.l2.plateau_figures import (
    LOOKS,
    LOWEST,
    Line,
    against_width,
    excess,
    in_reach,
    losses,
    ranks,
)
from diffstab.report.l2.plateau_runs import starts
from diffstab.report.style import Look

TOLERANCE = 0.01


@pytest.fixture
def ax():
    return Figure().subplots()


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def points(ax, marker_count):
    """Offsets of the scatter with so many points."""
    (found,) = [one.get_offsets() for one in ax.collections if len(one.get_offsets()) == marker_count]
    return np.asarray(found)


def marks(ax, start):
    return [line for line in ax.lines if (line.get_gid() or "").startswith(f"hover:{start}")]


def test_losses_show_every_restart_the_best_the_band_and_the_failed_ones(ax, plateau_runs):
    frame = plateau_runs()
    found = starts(frame, tolerance=TOLERANCE)
    assert losses(ax, frame, starts=found, tolerance=TOLERANCE) is ax
    # 18 restarts, 3 of them failed ones from the start on.
    assert len(points(ax, 15)) == 15
    assert set(points(ax, 3)[:, 0]) == {4, 6, 8}
    best = marks(ax, "weights, width")
    assert [float(line.get_ydata()[0]) for line in best] == pytest.approx([2.6, 2.4, 2.2, 2.0, 2.0, 2.0])
    dashed = marks(ax, "start of the plateau")
    assert list(dashed[0].get_xdata()) == [4, 4]
    assert {"plateau", "its start", "failed restarts", "covariances", "weights"} <= set(legend(ax))
    across = marks(ax, "covariances: 2, at least")
    assert list(across[0].get_ydata()) == [2.0, 2.0]


def test_without_a_plateau_no_start_is_drawn(ax, plateau_runs):
    frame = plateau_runs(widths=(1, 2, 3, 4), cone=False)
    losses(ax, frame, starts=starts(frame, tolerance=TOLERANCE), tolerance=TOLERANCE)
    assert "its start" not in legend(ax)


def test_runs_far_above_and_without_loss_stand_at_the_top(ax, plateau_runs):
    def change(row):
        height = {(1, 2): np.inf, (6, 2): 1e9}.get((row["width"], row["restart"]))
        return row | ({"loss": height} if height else {})

    frame = plateau_runs(cone=False, change=change)
    assert (~in_reach(frame)).sum() == 2
    losses(ax, frame, starts=starts(frame, tolerance=TOLERANCE), tolerance=TOLERANCE)
    (top,) = [line for line in ax.lines if line.get_marker() == "v"]
    assert list(top.get_xdata()) == [1, 6]
    assert ax.get_ylim()[1] < 10


def test_excess_is_relative_and_stops_at_the_lowest_height(ax, plateau_runs):
    frame = plateau_runs()
    found = starts(frame, tolerance=TOLERANCE)
    excess(ax, frame, starts=found, floor=2.0, tolerance=TOLERANCE)
    assert ax.get_yscale() == "log"
    best = [float(line.get_ydata()[0]) for line in marks(ax, "weights, width")]
    assert best == pytest.approx([0.3, 0.2, 0.1, LOWEST, LOWEST, LOWEST])
    assert "within 1 %" in legend(ax)


def test_a_column_against_the_width_is_a_mean_over_seeds(ax, plateau_runs):
    def change(row):
        return row | {"test_error": row["test_error"] + 0.1 * row["seed"]}

    frame = plateau_runs(seeds=(0, 1), cone=False, change=change)
    against_width(ax, frame, {("weights", "test_error"): Line("test", LOOKS["weights"], 100.0)})
    means = [float(line.get_ydata()[0]) for line in marks(ax, "test, width")]
    assert means == pytest.approx([100 * (0.15 + 0.2 / width) for width in (1, 2, 3, 4, 6, 8)])
    assert len(points(ax, 12)) == 12


def test_ranks_have_bars_and_the_line_of_no_pruning(ax, plateau_runs):
    frame = plateau_runs(depth=3, cone=False)
    look = Look("#000000", "o", "-")
    ranks(ax, frame, layers={1: look, 2: look})
    assert list(ax.lines[0].get_xdata()) == list(ax.lines[0].get_ydata()) == [1, 8]
    left = [float(line.get_ydata()[0]) for line in marks(ax, "neurons left, layer 2")]
    assert left == [1, 2, 3, 4, 4, 4]
    bars = [list(line.get_ydata()) for line in ax.lines if line.get_linewidth() == 5]
    assert bars[-1] == [4, 5]
    assert len(bars) == 12
