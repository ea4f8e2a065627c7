"""Plateaus whose start theory gives: bipartite graph, one-hot, scalar (Jacot et al. 2022, Propositions 14, 15).

Run from a checkout: ``python -m reports.plateau_exact [RESULTS ...]`` writes to results/figures (see ``--help``).
"""

import sys

from diffstab.paper.figures import main

if __name__ == "__main__":
    sys.exit(main("plateau_exact"))
