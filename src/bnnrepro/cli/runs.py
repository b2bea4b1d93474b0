"""``bnnrepro status|retry|cancel``: query and control sets of runs."""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bnnrepro import screen
from bnnrepro.cli.exit_code import exits
from bnnrepro.runs.query import Run, find, look_up, parse
from bnnrepro.runs.status_table import overview

EPILOG = """\
WHAT is any number of
  folders                multirun, multirun/mnist, a run's folder, a sweep's multirun/.hydra/NAME
  KEY=VALUE[,VALUE]      dataset=mnist method=ste,bop seed=0 state=failed method.lr=0.0001
or, with -m, the line of a sweep: -m method=ste,bop 'seed=range(5)'. Without it: all runs of --out.
"""


@exits
def main(argv: list[str]) -> int:
    """Run ``status``, ``retry`` or ``cancel``, the first word, and return the exit code."""
    arguments = _parser().parse_intermixed_args(argv)
    actions: dict[str, Callable[[argparse.Namespace], int]]
    actions = {"status": _status, "retry": _retry, "cancel": _cancel}
    return actions[arguments.action](arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bnnrepro",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = {
        "status": "counts, and a line for each run that is not done",
        "retry": "start again what failed, was interrupted, or is gone",
        "cancel": "stop what is queued or running; it can go on later",
    }
    parser.add_argument(
        "action", choices=actions, help="; ".join(f"{key}: {text}" for key, text in actions.items())
    )
    parser.add_argument("what", nargs="*", metavar="WHAT", help="which runs; see below")
    parser.add_argument("-m", "--sweep", action="store_true", help="WHAT is the line of a sweep")
    parser.add_argument("--out", default="multirun", help="folder of all runs (multirun)")
    parser.add_argument("--all", action="store_true", help="status: a line for every run")
    parser.add_argument(
        "--watch", type=float, nargs="?", const=5.0, metavar="S", help="status: every S seconds"
    )
    parser.add_argument("--detach", action="store_true", help="retry: return once submitted")
    parser.add_argument("--config-dir", metavar="DIR", help="of your own parts, as run.py's")
    return parser


def _runs(arguments: argparse.Namespace, words: Sequence[str]) -> tuple[list[Run], list[Path]]:
    if arguments.sweep:
        from bnnrepro.launch.dry_run import planned_by

        runs = [each.run for each in planned_by(words, arguments.config_dir)]
        look_up(runs)
        return runs, []
    places, filters = parse(words, arguments.out)
    return find(places, filters)


def _status(arguments: argparse.Namespace) -> int:
    while not screen.lost():
        text = overview(*_runs(arguments, arguments.what), everything=arguments.all)
        if arguments.watch is None:
            print(text)
            return screen.code_of_output()
        clear = "\033[H\033[2J" if sys.stdout.isatty() else ""
        print(f"{clear}{time.strftime('%H:%M:%S')}  {text}", flush=True)
        time.sleep(max(0.1, arguments.watch))
    return 0


def _retry(arguments: argparse.Namespace) -> int:
    from bnnrepro.launch.retry import retry

    launcher = [each for each in arguments.what if each.startswith(("hydra", "cluster="))]
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
    lines, well = cancel(runs)
    print("\n".join(lines))
    return 0 if well else 1
