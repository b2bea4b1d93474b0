"""``bnnrepro table|figure|reproduce-table|reproduce-figure NAME``: the paper, reproduced."""

import argparse
from collections.abc import Sequence
from typing import NoReturn

from bnnrepro.cli.exit_code import exits
from bnnrepro.errors import UserError
from bnnrepro.report.reproduce import MOST_SEEDS, Wish, report, reproduce

EPILOG = """\
OVERRIDE is any setting that changes no run's numbers, for all runs: dataset.root=DIR threads=1
device=cpu out=DIR cluster=mine hydra.launcher.processes=2. Finished runs are never run again;
interrupt it at any time, and the same command resumes.
"""
ACTIONS = {
    "reproduce-table": "run what a table lacks, then report",
    "table": "report from finished runs, start nothing",
    "reproduce-figure": "run what a figure lacks, then draw",
    "figure": "draw from finished runs, start nothing",
}


@exits
def main(argv: list[str]) -> int:
    """Run ``table``, ``reproduce-table`` and so on, the first word; return the exit code."""
    wish = wish_of(argv)
    return reproduce(wish) if wish.starts else report(wish)


def wish_of(words: Sequence[str]) -> Wish:
    """Return the request of a command line.

    Raises:
        UserError: it cannot be parsed.
    """
    arguments = _parser(words).parse_intermixed_args(words)
    return Wish(
        arguments.action.removeprefix("reproduce-"),
        arguments.name,
        starts=arguments.action.startswith("reproduce-"),
        preset=arguments.preset,
        seeds=arguments.seeds,
        launcher=arguments.launcher,
        overrides=tuple(arguments.overrides),
        yes=arguments.yes,
        detach=arguments.detach,
        plan=arguments.plan,
    )


def _number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        allowed = f"must be a whole number from 1 to {MOST_SEEDS}"
        raise UserError("seeds", text, allowed) from None


def _parser(words: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bnnrepro",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )

    def refuse(message: str) -> NoReturn:
        raise UserError("command line", " ".join(words), f"{message}; see --help")

    parser.error = refuse  # type: ignore[method-assign]
    parser.add_argument(
        "action", choices=ACTIONS, help="; ".join(f"{key}: {text}" for key, text in ACTIONS.items())
    )
    parser.add_argument(
        "name", nargs="?", default="", help="of the table or figure, as the paper numbers it"
    )
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="see below")
    parser.add_argument("--preset", default="paper", help="paper (default), quick or smoke")
    parser.add_argument(
        "--seeds", type=_number, metavar="N", help="runs of a cell: paper 5, quick 2, smoke 1"
    )
    parser.add_argument("--launcher", help="local (default) or slurm")
    parser.add_argument("--yes", action="store_true", help="answer questions with yes")
    parser.add_argument("--detach", action="store_true", help="return once runs are submitted")
    parser.add_argument(
        "--plan", action="store_true", help="only print what is missing and its cost"
    )
    return parser
