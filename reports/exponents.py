"""Exponents of learning curves on the sphere, measured and predicted, as a table (Petrini et al. 2022).

The same as ``diffstab figure exponents [RESULTS ...] [--output FILE]``.
"""

import sys

from diffstab.cli import main

if __name__ == "__main__":
    sys.exit(main(["figure", "exponents", *sys.argv[1:]]))
