"""The command line: compose, check, then run; bad input is one line and exit code 2.

Exit codes: 0 done (or stopped by stop_after), 1 a run failed, 2 the input is not allowed, 128 + n
stopped by signal n.
"""

import argparse
import logging
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from hydra._internal.callbacks import Callbacks
from hydra._internal.hydra import Hydra
from hydra._internal.utils import get_args_parser
from hydra.core.plugins import Plugins
from hydra.core.utils import JobStatus, run_job
from hydra.errors import HydraException
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

import bnnrepro
from bnnrepro import screen
from bnnrepro.cluster.detached import detached
from bnnrepro.cluster.estimate import dry_run
from bnnrepro.cluster.listing import Listing
from bnnrepro.cluster.plan import plan
from bnnrepro.config.checking import check
from bnnrepro.config.compose import (
    CONFIG_NAME,
    explain,
    hydra_session,
    load,
    load_master,
)
from bnnrepro.config.help import help_text
from bnnrepro.config.schema import Config
from bnnrepro.config.show import annotated
from bnnrepro.errors import RunFailedError, UserError
from bnnrepro.screen import printable


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; may be called any number of times."""
    try:
        arguments = _parse(sys.argv[1:] if argv is None else list(argv))
        return _dispatch(arguments)
    except UserError as error:
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def task(cfg: DictConfig) -> Any:
    """Check and run a composed config: what launchers call, in this process or another."""
    config = check(cfg)
    from bnnrepro.running import run  # torch is imported after every check

    return run(config)


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = get_args_parser()

    def refuse(message: str) -> NoReturn:
        raise UserError("command line", " ".join(argv), f"{message}; see --help")

    parser.error = refuse  # type: ignore[method-assign]
    if "--version" in argv:
        return argparse.Namespace(version=True)
    submitting = parser.add_argument_group("submitting")
    submitting.add_argument("--detach", action="store_true", help="submit a sweep and return")
    submitting.add_argument("--dry-run", action="store_true", help="list the runs, start none")
    arguments = parser.parse_intermixed_args(argv)
    arguments.version = False
    if arguments.experimental_rerun is not None:
        refuse("--experimental-rerun is not supported")
    chosen = ("help", "hydra_help", "run", "cfg", "multirun", "shell_completion", "info")
    if sum(bool(getattr(arguments, each)) for each in chosen) > 1:
        refuse("only one of --help, --hydra-help, -r, -m, --cfg, --info, -sc at a time")
    return arguments


def _dispatch(arguments: argparse.Namespace) -> int:
    if arguments.version:
        print(f"bnnrepro {bnnrepro.__version__}")
        return 0
    name = arguments.config_name or CONFIG_NAME
    with hydra_session(arguments.config_path, arguments.config_dir) as hydra:
        if arguments.help:
            config = check(load(hydra.config_loader, arguments.overrides, name))
            print(help_text(hydra.config_loader, config), end="")
        elif arguments.cfg == "job":
            print(_shown(hydra, arguments, name), end="")
        elif arguments.cfg or arguments.info or arguments.hydra_help or arguments.shell_completion:
            _hydra_command(hydra, arguments, name)
        else:
            return _execute(hydra, arguments, name)
    return screen.code_of_output()


def _shown(hydra: Hydra, arguments: argparse.Namespace, name: str) -> str:
    config: Config = check(load(hydra.config_loader, arguments.overrides, name))
    if not arguments.package:
        return annotated(config)
    try:
        node = OmegaConf.select(OmegaConf.create(config.to_dict()), arguments.package)
    except Exception as error:
        raise explain(error, hydra.config_loader, arguments.overrides, name) from error
    if node is None:
        keys = ", ".join(config.to_dict())
        raise UserError("--package", arguments.package, f"no such key; the keys are {keys}")
    return OmegaConf.to_yaml(node) if OmegaConf.is_config(node) else f"{node}\n"


def _hydra_command(hydra: Hydra, arguments: argparse.Namespace, name: str) -> None:
    """Do what Hydra itself offers."""
    overrides = arguments.overrides
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        if arguments.cfg:
            hydra.show_cfg(name, overrides, arguments.cfg, arguments.package, arguments.resolve)
        elif arguments.info:
            hydra.show_info(arguments.info, name, overrides)
        elif arguments.hydra_help:
            hydra.hydra_help(name, get_args_parser(), arguments)
        else:
            hydra.shell_completion(name, overrides)
    except Exception as error:
        raise explain(error, hydra.config_loader, overrides, name) from error
    finally:  # --info sends every log message to the screen from then on
        root.handlers[:], root.level = handlers, level


def _execute(hydra: Hydra, arguments: argparse.Namespace, name: str) -> int:
    loader, overrides = hydra.config_loader, arguments.overrides
    if arguments.multirun:
        return _sweep(hydra, arguments, name)
    cfg = load(loader, overrides, name)
    if cfg.hydra.mode is RunMode.MULTIRUN:  # a search space that is a sweep by itself
        return _sweep(hydra, arguments, name)
    _refuse_idle_launcher(overrides)
    config = check(cfg)
    if arguments.detach:
        raise UserError("--detach", "", "serves sweeps on a cluster: -m hydra/launcher=slurm")
    if arguments.dry_run:
        print(dry_run(plan([config], [overrides])))
        return 0
    done = run_job(
        task_function=task,
        config=cfg,
        job_dir_key="hydra.run.dir",
        job_subdir_key=None,
        hydra_context=HydraContext(config_loader=loader, callbacks=Callbacks(cfg)),
        configure_logging=False,
    )
    if done.status is JobStatus.FAILED:
        return _failed(done._return_value)
    return 0


def _failed(error: Exception) -> int:
    if not isinstance(error, RunFailedError) or os.environ.get("HYDRA_FULL_ERROR") == "1":
        raise error
    print(f"error: {error}", file=sys.stderr)
    return 1


def _refuse_idle_launcher(overrides: Sequence[str]) -> None:
    for override in overrides:
        key, _, value = override.lstrip("+").partition("=")
        if key.replace(".", "/").startswith(("hydra/launcher", "hydra/sweeper", "cluster")):
            line = shlex.join(["python", "run.py", "-m", *overrides])
            raise UserError(key, value, f"serves sweeps only; add -m:\n  {line}")


def _sweep(hydra: Hydra, arguments: argparse.Namespace, name: str) -> int:
    overrides = arguments.overrides
    master = load_master(hydra.config_loader, overrides, name)
    context = HydraContext(config_loader=hydra.config_loader, callbacks=Callbacks(master))
    try:
        sweeper: Any = Plugins.instance().instantiate_sweeper(
            config=master, hydra_context=context, task_function=task
        )
        launcher = getattr(sweeper, "launcher", None)
        if arguments.dry_run:
            sweeper.launcher = Listing(master, context)
        elif arguments.detach and type(launcher).__name__ == "LocalLauncher":
            return detached(_again(arguments), Path(str(master.out)))
        elif arguments.detach:
            _detach(launcher, overrides)
        batches = sweeper.sweep(arguments=list(master.hydra.overrides.task))
        if isinstance(sweeper.launcher, Listing):
            print(dry_run(sweeper.launcher.planned))
    except (HydraException, OmegaConfBaseException) as error:
        raise explain(error, hydra.config_loader, overrides, name) from error
    jobs = [job for batch in batches or [] for job in batch]
    failed = [job for job in jobs if job.status is JobStatus.FAILED]
    for job in failed:
        reason = " ".join(str(job._return_value).split()).removeprefix("failed: ")
        print(printable(f"failed: {' '.join(job.overrides)}: {reason}"), file=sys.stderr)
    if failed:
        where = getattr(launcher, "where", "")
        words = _retry(arguments, where) if where else ["run.py", "-m", *_again(arguments)]
        line = shlex.join(["python", *words])
        print(f"{len(failed)} of the runs failed; to retry them: {line}", file=sys.stderr)
    return 1 if failed else 0


def _again(arguments: argparse.Namespace) -> list[str]:
    """Return the words of a line that composes the same."""
    words = []
    for key in ("config_path", "config_name", "config_dir"):
        if value := getattr(arguments, key):
            words += [f"--{key.replace('_', '-')}", value]
    return [*words, *arguments.overrides]


def _retry(arguments: argparse.Namespace, where: str) -> list[str]:
    """Return the words that retry a sweep, among them those that offer its own parts again."""
    own = [each for each in arguments.overrides if "._target_=" in each]
    folder = arguments.config_dir or arguments.config_path
    return [
        "-m",
        "bnnrepro.store",
        "retry",
        where,
        *own,
        *(["--config-dir", folder] if folder else []),
    ]


def _detach(launcher: Any, overrides: Sequence[str]) -> None:
    if not hasattr(launcher, "detach"):
        line = shlex.join(
            ["python", "run.py", "-m", "--detach", "hydra/launcher=slurm", *overrides]
        )
        raise UserError("--detach", "", f"needs a launcher of other processes:\n  {line}")
    launcher.detach = True
