"""Neurons before and after training in the plane of the records (Petrini et al. 2022).

Run from a checkout: ``python -m reports.neurons RESULTS`` writes RESULTS/figures/neurons.png and .pdf.
"""

import argparse

from diffstab.reporting.papers import write_neurons

if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", help="results folder with records/*.parquet")
    for path in write_neurons(parser.parse_args().results):
        print(path)
