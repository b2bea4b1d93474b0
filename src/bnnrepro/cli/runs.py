"""``bnnrepro status|retry|cancel|show|clean``: query and control sets of runs."""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bnnrepro import screen
from bnnrepro.cli.exit_code import command_parser, exits, refuse_in_a_line
from bnnrepro.runs.query import Run, find, parse, update_states
from bnnrepro.runs.status_table import overview

EPILOG = """\
WHAT is any number of
  folders                multirun, multirun/mnist, a run's folder, a sweep's multirun/.hydra/NAME
  KEY=VALUE[,VALUE]      dataset=mnist method=ste,bop seed=0 state=failed method.lr=0.0001
or, with -m, a sweep's overrides: -m method=ste,bop 'seed=range(5)'. Default: all runs in --out.
"""


ABOUT = {
    "status": "Count runs by state, and list each that is not done.",
    "retry": "Restart runs that failed, were interrupted, or whose process is gone.",
    "cancel": "Stop queued and running runs; they can be resumed.",
    "show": "Print the settings and the figures of runs.",
    "clean": "Remove what finished runs need no more: Adam's moments.",
}


@exits
def main(argv: list[str]) -> int:
    """Run the command that the first word names; return the exit code."""
    name, *words = argv
    options = parser(name)
    refuse_in_a_line(options, argv)
    actions: dict[str, Callable[[argparse.Namespace], int]]
    actions = {"status": _status, "retry": _retry, "cancel": _cancel}
    actions |= {"show": _show, "clean": _clean}
    return actions[name](options.parse_intermixed_args(words))


def parser(name: str) -> argparse.ArgumentParser:
    """Return the parser of a command's words."""
    options = command_parser(name, ABOUT[name], EPILOG)
    number = "+" if name == "show" else "*"
    options.add_argument("what", nargs=number, metavar="WHAT", help="the runs; see below")
    options.add_argument("-m", "--sweep", action="store_true", help="WHAT are a sweep's overrides")
    options.add_argument("--out", metavar="DIR", default="multirun", help="of all runs (multirun)")
    options.add_argument("--config-dir", metavar="DIR", help="of your own parts, as run.py's")
    if name == "status":
        options.add_argument("--all", action="store_true", help="a line for every run")
        options.add_argument(
            "--watch", type=float, nargs="?", const=5.0, metavar="S", help="again every S seconds"
        )
    if name == "clean":
        options.add_argument("--yes", action="store_true", help="do not ask")
    if name == "retry":
        options.add_argument("--detach", action="store_true", help="return once submitted")
    return options


def _runs(arguments: argparse.Namespace, words: Sequence[str]) -> tuple[list[Run], list[Path]]:
    if arguments.sweep:
        from bnnrepro.launch.dry_run import plan_of, points_of

        runs = [planned.run for planned in plan_of(points_of(words, arguments.config_dir))]
        update_states(runs)
        return runs, []
    places, filters = parse(words, arguments.out)
    return find(places, filters)


def _status(arguments: argparse.Namespace) -> int:
    while not screen.output_lost():
        text = overview(*_runs(arguments, arguments.what), show_all=arguments.all)
        if arguments.watch is None:
            print(text)
            return screen.output_exit_code()
        clear = "\033[H\033[2J" if sys.stdout.isatty() else ""
        print(f"{clear}{time.strftime('%H:%M:%S')}  {text}", flush=True)
        time.sleep(max(0.1, arguments.watch))
    return 0


def _retry(arguments: argparse.Namespace) -> int:
    from bnnrepro.launch.retry import retry

    launcher = [word for word in arguments.what if word.startswith(("hydra", "cluster="))]
    words = arguments.what if arguments.sweep else [w for w in arguments.what if w not in launcher]
    runs, _ = _runs(arguments, words)
    return retry(
        runs,
        launcher,
        detach=arguments.detach,
        words=arguments.what,
        config_dir=arguments.config_dir,
    )


def _cancel(arguments: argparse.Namespace) -> int:
    from bnnrepro.launch.cancel import cancel

    runs, _ = _runs(arguments, arguments.what)
    lines, succeeded = cancel(runs)
    print("\n".join(lines))
    return 0 if succeeded else 1


def _show(arguments: argparse.Namespace) -> int:
    from bnnrepro.report.show import details

    runs, _ = _runs(arguments, arguments.what)
    print("\n\n".join(map(details, runs)) or "0 runs")
    return screen.output_exit_code()


def _clean(arguments: argparse.Namespace) -> int:
    from bnnrepro.launch.clean import clean, removable

    runs, _ = _runs(arguments, arguments.what)
    found = [(run, freed) for run in runs if (freed := removable(run))]
    for run, freed in found:
        print(f"{sum(freed.values()) / 1e6:10,.1f} MB  {run.name}: {', '.join(freed)}")
    total = sum(sum(freed.values()) for _, freed in found)
    print(f"{total / 1e6:10,.1f} MB  of {len(found)} finished runs; figures and weights stay")
    if not found:
        return 0
    if not arguments.yes and not screen.confirmed("Remove them?"):
        print("nothing was removed")
        return 0
    for run, _ in found:
        clean(run)
    return screen.output_exit_code()
