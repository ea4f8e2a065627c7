"""The power of the error in each degree beside that of the target (Petrini et al. 2022).

Run from a checkout: ``python -m reports.spectral_bias [RESULTS ...]`` writes to results/figures (see ``--help``).
"""

import sys

from diffstab.paper.figures import main

if __name__ == "__main__":
    sys.exit(main("spectral_bias"))
