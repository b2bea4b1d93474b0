"""``bnnrepro table|figure|reproduce-table|reproduce-figure NAME``: reproduce the paper."""

import argparse
from collections.abc import Sequence

from bnnrepro.cli.exit_code import exits, refuse_in_a_line
from bnnrepro.errors import UserError
from bnnrepro.report.reproduce import MAX_SEEDS, Request, report, reproduce

EPILOG = """\
OVERRIDE is any setting that changes no run's numbers, for all runs: dataset.root=DIR threads=1
device=cpu out=DIR cluster=mine hydra.launcher.processes=2. Finished runs are never run again.
Interrupt the command at any time; the same command resumes.
"""
ACTIONS = {
    "reproduce-table": "run the missing runs of a table, then report",
    "table": "report finished runs, start nothing",
    "reproduce-figure": "run the missing runs of a figure, then plot",
    "figure": "plot finished runs",
}


@exits
def main(argv: list[str]) -> int:
    """Run the command that the first word names, such as ``table``; return the exit code."""
    request = request_of(argv)
    return reproduce(request) if request.starts else report(request)


def request_of(words: Sequence[str]) -> Request:
    """Return the request of a command line.

    Raises:
        UserError: it cannot be parsed.
    """
    arguments = _parser(words).parse_intermixed_args(words)
    return Request(
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
        allowed = f"must be a whole number from 1 to {MAX_SEEDS}"
        raise UserError("seeds", text, allowed) from None


def _parser(words: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bnnrepro",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )

    refuse_in_a_line(parser, words)
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
