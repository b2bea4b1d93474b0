"""What a run's ``config.yaml`` holds: plain data, of which nothing is resolved or built.

A run's folder may come from anybody. We write resolved values without tags or aliases; whatever
else is in the file was put there by somebody else, and is refused.
"""

from pathlib import Path
from typing import Any

import yaml

from bnnrepro.errors import UserError, readable
from bnnrepro.runs import reading

_YAML = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DEEPEST = 20  # levels; some hundreds are a RecursionError, or the end of a process


def read_config(path: Path) -> dict[str, Any]:
    """Return a stored configuration: mappings, lists, text, numbers, booleans and None.

    Raises:
        UserError: the file is missing or damaged, or holds an interpolation, a tag or an alias.
    """
    try:
        with readable("folder", path):
            text = reading.text(path)
            _refuse_what_grows(text)
            content = yaml.load(text, _YAML)
    except UserError:
        raise
    except Exception as error:  # PyYAML raises a dozen kinds for text that is no value of its tag
        reason = str(error) if isinstance(error, _GrowsError) else "it is not plain YAML"
        raise UserError("folder", str(path), f"damaged: {reason}") from error
    if not isinstance(content, dict):
        raise UserError("folder", str(path), "damaged: it must be a mapping")
    _refuse_other_than_data(content, [])
    return content


class _GrowsError(Exception):
    """Text whose content is larger or deeper than any configuration."""


def _refuse_what_grows(text: str) -> None:
    depth = 0
    for event in yaml.parse(text, _YAML):
        place = f"line {event.start_mark.line + 1}" if event.start_mark else "it"
        if isinstance(event, yaml.AliasEvent):
            raise _GrowsError(f"{place} is an alias, which a stored configuration has none of")
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise _GrowsError(f"{place} is nested more than {_DEEPEST} deep")


def _refuse_other_than_data(node: object, parts: list[str]) -> None:
    key = ".".join(parts)
    if isinstance(node, dict):
        for name, value in node.items():
            if not isinstance(name, str):
                raise UserError(key or "config", str(name), "keys must be strings")
            _refuse_other_than_data(value, [*parts, name])
    elif isinstance(node, list):
        for index, value in enumerate(node):
            _refuse_other_than_data(value, [*parts, str(index)])
    elif isinstance(node, str):
        if "${" in node:
            raise UserError(
                key, node[:80], "is an interpolation; a stored configuration is resolved"
            )
    elif not (node is None or isinstance(node, bool | int | float)):
        raise UserError(key, str(node), "must be text, a number, true, false or null")
