"""Predictors on the circle with their cusps, neurons on circle and 2-sphere, atoms (Petrini et al. 2022).

The same as ``diffstab figure predictors [RESULTS ...] [--output FILE]``.
"""

import sys

from diffstab.cli import main

if __name__ == "__main__":
    sys.exit(main(["figure", "predictors", *sys.argv[1:]]))
