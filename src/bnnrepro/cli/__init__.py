"""The command line: ``bnnrepro COMMAND``, also as ``python -m bnnrepro COMMAND``."""

from collections.abc import Callable
from importlib import import_module

from bnnrepro.cli.exit_code import exits
from bnnrepro.errors import UserError, nearest

COMMANDS = {
    "run": "train one run: settings as key=value, `run --help` lists them; run.py is the same",
    "sweep": "train all combinations: seed=0,1 method=ste,bop (run -m)",
    "submit": "the same as sweep: --detach, --dry-run",
    "status": "count runs by state, and list those that are not done",
    "retry": "restart runs that failed or were interrupted",
    "cancel": "stop queued and running runs; they can be resumed",
    "table": "report a table of the paper from finished runs",
    "figure": "draw a figure of the paper from finished runs",
    "reproduce-table": "train what a table lacks, then report it",
    "reproduce-figure": "train what a figure lacks, then draw it",
    "data": "download mnist, cifar10, cifar100",
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
    name, words = argv[0], argv[1:]
    if name not in COMMANDS:
        allowed = f"must be one of {', '.join(COMMANDS)}{nearest(name, COMMANDS)}"
        raise UserError("command", name, allowed)
    return _command(name)(words)


def _usage() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {text}" for name, text in COMMANDS.items()]
    return "\n".join(["usage: bnnrepro COMMAND ...; COMMAND --help shows its options", "", *lines])


def _command(name: str) -> Callable[..., int]:
    """Return a command, which takes the words after its name; import no other one."""
    module = {
        **dict.fromkeys(("run", "sweep", "submit"), "run"),
        **dict.fromkeys(("status", "retry", "cancel"), "runs"),
        **dict.fromkeys(("data", "legacy"), name),
    }.get(name, "report")
    command: Callable[..., int] = import_module(f"bnnrepro.cli.{module}").main
    if name in ("sweep", "submit"):
        return lambda words: command(words if {"-h", "--help"} & set(words) else ["-m", *words])
    return (lambda words: command([name, *words])) if module in ("runs", "report") else command
