"""Minima over weights, representations and covariances side by side (Jacot et al. 2022).

Run from a checkout: ``python -m reports.optimisers [RESULTS ...]`` writes to results/figures (see ``--help``).
"""

import sys

from diffstab.paper.figures import main

if __name__ == "__main__":
    sys.exit(main("optimisers"))
