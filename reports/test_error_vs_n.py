"""Test error against the number of training images, feature and lazy (Petrini et al. 2022, Fig. 1).

Run from a checkout: ``python -m reports.test_error_vs_n RESULTS`` writes RESULTS/figures/test_error_vs_n.png and .pdf.
"""

import argparse

from diffstab.reporting.papers import write_curves

if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", help="results folder with records/*.parquet")
    for path in write_curves(parser.parse_args().results, quantities=["test_error"], name="test_error_vs_n"):
        print(path)
