"""Compose ``conf/`` with Hydra, and turn its errors into a key, a value and what is allowed."""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml
from hydra import version
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.errors import MissingConfigException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bnnrepro.config.parts import BASES, conf_dir
from bnnrepro.config.protocol import check_protocol, register
from bnnrepro.config.schema import RENAMED, Config
from bnnrepro.config.validation import check
from bnnrepro.errors import UserError, nearest

CONFIG_NAME = "config"


@contextmanager
def hydra_session(config_path: str | None = None, config_dir: str | None = None) -> Iterator[Hydra]:
    """Start Hydra on ``conf/`` (or another folder) and clear its global state at the end.

    Args:
        config_path: a folder used instead of ``conf/``.
        config_dir: a folder searched before it.
    """
    for key, folder in (("--config-path", config_path), ("--config-dir", config_dir)):
        if folder is not None and not Path(folder).is_dir():
            raise UserError(key, folder, "must be a folder of config files")
    register()
    version.setbase("1.3")
    GlobalHydra.instance().clear()
    search_path = create_config_search_path(str(Path(config_path or conf_dir()).resolve()))
    if config_dir is not None:
        search_path.prepend("command-line", f"file://{Path(config_dir).resolve()}")
    hydra = Hydra.create_main_hydra2(task_name="bnnrepro", config_search_path=search_path)
    try:
        yield hydra
    finally:
        GlobalHydra.instance().clear()


def compose(*overrides: str) -> Config:
    """Return the checked config of ``conf/`` with overrides, as the command line composes it.

    Raises:
        UserError: an override, or the config composed of all, is not allowed.
    """
    with hydra_session() as hydra:
        return check(load(hydra.config_loader, overrides))


def load(
    loader: ConfigLoader,
    overrides: Sequence[str],
    config_name: str = CONFIG_NAME,
    mode: RunMode = RunMode.RUN,
) -> DictConfig:
    """Compose one config, unchecked; an error of Hydra becomes a UserError."""
    try:
        cfg = loader.load_configuration(config_name, list(overrides), run_mode=mode)
    except Exception as error:
        raise explain(error, loader, overrides, config_name) from error
    complete(cfg, loader)
    return cfg


def complete(cfg: DictConfig, loader: ConfigLoader) -> None:
    """Do what Hydra leaves out: check the protocol, join several loggers' names, expand a tilde."""
    check_protocol(cfg, loader)
    with suppress(OmegaConfBaseException):  # check() says what is wrong
        for word in cfg.hydra.overrides.task:  # Hydra merges the files of a list
            if names := re.fullmatch(r"logger=\[(.+)\]", word):
                cfg.logger.name = "+".join(re.findall(r"[^\s,]+", names[1]))
        if isinstance(cfg.out, str) and cfg.out.startswith("~"):
            expanded = os.path.expanduser(cfg.out)  # noqa: PTH111 (Path drops a last slash)
            cfg.out = expanded.replace("${", r"\${")  # text is no interpolation


def explain(
    error: Exception, loader: ConfigLoader, overrides: Sequence[str], name: str = CONFIG_NAME
) -> UserError:
    """Turn an error of Hydra, OmegaConf or YAML into a UserError."""
    message = " ".join(str(error).split())
    if isinstance(error, UserError):
        return error
    if isinstance(error, MissingConfigException):
        return _unknown_option(error, loader, name)
    if isinstance(error, OverrideParseException):
        return _not_an_override(error)
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        place = f"{mark.name}:{mark.line + 1}:{mark.column + 1}"
        return UserError("config file", place, f"is not valid YAML: {error.problem}")
    for override in overrides:
        if not override.partition("=")[0].strip("+~"):
            return UserError("command line", override, "must be key=value")
    if refused := _bad_choice(loader, overrides):
        return refused
    if match := re.match(r"Could not (?:override|delete from config\.) '([^']+)'", message):
        return _unknown_key(match[1], loader, overrides, name)
    if match := re.match(r"(?:Sweep parameters|Ambiguous value for argument) '([^']+)'", message):
        key, _, value = match[1].partition("=")
        allowed = "several values need -m (a sweep), a list needs brackets: key=[1,2]"
        return UserError(key, value, allowed)
    if isinstance(error.__cause__, OmegaConfBaseException):
        cause = error.__cause__
        reason = f"{message} {str(cause).splitlines()[0]}".strip()
        return UserError(str(cause.full_key or "config"), "", reason)
    return UserError("command line", " ".join(overrides), _short(message) or type(error).__name__)


