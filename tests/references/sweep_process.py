"""`diffstab` in a process of its own, with the experiment `numbers`."""

import sys

from diffstab.cli import main
from diffstab.experiments import Listed, listed

if __name__ == "__main__":
    listed()["numbers"] = Listed("tests.references.numbers_experiment:Numbers", "Square numbers")
    sys.exit(main(sys.argv[1:]))
