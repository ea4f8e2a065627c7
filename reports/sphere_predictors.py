"""Predictors on the circle with their cusps, and neurons on circle and 2-sphere (Petrini et al. 2022).

Run from a checkout: ``python -m reports.sphere_predictors RESULTS`` writes PNG and PDF files to RESULTS/figures.
"""

import argparse

from diffstab.reporting.sphere.papers import write_predictors

if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", help="results folder with records/*.parquet")
    for path in write_predictors(parser.parse_args().results):
        print(path)
