"""Read a run's ``config.yaml`` as plain data; nothing is resolved or instantiated.

A run's folder may come from anybody. bnnrepro writes resolved values without tags or aliases;
anything else in the file has another origin and is refused.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from bnnrepro.errors import UserError, readable
from bnnrepro.runs import reading

_YAML = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_MAX_DEPTH = 20  # some hundreds of levels raise RecursionError, or kill the process


# The lines of a top-level key: its own, then those that are indented, empty, or of a list.
_BLOCK = re.compile(r"[A-Za-z_]\w*:(?: .*)?\n(?:(?:[ -].*)?\n)*")


def read_config(path: Path) -> dict[str, Any]:
    """Return a stored configuration: mappings, lists, text, numbers, booleans and None.

    The values below the top level are shared with other files that have the same text there, and
    must not be changed: reading thousands of runs takes seconds, not minutes.

    Raises:
        UserError: the file is missing or damaged, or holds an interpolation, a tag or an alias.
    """
    try:
        with readable("folder", path):
            text = reading.text(path)
            content = _by_blocks(text)
            if content is None:
                content = _content(text)
    except UserError:
        raise
    except Exception as error:  # PyYAML raises a dozen kinds for text that its tag does not allow
        reason = str(error) if isinstance(error, _GrowsError) else "it is not plain YAML"
        raise UserError("folder", str(path), f"damaged: {reason}") from error
    if not isinstance(content, dict):
        raise UserError("folder", str(path), "damaged: it must be a mapping")
    return content


def settings_of(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a configuration's values by their dotted keys; a list is a value."""
    settings: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            settings |= settings_of(value, f"{prefix}{key}.")
        else:
            settings[prefix + key] = value
    return settings


def _content(text: str) -> Any:
    _refuse_growth(text)
    content = yaml.load(text, _YAML)
    _check_plain_data(content, [])
    return content


_block = lru_cache(maxsize=10_000)(_content)


def _by_blocks(text: str) -> dict[str, Any] | None:
    """Return the content of a block mapping, each distinct text of a key parsed once.

    None where the text has another form, or any fault: then the whole of it is parsed, for the
    error. A text or bracket that is open at a block's end is such a fault, so the result is exact.
    """
    content: dict[str, Any] = {}
    end = 0
    try:
        while block := _BLOCK.match(text, end):
            content |= _block(block[0])
            end = block.end()
    except Exception:
        return None
    return content if end == len(text) and content else None


class _GrowsError(Exception):
    """Text whose content is larger or deeper than any configuration."""


def _refuse_growth(text: str) -> None:
    depth = 0
    for event in yaml.parse(text, _YAML):
        line = f"line {event.start_mark.line + 1}" if event.start_mark else "it"
        if isinstance(event, yaml.AliasEvent):
            raise _GrowsError(f"{line} is an alias, which a stored configuration never has")
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > _MAX_DEPTH:
            raise _GrowsError(f"{line} is nested more than {_MAX_DEPTH} deep")


def _check_plain_data(node: object, parts: list[str]) -> None:
    key = ".".join(parts)
    if isinstance(node, dict):
        for name, value in node.items():
            if not isinstance(name, str):
                raise UserError(key or "config", str(name), "keys must be strings")
            _check_plain_data(value, [*parts, name])
    elif isinstance(node, list):
        for index, value in enumerate(node):
            _check_plain_data(value, [*parts, str(index)])
    elif isinstance(node, str):
        if "${" in node:
            raise UserError(
                key, node[:80], "is an interpolation; a stored configuration is resolved"
            )
    elif not (node is None or isinstance(node, bool | int | float)):
        raise UserError(key, str(node), "must be text, a number, true, false or null")
