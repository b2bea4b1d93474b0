"""The command line: ``bnnrepro COMMAND``, also as ``python -m bnnrepro COMMAND``."""

from argparse import ArgumentParser
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any

from bnnrepro.cli.exit_code import exits
from bnnrepro.errors import UserError, nearest

COMMANDS = {
    "run": "train one run: settings as key=value, `run --help` lists them; run.py is the same",
    "sweep": "train all combinations: seed=0,1 method=ste,bop (run -m)",
    "submit": "the same as sweep: --detach, --dry-run",
    "status": "count runs by state, and list those that are not done",
    "retry": "restart runs that failed or were interrupted",
    "cancel": "stop queued and running runs; they can be resumed",
    "show": "print what finished or unfinished runs are and have reached",
    "clean": "free disk space: what finished runs need no more; asks first",
    "results": "list runs with their figures; all figures as --csv or --json",
    "compare": "compare groups of runs: --by method,method.lr --metric test.accuracy",
    "table": "report a table of the paper from finished runs",
    "figure": "draw a figure of the paper from finished runs",
    "reproduce-table": "train what a table lacks, then report it",
    "reproduce-figure": "train what a figure lacks, then draw it",
    "export": "write a finished run as files of a bit a weight: safetensors, ONNX",
    "data": "download mnist, cifar10, cifar100",
    "info": "print versions, hardware, folders, and the data sets found",
    "legacy": "run a JSON file of the earlier reproduction",
}


@exits
def main(argv: list[str]) -> int:
    """Run the command that the first word names; return its exit code."""
    import bnnrepro

    if not argv or argv[0] in ("-h", "--help"):
        print(_usage())
        return 0
    if argv[0] == "--version":
        print(f"bnnrepro {bnnrepro.__version__}")
        return 0
    if argv[0] == "--completion":
        print(_completion(argv[1:]))
        return 0
    name, words = argv[0], argv[1:]
    if name not in COMMANDS:
        allowed = f"must be one of {', '.join(COMMANDS)}{nearest(name, COMMANDS)}"
        raise UserError("command", name, allowed)
    return _command(name)(words)


def _usage() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {text}" for name, text in COMMANDS.items()]
    head = "usage: bnnrepro COMMAND ...; COMMAND --help shows its options"
    return "\n".join(
        [head, "       bnnrepro --completion SHELL prints the shell's completion", *lines]
    )


def _command(name: str) -> Callable[..., int]:
    """Return a command, which takes the words after its name; import no other one."""
    module = _module(name)
    command: Callable[..., int] = module.main
    if name in ("sweep", "submit"):
        return lambda words: command(words if {"-h", "--help"} & set(words) else ["-m", *words])
    named = module.__name__.endswith(("runs", "results", "report"))
    return (lambda words: command([name, *words])) if named else command


def _module(name: str) -> ModuleType:
    module = {
        **dict.fromkeys(("run", "sweep", "submit"), "run"),
        **dict.fromkeys(("status", "retry", "cancel", "show", "clean"), "runs"),
        **dict.fromkeys(("results", "compare"), "results"),
        **dict.fromkeys(("export", "data", "info", "legacy"), name),
    }.get(name, "report")
    return import_module(f"bnnrepro.cli.{module}")


def parser_of(name: str) -> ArgumentParser:
    """Return the parser of a command's words."""
    parser: ArgumentParser = _module(name).parser(name)
    return parser


def _completion(words: list[str]) -> str:
    """Return a shell's code that completes commands, options and folders."""
    import shtab

    shells = shtab.SUPPORTED_SHELLS
    if len(words) != 1 or words[0] not in shells:
        raise UserError("--completion", " ".join(words), f"must be one of {', '.join(shells)}")
    root = ArgumentParser(prog="bnnrepro")
    commands = root.add_subparsers()
    for name, text in COMMANDS.items():
        own: Any = parser_of(name)
        for action in own._actions:
            if action.metavar in ("DIR", "RUN", "WHAT"):
                action.complete = shtab.DIRECTORY
            if action.dest == "file":
                action.complete = shtab.FILE
        commands.add_parser(name, parents=[own], add_help=False, help=text)
    return str(shtab.complete(root, words[0]))
