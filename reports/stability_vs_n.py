"""D, G and R against the number of training images, three data sets, both regimes (Petrini et al. 2022).

Run from a checkout: ``python -m reports.stability_vs_n [RESULTS ...]`` writes to results/figures (see ``--help``).
"""

import sys

from diffstab.paper.figures import main

if __name__ == "__main__":
    sys.exit(main("stability_vs_n"))
