"""MNIST: loss, norm, errors and rank against width, with the source's claims (Jacot et al. 2022, Fig. 2).

Run from a checkout: ``python -m reports.plateau_mnist [RESULTS ...]`` writes to results/figures (see ``--help``).
"""

import sys

from diffstab.paper.figures import main

if __name__ == "__main__":
    sys.exit(main("plateau_mnist"))
