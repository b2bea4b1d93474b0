"""``bnnrepro info``: versions, hardware, folders and data, as a report of a fault needs them."""

import argparse
import os
import shutil
from importlib import metadata
from pathlib import Path

from bnnrepro import screen
from bnnrepro.cli.exit_code import command_parser, exits, refuse_in_a_line
from bnnrepro.config.parts import conf_dir
from bnnrepro.runs.provenance import describe
from bnnrepro.runs.stored_config import settings_of

EXTRAS = {
    "export": ("onnx", "onnxscript"),
    "search": ("optuna",),
    "tensorboard": ("tensorboard",),
}
"""The extras of the installation that a run may need, with their packages."""

PLACES = {
    "mnist": "MNIST/raw",
    "cifar10": "cifar-10-batches-py",
    "cifar100": "cifar-100-python",
    "snelson": "snelson",
    "isbi_em": "isbi-em",
}
"""Data sets that are not generated or packaged, each with its folder below that of all data."""


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
    facts["extras"] = {name: _versions(packages) for name, packages in EXTRAS.items()}
    data = Path(os.environ.get("BNNREPRO_DATA", "data")).absolute()
    folders = {
        "package": Path(__file__).parents[1],
        "conf": conf_dir(),
        "data": data,
        "runs": Path("multirun").absolute(),
    }
    facts["folders"] = {name: _without_home(path) for name, path in folders.items()}
    facts["datasets"] = {
        name: "found" if (data / place).is_dir() else f"not in folders.data, as {place}"
        for name, place in PLACES.items()
    }
    facts["slurm"] = shutil.which("sbatch")
    lines = {key: "none" if value is None else value for key, value in settings_of(facts).items()}
    width = max(map(len, lines))
    print("\n".join(screen.printable(f"{key:{width}}  {lines[key]}") for key in lines))
    return screen.output_exit_code()


def parser(name: str) -> argparse.ArgumentParser:
    """Return the parser of the command, which takes no words."""
    return command_parser(name, "Print versions, hardware, folders, and the data sets found.")


def _versions(packages: tuple[str, ...]) -> str | None:
    """Return the packages with their versions; None unless all are installed."""
    try:
        return ", ".join(f"{package} {metadata.version(package)}" for package in packages)
    except metadata.PackageNotFoundError:
        return None


def _without_home(path: Path) -> str:
    """Return a path as text, the user's home, and so the user's name, written ``~``."""
    home = os.path.expanduser("~")  # noqa: PTH111 (Path.home raises without a home)
    inside = home not in ("~", "/") and path.is_relative_to(home)
    return str(Path("~", path.relative_to(home)) if inside else path)
