"""`diffstab` in a process of its own, with the command `numbers`."""

import sys

from diffstab.cli import main
from diffstab.training.grid import COMMANDS

if __name__ == "__main__":
    COMMANDS["numbers"] = "tests.references.sweep_grid:Numbers"
    sys.exit(main(sys.argv[1:]))
