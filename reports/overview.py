"""Test error, D and R against the number of training images: the picture of the README.

Run from a checkout: ``python -m reports.overview [RESULTS ...]`` writes to results/figures (see ``--help``).
"""

import sys

from diffstab.paper.figures import main

if __name__ == "__main__":
    sys.exit(main("overview"))
