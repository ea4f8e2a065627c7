"""`diffstab demo`: the comparison and its page on the embedded digits, in about a minute."""

from __future__ import annotations

import argparse
import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path

from diffstab.training.experiment import Experiment, NetChoice, StabilityChoice


def demo_experiment() -> Experiment:
    """Return the comparison that the demo runs: the two regimes on scikit-learn's digits."""
    return Experiment(
        data={"class_path": "datamodules.Digits"},
        n_train=[64, 128, 256],
        seeds=[0, 1, 2],
        net=NetChoice(hidden=[300]),
        stability=StabilityChoice(images=400, fields_per_image=2),
    )


def main(args: Sequence[str]) -> int:
    """Run the demo, then open its page, or print its path where there is no screen."""
    from diffstab.report.page import write_report
    from diffstab.training.compare import compare

    parser = argparse.ArgumentParser(prog="diffstab demo", description=__doc__)
    parser.add_argument("--results", type=Path, default=Path("results/demo"), help="results folder")
    parser.add_argument("--no-open", action="store_true", help="only print the path of the page")
    options = parser.parse_args(list(args))
    page = write_report(compare(demo_experiment(), options.results)).resolve()
    print(f"Report: {page}")
    if not options.no_open and sys.stdout.isatty():
        webbrowser.open(page.as_uri())
    return 0
