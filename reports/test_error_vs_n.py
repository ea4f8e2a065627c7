"""Test error against the number of training images, three data sets, both regimes (Petrini et al. 2022, Fig. 1).

Run from a checkout: ``python -m reports.test_error_vs_n [RESULTS ...]`` writes to results/figures (see ``--help``).
"""

import sys

from diffstab.paper.figures import main

if __name__ == "__main__":
    sys.exit(main("test_error_vs_n"))
