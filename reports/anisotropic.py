"""A target of two coordinates beside one of all: test error in both regimes (Petrini et al. 2022).

Run from a checkout: ``python -m reports.anisotropic [RESULTS ...]`` writes to results/figures (see ``--help``).
"""

import sys

from diffstab.paper.figures import main

if __name__ == "__main__":
    sys.exit(main("anisotropic"))
