"""Plateaus whose start theory gives: bipartite graph, one-hot, scalar (Jacot et al. 2022, Propositions 14, 15).

The same as ``diffstab figure plateau_exact [RESULTS ...] [--output FILE]``.
"""

import sys

from diffstab.cli import main

if __name__ == "__main__":
    sys.exit(main(["figure", "plateau_exact", *sys.argv[1:]]))
