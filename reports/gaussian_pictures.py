"""Gaussian random fields on the circle and the 2-sphere; no run is needed (Petrini et al. 2022).

The same as ``diffstab figure gaussian_pictures [RESULTS ...] [--output FILE]``.
"""

import sys

from diffstab.cli import main

if __name__ == "__main__":
    sys.exit(main(["figure", "gaussian_pictures", *sys.argv[1:]]))
