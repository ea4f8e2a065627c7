"""Constant target on the sphere: test error of exact, trained and lazy predictors (Petrini et al. 2022).

The same as ``diffstab figure constant_target [RESULTS ...] [--output FILE]``.
"""

import sys

from diffstab.cli import main

if __name__ == "__main__":
    sys.exit(main(["figure", "constant_target", *sys.argv[1:]]))
