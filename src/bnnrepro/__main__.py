"""``python -m bnnrepro``: the command line."""

import sys

from bnnrepro import screen
from bnnrepro.cli import main


def start() -> None:
    """Run the command line and exit: the console script ``bnnrepro``."""
    screen.guard()
    sys.exit(main())


if __name__ == "__main__":
    start()
