"""``bnnrepro table|figure|reproduce-table|reproduce-figure NAME``: reproduce the paper."""

import argparse
from collections.abc import Sequence

from bnnrepro.cli.exit_code import command_parser, exits, refuse_in_a_line
from bnnrepro.errors import UserError
from bnnrepro.report.reproduce import MAX_SEEDS, Request, report, reproduce

SETTINGS = """\
OVERRIDE is any setting that changes no run's numbers, for all runs: dataset.root=DIR threads=1
device=cpu out=DIR cluster=mine hydra.launcher.processes=2.
"""
RESUMES = """\
Finished runs are never run again. Interrupt the command at any time; the same command resumes.
"""
ABOUT = {
    "reproduce-table": "Run the missing runs of a table, then report.",
    "table": "Report finished runs, start nothing.",
    "reproduce-figure": "Run the missing runs of a figure, then plot.",
    "figure": "Plot finished runs.",
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
    name, *rest = words or [""]
    options = parser(name)
    refuse_in_a_line(options, words)
    arguments = options.parse_intermixed_args(rest)
    starts = name.startswith("reproduce-")
    return Request(name.removeprefix("reproduce-"), starts=starts, **vars(arguments))


def _number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        allowed = f"must be a whole number from 1 to {MAX_SEEDS}"
        raise UserError("seeds", text, allowed) from None


def parser(name: str) -> argparse.ArgumentParser:
    """Return the parser of a command's words.

    Raises:
        UserError: there is no such command here.
    """
    if name not in ABOUT:
        raise UserError("command", name, f"must be one of {', '.join(ABOUT)}")
    starts = name.startswith("reproduce-")
    options = command_parser(name, ABOUT[name], SETTINGS + RESUMES if starts else SETTINGS)
    options.add_argument(
        "name", nargs="?", default="", help="of the table or figure, as the paper numbers it"
    )
    options.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="see below")
    options.add_argument("--preset", default="paper", help="paper (default), quick or smoke")
    runs = "runs of a cell: paper 5 (figure segmentation 3), quick 2, smoke 1"
    options.add_argument("--seeds", type=_number, metavar="N", help=runs)
    options.add_argument(
        "--only", default="", metavar="VALUES", help="a part: mnist, or mnist,cifar10,ste"
    )
    if not starts:
        about = "report the runs in this folder that any version of bnnrepro made at the preset"
        options.add_argument("--from", dest="source", metavar="DIR", help=about)
        return options
    options.add_argument("--launcher", help="local (default) or slurm")
    options.add_argument("--yes", action="store_true", help="answer questions with yes")
    options.add_argument("--detach", action="store_true", help="return once runs are submitted")
    options.add_argument(
        "--plan", action="store_true", help="only print what is missing and its cost"
    )
    return options
