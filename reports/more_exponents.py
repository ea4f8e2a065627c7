"""Exponents of one predictor from many draws on the sphere, measured and predicted (Petrini et al. 2022).

The same as ``diffstab figure more_exponents [RESULTS ...] [--output FILE]``.
"""

import sys

from diffstab.cli import main

if __name__ == "__main__":
    sys.exit(main(["figure", "more_exponents", *sys.argv[1:]]))
