"""Test error, D and R against the number of training images: the picture of the README.

The same as ``diffstab figure overview [RESULTS ...] [--output FILE]``.
"""

import sys

from diffstab.cli import main

if __name__ == "__main__":
    sys.exit(main(["figure", "overview", *sys.argv[1:]]))
