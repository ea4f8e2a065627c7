"""Attraction and repulsion in the hidden layers, data points and neurons (Jacot et al. 2022, Fig. 1).

Run from a checkout: ``python -m reports.forces RESULTS`` writes PNG and PDF files to RESULTS/figures.
"""

import argparse

from diffstab.reporting.l2.forces import write_layers

if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", help="results folder as written by `diffstab forces`")
    for path in write_layers(parser.parse_args().results):
        print(path)
