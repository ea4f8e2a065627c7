"""The power of the error in each degree beside that of the target (Petrini et al. 2022).

The same as ``diffstab figure spectral_bias [RESULTS ...] [--output FILE]``.
"""

import sys

from diffstab.cli import main

if __name__ == "__main__":
    sys.exit(main(["figure", "spectral_bias", *sys.argv[1:]]))
