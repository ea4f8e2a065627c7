"""Neurons before and after training, with their sparsity as a table (Petrini et al. 2022).

Run from a checkout: ``python -m reports.neurons [RESULTS ...]`` writes to results/figures (see ``--help``).
"""

import sys

from diffstab.paper.figures import main

if __name__ == "__main__":
    sys.exit(main("neurons"))
