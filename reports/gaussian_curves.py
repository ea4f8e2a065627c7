"""Gaussian random fields on the sphere: test error against n, with exponents (Petrini et al. 2022).

The same as ``diffstab figure gaussian_curves [RESULTS ...] [--output FILE]``.
"""

import sys

from diffstab.cli import main

if __name__ == "__main__":
    sys.exit(main(["figure", "gaussian_curves", *sys.argv[1:]]))
