"""Check a run's stored configuration, and allow only the ``_target_`` of this installation.

To build a part is to call its ``_target_`` with its keys. A run's folder may come from anybody; so
a ``_target_`` is called only if the reader's own config files name it for the same group, or the
reader's command line does.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from bnnrepro.config.parts import BASES, conf_dir
from bnnrepro.config.schema import RENAMED, Config
from bnnrepro.config.validation import typed
from bnnrepro.constraints import shown
from bnnrepro.errors import UserError

Targets = Mapping[str, set[str]]
"""For each group, the classes and functions that may be called."""

_TARGET = "_target_"


def offered_targets(config_dir: str | Path | None = None, words: Sequence[str] = ()) -> Targets:
    """Return the targets that stored configurations may name.

    Args:
        config_dir: a folder searched besides ``conf/``, as the command line's ``--config-dir``.
        words: the command line's; ``method._target_=mybnn.signum.Signum`` offers that class.

    Raises:
        UserError: the folder does not exist, or a config file is not YAML.
    """
    if config_dir is not None and not Path(config_dir).is_dir():
        raise UserError("--config-dir", str(config_dir), "must be a folder of config files")
    folders = [conf_dir(), *([Path(config_dir)] if config_dir is not None else [])]
    targets: dict[str, set[str]] = {group: set() for group in BASES}
    for group, names in targets.items():
        for file in [file for folder in folders for file in (folder / group).rglob("*.yaml")]:
            names |= {str(target) for _, target in _targets(_read(file), group)}
    for word in words:
        key, _, value = word.lstrip("+").partition("=")
        group, _, below = key.partition(".")
        if group in targets and below.rpartition(".")[2] == _TARGET:
            targets[group] |= set(value.split(","))
    return targets


def check_stored(values: Mapping[str, Any], targets: Targets) -> Config:
    """Return the typed config of a run's ``config.yaml``.

    Args:
        values: as ``bnnrepro.runs.stored_config.read_config`` returns them.
        targets: those allowed, as ``offered_targets`` returns them.

    Raises:
        UserError: as ``typed``, and for a ``_target_`` at any depth that is not offered.
    """
    for key, target in _targets(values, ""):
        if not isinstance(target, str) or target not in targets.get(key.partition(".")[0], ()):
            allowed = (
                "is not offered by this installation; give the --config-dir (config_dir) that has "
                "it, if you trust it"
            )
            raise UserError(key, shown(target), allowed)
    return typed(_renamed(values))


def _renamed(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the values of a run's ``config.yaml`` under today's keys; see ``RENAMED``."""
    if "compile_network" not in values:
        return values
    kept = {key: value for key, value in values.items() if key not in RENAMED}
    kept["compile"] = {**values["optimizer"], "network": values["compile_network"]}
    kept["compile"]["optimizer"] = kept["compile"].pop("compile", "auto")
    kept["on_code_change"] = "error" if values.get("code") == "strict" else "warn"
    return kept


def _targets(node: object, key: str) -> Iterator[tuple[str, object]]:
    """Return every ``_target_`` at and below a node, with its dotted key."""
    pairs: Iterator[tuple[Any, Any]] = iter(())
    if isinstance(node, Mapping):
        pairs = iter(node.items())
    elif isinstance(node, list):
        pairs = iter(enumerate(node))
    for name, value in pairs:
        below = f"{key}.{name}".lstrip(".")
        if name == _TARGET:
            yield below, value
        yield from _targets(value, below)


def _read(file: Path) -> object:
    try:
        return yaml.safe_load(file.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise UserError("config file", str(file), "is not valid YAML") from error
