"""Loss, norm, errors and rank against width, and the source's claims beside them (Jacot et al. 2022, Fig. 2).

Run from a checkout: ``python -m reports.plateau RESULTS`` writes RESULTS/claims.csv and figures to RESULTS/figures.
"""

import argparse

from diffstab.reporting.l2.plateau_papers import write_claims, write_plateaus

if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", help="results folder with records/*.parquet")
    results = parser.parse_args().results
    for path in [write_claims(results), *write_plateaus(results)]:
        print(path)
