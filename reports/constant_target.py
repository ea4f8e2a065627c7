"""Constant target on the sphere: test error of exact, trained and lazy predictors (Petrini et al. 2022).

Run from a checkout: ``python -m reports.constant_target [RESULTS ...]`` writes to results/figures (see ``--help``).
"""

import sys

from diffstab.paper.figures import main

if __name__ == "__main__":
    sys.exit(main("constant_target"))
