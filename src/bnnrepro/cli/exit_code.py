"""Turn exceptions into a line on standard error and an exit code."""

import os
import re
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable, Sequence
from functools import wraps
from typing import NoReturn

from bnnrepro.errors import UserError

Main = Callable[[list[str]], int]


def exits(main: Main) -> Callable[..., int]:
    """Wrap a command so that it returns 2 for invalid input and 130 for Ctrl-C, and never raises.

    A value that begins with ``~/``, which no shell expands after ``=``, is in the home folder. With
    ``HYDRA_FULL_ERROR=1`` invalid input raises, for its traceback.

    Args:
        main: takes the words after the command; returns an exit code.

    Returns:
        The command; called without words it reads those of the command line.
    """

    @wraps(main)
    def command(argv: Sequence[str] | None = None) -> int:
        try:
            return main([*map(_at_home, sys.argv[1:] if argv is None else argv)])
        except UserError as error:
            if os.environ.get("HYDRA_FULL_ERROR") == "1":
                raise
            print(f"error: {error}", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            return 130

    return command


def _at_home(word: str) -> str:
    return re.sub(r"(?<=[=,])~(?=[/,]|$)", lambda _: os.path.expanduser("~"), word)  # noqa: PTH111


def command_parser(name: str, about: str, epilog: str = "") -> ArgumentParser:
    """Return the parser of a command, without arguments yet."""
    return ArgumentParser(
        prog=f"bnnrepro {name}",
        description=about,
        epilog=epilog,
        formatter_class=RawDescriptionHelpFormatter,
    )


def refuse_in_a_line(parser: ArgumentParser, words: Sequence[str]) -> Callable[[str], NoReturn]:
    """Have a parser raise UserError instead of printing its usage and exiting.

    Args:
        parser: of a command.
        words: the command line, which the error quotes.

    Returns:
        A function that raises the same error with a message.
    """

    def refuse(message: str) -> NoReturn:
        if found := re.fullmatch(r"unrecognized arguments: --([\w.]+)(?:=(\S+))?( .*)?", message):
            after = (
                words[words.index(f"--{found[1]}") + 1 :][:1] if found[2] is None else [found[2]]
            )
            setting = f"{found[1]}={(after or ['VALUE'])[0]}"
            message = f"--{found[1]} is no option; a setting has no dashes: {setting}"
        raise UserError("command line", " ".join(words), f"{message}; see --help")

    parser.error = refuse  # type: ignore[method-assign]
    return refuse
