"""A teacher network: loss, norm, errors and rank against width (Jacot et al. 2022, Fig. 2).

The same as ``diffstab figure plateau_teacher [RESULTS ...] [--output FILE]``.
"""

import sys

from diffstab.cli import main

if __name__ == "__main__":
    sys.exit(main(["figure", "plateau_teacher", *sys.argv[1:]]))
