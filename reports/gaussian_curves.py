"""Gaussian random fields on the sphere: test error against n, with exponents (Petrini et al. 2022).

Run from a checkout: ``python -m reports.gaussian_curves [RESULTS ...]`` writes to results/figures (see ``--help``).
"""

import sys

from diffstab.paper.figures import main

if __name__ == "__main__":
    sys.exit(main("gaussian_curves"))
