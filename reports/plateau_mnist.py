"""MNIST: loss, norm, errors and rank against width, with the source's claims (Jacot et al. 2022, Fig. 2).

The same as ``diffstab figure plateau_mnist [RESULTS ...] [--output FILE]``.
"""

import sys

from diffstab.cli import main

if __name__ == "__main__":
    sys.exit(main(["figure", "plateau_mnist", *sys.argv[1:]]))
