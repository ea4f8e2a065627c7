"""Exponents of learning curves on the sphere, measured and predicted, as a table (Petrini et al. 2022).

Run from a checkout: ``python -m reports.sphere_exponents RESULTS`` writes RESULTS/exponents.csv.
"""

import argparse

from diffstab.reporting.sphere.papers import write_exponents

if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", help="results folder with records/*.parquet")
    print(write_exponents(parser.parse_args().results))
