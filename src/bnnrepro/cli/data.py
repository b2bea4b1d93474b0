"""``bnnrepro data mnist cifar10``: download data sets ahead of any run."""

from __future__ import annotations

import argparse

from bnnrepro.cli.exit_code import command_parser, exits, refuse_in_a_line
from bnnrepro.errors import UserError, nearest

NAMES = ("mnist", "cifar10", "cifar100")


@exits
def main(argv: list[str]) -> int:
    """Fetch the named data sets, or all; return the exit code, 2 for bad input."""
    own = parser("data")
    refuse_in_a_line(own, argv)
    options = own.parse_args(argv)
    for name in options.names:
        if name not in NAMES:
            allowed = f"must be one of {', '.join(NAMES)}{nearest(name, NAMES)}"
            raise UserError("names", name, allowed)
    for name in options.names or NAMES:
        fetch(name, options.root)
        print(f"{name}: complete in {options.root}")
    return 0


def parser(name: str) -> argparse.ArgumentParser:
    """Return the parser of the command's words."""
    options = command_parser(name, "Download data sets ahead of any run.")
    options.add_argument("names", nargs="*", help=f"of {', '.join(NAMES)}; all if none is given")
    options.add_argument("--root", metavar="DIR", default="data", help="of the data sets")
    return options


def fetch(name: str, root: str) -> None:
    """Download the missing files of one data set to the root."""
    # Here, not above: a misspelt name is refused before torch is loaded.
    from bnnrepro.data import cifar, mnist

    if name == "mnist":
        mnist.ensure(root, download=True)
    else:
        cifar.ensure(name, root, download=True)
