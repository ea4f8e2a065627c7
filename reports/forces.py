"""Attraction and repulsion in the hidden layers, data points and neurons (Jacot et al. 2022, Fig. 1).

The same as ``diffstab figure forces [RESULTS ...] [--output FILE]``.
"""

import sys

from diffstab.cli import main

if __name__ == "__main__":
    sys.exit(main(["figure", "forces", *sys.argv[1:]]))