def groups(loader: ConfigLoader) -> dict[str, list[str]]:
    """Return every group with its options, nested groups as ``outer/inner``."""
    names = [name for name in loader.list_groups("") if name != "hydra"]
    names += ["hydra/launcher", "hydra/sweeper"]
    options = {name: loader.get_group_options(name, ObjectType.CONFIG) for name in names}
    return {name: files for name, files in options.items() if files}


def _short(text: str, width: int = 300) -> str:
    return text if len(text) <= width else f"{text[: width - 3]}..."


def _unknown_option(error: MissingConfigException, loader: ConfigLoader, name: str) -> UserError:
    path = error.missing_cfg_file or name
    group, _, option = path.rpartition("/")
    if not group:
        return UserError("--config-name", path, "no such file in the config folder")
    options = [option for option in error.options or [] if not option.startswith("_")]
    if not options:
        return UserError(group, option, f"no such group of options{nearest(group, groups(loader))}")
    return UserError(
        group, option, f"must be one of {', '.join(options)}{nearest(option, options)}"
    )


def _bad_choice(loader: ConfigLoader, overrides: Sequence[str]) -> UserError | None:
    """Find a group that is given null, a list or nothing instead of one option."""
    listed = groups(loader)
    for override in overrides:
        key, _, value = override.partition("=")
        options = listed.get(key.lstrip("+~"))
        if options and (key.startswith("~") or re.match(r"null$|[\[{]|$", value)):
            return UserError(key, value, f"must be one of {', '.join(options)}")
    return None


def _not_an_override(error: OverrideParseException) -> UserError:
    key, equals, value = error.override.partition("=")
    reason = next(iter(str(error).splitlines()), "")
    allowed = f"must be key=value, quoted where it has spaces or special characters ({reason})"
    return UserError(key if equals else "command line", value if equals else key, allowed)


def _unknown_key(key: str, loader: ConfigLoader, overrides: Sequence[str], name: str) -> UserError:
    given = [line for line in overrides if line.lstrip("+~").partition("=")[0] == key]
    value = given[0].partition("=")[2] if given else ""
    if key in RENAMED:
        return UserError(key, value, f"is called {RENAMED[key]} now")
    others = [line for line in overrides if line not in given]
    try:
        node: Any = loader.load_configuration(name, others, run_mode=RunMode.RUN)
    except Exception:  # another override is wrong as well: name this one, without candidates
        return UserError(key, value, "no such key or group")
    parts = key.split(".")
    homes = [
        f"{part}.{key}" for part in BASES if OmegaConf.select(node, f"{part}.{key}") is not None
    ]
    if homes:
        return UserError(key, value, f"no such key; did you mean {' or '.join(homes)}?")
    depth = 0
    while depth < len(parts) and OmegaConf.is_dict(node) and parts[depth] in node:
        node = node[parts[depth]]
        depth += 1
    prefix = ".".join(parts[:depth])
    if not OmegaConf.is_dict(node):
        return UserError(key, value, f"no such key: {prefix} is a single value")
    keys = sorted(str(child) for child in node if str(child) not in ("hydra", "protocol"))
    if not depth:
        keys = sorted({*keys, *groups(loader)})
    wrong = parts[depth] if depth < len(parts) else key
    where = f"{prefix} has" if prefix else "there are"
    return UserError(key, value, f"no such key; {where} {', '.join(keys)}{nearest(wrong, keys)}")
