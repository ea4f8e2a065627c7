"""Predictors on the circle with their cusps, neurons on circle and 2-sphere, atoms (Petrini et al. 2022).

Run from a checkout: ``python -m reports.predictors [RESULTS ...]`` writes to results/figures (see ``--help``).
"""

import sys

from diffstab.paper.figures import main

if __name__ == "__main__":
    sys.exit(main("predictors"))
