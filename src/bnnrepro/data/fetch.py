"""Fetch data sets ahead of any run: ``python -m bnnrepro.data.fetch mnist cifar10``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from bnnrepro import screen
from bnnrepro.errors import UserError, nearest

NAMES = ("mnist", "cifar10", "cifar100")


def main(arguments: Sequence[str] | None = None) -> int:
    """Fetch what is named, everything if nothing is; return the exit code, 2 for bad input."""
    parser = argparse.ArgumentParser(prog="python -m bnnrepro.data.fetch", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(NAMES)}; all if none is given")
    parser.add_argument("--root", default="data", help="the folder to put them in")
    options = parser.parse_args(arguments)
    try:
        for name in options.names:
            if name not in NAMES:
                allowed = f"one of {', '.join(NAMES)}{nearest(name, NAMES)}"
                raise UserError("names", name, allowed)
        for name in options.names or NAMES:
            fetch(name, options.root)
            print(f"{name}: whole in {options.root}")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def fetch(name: str, root: str) -> None:
    """Have one data set whole under the root."""
    # Here, not above: a misspelt name is answered before torch is loaded.
    from bnnrepro.data import cifar, mnist

    if name == "mnist":
        mnist.ensure(root, download=True)
    else:
        cifar.ensure(name, root, download=True)


if __name__ == "__main__":
    screen.guard()
    sys.exit(main())
