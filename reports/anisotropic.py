"""A target of two coordinates beside one of all: test error in both regimes (Petrini et al. 2022).

The same as ``diffstab figure anisotropic [RESULTS ...] [--output FILE]``.
"""

import sys

from diffstab.cli import main

if __name__ == "__main__":
    sys.exit(main(["figure", "anisotropic", *sys.argv[1:]]))
