"""Turn exceptions into a line on standard error and an exit code."""

import os
import sys
from collections.abc import Callable, Sequence
from functools import wraps

from bnnrepro.errors import UserError

Main = Callable[[list[str]], int]


def exits(main: Main) -> Callable[..., int]:
    """Wrap a command so that it returns 2 for invalid input and 130 for Ctrl-C, and never raises.

    With ``HYDRA_FULL_ERROR=1`` invalid input raises, for its traceback.

    Args:
        main: takes the words after the command; returns an exit code.

    Returns:
        The command; called without words it reads those of the command line.
    """

    @wraps(main)
    def command(argv: Sequence[str] | None = None) -> int:
        try:
            return main(list(sys.argv[1:] if argv is None else argv))
        except UserError as error:
            if os.environ.get("HYDRA_FULL_ERROR") == "1":
                raise
            print(f"error: {error}", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            return 130

    return command
