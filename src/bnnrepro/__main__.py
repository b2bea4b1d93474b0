"""``python -m bnnrepro``: the command line."""

import sys

from bnnrepro import screen
from bnnrepro.cli import main


def start() -> None:
    """Run the command line and exit: what the console script ``bnnrepro`` calls."""
    screen.guard()
    sys.exit(main())


if __name__ == "__main__":
    start()
