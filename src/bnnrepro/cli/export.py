"""``bnnrepro export RUN``: a finished run as files that need no bnnrepro."""

import argparse

from bnnrepro import screen
from bnnrepro.cli.exit_code import command_parser, exits, refuse_in_a_line


@exits
def main(argv: list[str]) -> int:
    """Export a run, print what was written and checked; return the exit code."""
    options = parser("export")
    refuse_in_a_line(options, argv)
    request = options.parse_args(argv)
    from bnnrepro.export import export

    done = export(
        request.run,
        request.out,
        formats=None if request.format is None else request.format.split(","),
        which=request.which,
        input=request.input,
        draws=request.draws,
        config_dir=request.config_dir,
    )
    print("\n".join([*done.lines, f"export: {done.folder}"]))
    return screen.output_exit_code()


def parser(name: str) -> argparse.ArgumentParser:
    """Return the parser of the command's words."""
    options = command_parser(
        name, "Write a finished run as packed files, a bit a weight; see docs/deploy.md."
    )
    options.add_argument("run", metavar="RUN", help="the run's folder")
    options.add_argument("--format", metavar="F,F", help="of safetensors (always), onnx, c")
    options.add_argument("--which", metavar="W", help="best or final epoch (best if there is one)")
    options.add_argument("--out", metavar="DIR", help="the folder to write (RUN/export)")
    options.add_argument("--input", metavar="I", help="uint8 or float; see docs/deploy.md")
    options.add_argument("--draws", metavar="S", type=int, help="also S draws of the posterior")
    options.add_argument("--config-dir", metavar="DIR", help="of your own parts, as run.py's")
    return options
