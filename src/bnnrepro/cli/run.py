"""``bnnrepro run``, also run.py: compose, check, then run; bad input is one line and exit code 2.

Exit codes: 0 done (or stopped by stop_after), 1 a run failed, 2 invalid input, 128 + n stopped by
signal n.
"""

import argparse
import logging
import os
import shlex
import sys
from collections.abc import Sequence

from hydra._internal.callbacks import Callbacks
from hydra._internal.hydra import Hydra
from hydra._internal.utils import get_args_parser
from hydra.core.utils import JobStatus, run_job
from hydra.types import HydraContext, RunMode
from omegaconf import OmegaConf

import bnnrepro
from bnnrepro import screen
from bnnrepro.cli.exit_code import exits, refuse_in_a_line
from bnnrepro.config.compose import CONFIG_NAME, explain, hydra_session, load
from bnnrepro.config.schema import Config
from bnnrepro.config.validation import check
from bnnrepro.errors import RunFailedError, UserError
from bnnrepro.launch.sweep import run_composed


@exits
def main(argv: list[str]) -> int:
    """Run the command line and return its exit code; may be called any number of times."""
    return _dispatch(_parse(argv))


def parser(name: str = "run") -> argparse.ArgumentParser:
    """Return Hydra's parser, and the options of sweeps."""
    options: argparse.ArgumentParser = get_args_parser()
    submitting = options.add_argument_group("submitting")
    submitting.add_argument("--detach", action="store_true", help="submit a sweep and return")
    submitting.add_argument("--dry-run", action="store_true", help="list the runs, start none")
    return options


def _parse(argv: list[str]) -> argparse.Namespace:
    options = parser()
    refuse = refuse_in_a_line(options, argv)
    if "--version" in argv:
        return argparse.Namespace(version=True)
    arguments = options.parse_intermixed_args(argv)
    arguments.version = False
    if arguments.experimental_rerun is not None:
        refuse("--experimental-rerun is not supported")
    modes = ("help", "hydra_help", "run", "cfg", "multirun", "shell_completion", "info")
    if sum(bool(getattr(arguments, mode)) for mode in modes) > 1:
        refuse("only one of --help, --hydra-help, -r, -m, --cfg, --info, -sc at a time")
    return arguments


def _dispatch(arguments: argparse.Namespace) -> int:
    if arguments.version:
        print(f"bnnrepro {bnnrepro.__version__}")
        return 0
    name = arguments.config_name or CONFIG_NAME
    with hydra_session(arguments.config_path, arguments.config_dir) as hydra:
        if arguments.help:
            from bnnrepro.cli.help import help_text

            config = check(load(hydra.config_loader, arguments.overrides, name))
            print(help_text(hydra.config_loader, config), end="")
        elif arguments.cfg == "job":
            print(_shown(hydra, arguments, name), end="")
        elif arguments.cfg or arguments.info or arguments.hydra_help or arguments.shell_completion:
            _hydra_command(hydra, arguments, name)
        else:
            return _execute(hydra, arguments, name)
    return screen.output_exit_code()


def _shown(hydra: Hydra, arguments: argparse.Namespace, name: str) -> str:
    config: Config = check(load(hydra.config_loader, arguments.overrides, name))
    if not arguments.package:
        from bnnrepro.cli.help import annotated

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
    """Run one of Hydra's own commands."""
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
    finally:  # --info prints every log message from then on
        root.handlers[:], root.level = handlers, level


def _execute(hydra: Hydra, arguments: argparse.Namespace, name: str) -> int:
    loader, overrides = hydra.config_loader, arguments.overrides
    swept = arguments.multirun or any(
        word.startswith("sweep=") and word != "sweep=null" for word in overrides
    )
    cfg = None if swept else load(loader, overrides, name)
    if cfg is None or cfg.hydra.mode is RunMode.MULTIRUN:  # a file that is a sweep
        from bnnrepro.launch.sweep import SweepLine, sweep

        line = SweepLine(tuple(overrides), name, arguments.config_path, arguments.config_dir)
        return sweep(hydra, line, detach=arguments.detach, dry=arguments.dry_run)
    _refuse_idle_launcher(overrides)
    config = check(cfg)
    if arguments.detach:
        raise UserError("--detach", "", "needs a sweep on a cluster: -m hydra/launcher=slurm")
    if arguments.dry_run:
        from bnnrepro.launch.dry_run import dry_run
        from bnnrepro.launch.plan import make_plan

        print(dry_run(make_plan([config], [overrides])))
        return 0
    done = run_job(
        task_function=run_composed,
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
            raise UserError(key, value, f"is for sweeps only; add -m:\n  {line}")
