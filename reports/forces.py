"""Attraction and repulsion in the hidden layers, data points and neurons (Jacot et al. 2022, Fig. 1).

Run from a checkout: ``python -m reports.forces [RESULTS ...]`` writes to results/figures (see ``--help``).
"""

import sys

from diffstab.paper.figures import main

if __name__ == "__main__":
    sys.exit(main("forces"))
