"""Gaussian random fields on the circle and the 2-sphere; no run is needed (Petrini et al. 2022).

Run from a checkout: ``python -m reports.gaussian_pictures [RESULTS ...]`` writes to results/figures (see ``--help``).
"""

import sys

from diffstab.paper.figures import main

if __name__ == "__main__":
    sys.exit(main("gaussian_pictures"))
