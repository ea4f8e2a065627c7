"""A teacher network: loss, norm, errors and rank against width (Jacot et al. 2022, Fig. 2).

Run from a checkout: ``python -m reports.plateau_teacher [RESULTS ...]`` writes to results/figures (see ``--help``).
"""

import sys

from diffstab.paper.figures import main

if __name__ == "__main__":
    sys.exit(main("plateau_teacher"))
