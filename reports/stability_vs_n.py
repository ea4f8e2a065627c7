"""D, G and R against the number of training images, three data sets, both regimes (Petrini et al. 2022).

The same as ``diffstab figure stability_vs_n [RESULTS ...] [--output FILE]``.
"""

import sys

from diffstab.cli import main

if __name__ == "__main__":
    sys.exit(main(["figure", "stability_vs_n", *sys.argv[1:]]))
