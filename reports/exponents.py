"""Exponents of learning curves on the sphere, measured and predicted, as a table (Petrini et al. 2022).

Run from a checkout: ``python -m reports.exponents [RESULTS ...]`` writes to results/figures (see ``--help``).
"""

import sys

from diffstab.paper.figures import main

if __name__ == "__main__":
    sys.exit(main("exponents"))
