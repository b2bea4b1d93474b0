"""``bnnrepro info``: versions, hardware and folders, as a report of a fault needs them."""

import argparse
import os
import shutil
from pathlib import Path

from bnnrepro import screen
from bnnrepro.cli.exit_code import command_parser, exits, refuse_in_a_line
from bnnrepro.config.parts import conf_dir
from bnnrepro.runs.provenance import describe
from bnnrepro.runs.stored_config import settings_of


@exits
def main(argv: list[str]) -> int:
    """Print a line a fact, without a run; return the exit code."""
    options = parser("info")
    refuse_in_a_line(options, argv)
    options.parse_args(argv)
    import torch  # whose versions and GPU are among the facts

    here = describe([])
    facts = {key: value for key, value in here.items() if key not in ("date", "command")}
    facts["devices"] = torch.cuda.device_count()
    facts["folders"] = {
        "package": Path(__file__).parents[1],
        "conf": conf_dir(),
        "data": Path(os.environ.get("BNNREPRO_DATA", "data")).absolute(),
        "runs": Path("multirun").absolute(),
    }
    facts["slurm"] = shutil.which("sbatch")
    lines = {key: "none" if value is None else value for key, value in settings_of(facts).items()}
    width = max(map(len, lines))
    print("\n".join(screen.printable(f"{key:{width}}  {lines[key]}") for key in lines))
    return screen.output_exit_code()


def parser(name: str) -> argparse.ArgumentParser:
    """Return the parser of the command, which takes no words."""
    return command_parser(name, "Print versions, hardware and folders.")
