"""`diffstab demo`: the comparison and its page on the embedded digits, in about a minute."""

from __future__ import annotations

import argparse
import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path

from diffstab.experiments.images import ImageExperiment, NetChoice, StabilityChoice


def demo_experiment() -> ImageExperiment:
    """Return the comparison that the demo runs: the two regimes on scikit-learn's digits."""
    return ImageExperiment(
        data={"class_path": "datamodules.Digits"},
        n_train=[64, 128, 256],
        seeds=[0, 1, 2],
        net=NetChoice(hidden=[300]),
        stability=StabilityChoice(images=400, fields_per_image=2),
    )


def main(args: Sequence[str]) -> int:
    """Run the demo, then open its page, or print its path where there is no screen."""
    from diffstab.grid.running import run_grid
    from diffstab.report.page import write_report

    parser = argparse.ArgumentParser(prog="diffstab demo", description=__doc__)
    parser.add_argument("--results", type=Path, default=Path("results/demo"), help="results folder")
    parser.add_argument("--no-open", action="store_true", help="only print the path of the page")
    options = parser.parse_args(list(args))
    page = write_report(run_grid(demo_experiment(), options.results)).resolve()
    print(f"Report: {page}")
    if not options.no_open and sys.stdout.isatty():
        webbrowser.open(page.as_uri())
    return 0
