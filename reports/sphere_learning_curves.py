"""Test error against n on the sphere, lazy and feature, with predicted exponents (Petrini et al. 2022).

Run from a checkout: ``python -m reports.sphere_learning_curves RESULTS`` writes PNG and PDF files to RESULTS/figures.
"""

import argparse

from diffstab.reporting.sphere.papers import write_learning_curves

if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", help="results folder with records/*.parquet")
    for path in write_learning_curves(parser.parse_args().results):
        print(path)
