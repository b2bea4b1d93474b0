"""``bnnrepro results`` and ``bnnrepro compare``: what any runs have achieved."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from bnnrepro import screen
from bnnrepro.cli.exit_code import command_parser, exits, refuse_in_a_line
from bnnrepro.errors import UserError
from bnnrepro.runs.query import Run, find, parse

EPILOG = """\
WHAT is any number of folders (default multirun) and KEY=VALUE[,VALUE], as for bnnrepro status:
dataset=mnist method=ste,bop seed=0 state=failed method.lr=0.0001
"""
ABOUT = {
    "results": "List runs with their main figures; CSV and JSON have every figure, a row each.",
    "compare": "Compare groups of finished runs: mean, spread, interval, tests of differences.",
}


@exits
def main(argv: list[str]) -> int:
    """Run ``results`` or ``compare``, the first word; return the exit code."""
    name, *words = argv
    options = parser(name)
    refuse_in_a_line(options, argv)
    {"results": _results, "compare": _compare}[name](options.parse_intermixed_args(words))
    return screen.output_exit_code()


def parser(name: str) -> argparse.ArgumentParser:
    """Return the parser of a command's words."""
    options = command_parser(name, ABOUT[name], EPILOG)
    options.add_argument("what", nargs="*", metavar="WHAT", help="the runs; see below")
    if name == "results":
        forms = options.add_mutually_exclusive_group()
        for form in ("csv", "json", "markdown"):
            text = "print the list in Markdown" if form == "markdown" else f"print {form.upper()}"
            forms.add_argument(
                f"--{form}", dest="form", action="store_const", const=form, help=text
            )
        return options
    options.add_argument(
        "--by", default="method", metavar="KEY[,KEY]", help="what names a group: method,method.lr"
    )
    options.add_argument("--metric", default="test.accuracy", help="SPLIT.METRIC (test.accuracy)")
    options.add_argument("--select", help="epoch: best or final; default best, where there is one")
    options.add_argument("--prediction", default="mode", help="mode (default) or mean")
    options.add_argument("--out", metavar="DIR", help="write Markdown, LaTeX, CSV, JSON, a page")
    return options


def _results(arguments: argparse.Namespace) -> None:
    from bnnrepro.report.render.document import as_csv, markdown, records, terminal
    from bnnrepro.report.run_list import run_list
    from bnnrepro.runs.results import table
    from bnnrepro.runs.status_table import counts

    runs, left_out = _found(arguments.what)
    results = table(runs, left_out)
    if arguments.form == "csv":
        print(as_csv(results), end="")
    elif arguments.form == "json":
        print(screen.printable(json.dumps(records(results), indent=2), lines=True))
    else:
        document = run_list(results, counts(runs))
        text = markdown(document) if arguments.form == "markdown" else terminal(document)
        print(text.rstrip("\n"))


def _compare(arguments: argparse.Namespace) -> None:
    from bnnrepro.report.compare import PREDICTION, compare, with_charts
    from bnnrepro.report.published import SELECTIONS
    from bnnrepro.report.render.document import terminal, write
    from bnnrepro.runs.layout import make_writable
    from bnnrepro.runs.results import curves_of, table

    for key, choices in (("select", SELECTIONS), ("prediction", PREDICTION)):
        value = getattr(arguments, key)
        if value is not None and value not in choices:
            raise UserError(f"--{key}", value, f"must be one of {', '.join(choices)}")
    by = list(dict.fromkeys(arguments.by.split(",")))
    runs, left_out = _found(arguments.what)
    document = compare(
        table(runs, left_out, by),
        by,
        metric=arguments.metric,
        selection=arguments.select,
        prediction=arguments.prediction,
    )
    print(terminal(document))
    if arguments.out is not None:
        folder = Path(arguments.out)
        make_writable(folder, "--out", folder)
        document = with_charts(document, curves_of(runs))
        for file in write(document, folder, "comparison"):
            print(f"comparison: {file}")


def _found(words: Sequence[str]) -> tuple[list[Run], list[Path]]:
    runs, left_out = find(*parse(words, "multirun"))
    if not runs and not left_out:
        raise UserError("runs", " ".join(words) or "multirun", "there is no such run")
    return runs, left_out
