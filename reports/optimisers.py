"""Minima over weights, representations and covariances side by side (Jacot et al. 2022).

The same as ``diffstab figure optimisers [RESULTS ...] [--output FILE]``.
"""

import sys

from diffstab.cli import main

if __name__ == "__main__":
    sys.exit(main(["figure", "optimisers", *sys.argv[1:]]))
