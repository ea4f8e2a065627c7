"""Images, deformed and noisy (Petrini et al. 2022).

Run from a checkout: ``python -m reports.deformations [RESULTS ...]`` writes to results/figures (see ``--help``).
"""

import sys

from diffstab.paper.figures import main

if __name__ == "__main__":
    sys.exit(main("deformations"))
