"""Neurons before and after training, with their sparsity as a table (Petrini et al. 2022).

The same as ``diffstab figure neurons [RESULTS ...] [--output FILE]``.
"""

import sys

from diffstab.cli import main

if __name__ == "__main__":
    sys.exit(main(["figure", "neurons", *sys.argv[1:]]))
