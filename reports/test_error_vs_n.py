"""Test error against the number of training images, three data sets, both regimes (Petrini et al. 2022, Fig. 1).

The same as ``diffstab figure test_error_vs_n [RESULTS ...] [--output FILE]``.
"""

import sys

from diffstab.cli import main

if __name__ == "__main__":
    sys.exit(main(["figure", "test_error_vs_n", *sys.argv[1:]]))
