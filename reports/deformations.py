"""Images, deformed and noisy (Petrini et al. 2022).

The same as ``diffstab figure deformations [RESULTS ...] [--output FILE]``.
"""

import sys

from diffstab.cli import main

if __name__ == "__main__":
    sys.exit(main(["figure", "deformations", *sys.argv[1:]]))
