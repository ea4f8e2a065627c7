"""`python -m diffstab`."""

import sys


def main() -> int:
    """Run the command line and return its exit status."""
    from diffstab.cli import main as cli_main

    return cli_main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
