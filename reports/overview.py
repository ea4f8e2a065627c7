"""Test error, D and R against the number of training images in one row: the picture of the README.

Run from a checkout: ``python -m reports.overview RESULTS`` writes RESULTS/figures/overview.png and .pdf.
"""

import argparse

from diffstab.reporting.papers import write_curves

if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", help="results folder with records/*.parquet")
    results = parser.parse_args().results
    for path in write_curves(results, quantities=["test_error", "D", "R"], name="overview", across=True):
        print(path)
