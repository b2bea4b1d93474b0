"""Build the object that a part of the typed config describes."""

import inspect
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict
from typing import Any

from bnnrepro.config.parts import DECLARED, locate
from bnnrepro.config.schema import Part
from bnnrepro.errors import UserError, readable


def instantiate(
    part: Part,
    *,
    offered: Mapping[str, Any] | None = None,
    **extra: Any,
) -> Any:
    """Call a part's ``_target_`` with its keys and the caller's arguments.

    Keys that describe the part to bnnrepro (its name, a data set's shape and classes) are passed
    only if the target has parameters of these names.

    Args:
        part: a group of the typed config.
        offered: arguments passed only if the target has parameters of these names.
        extra: arguments that no config holds (parameters, shapes); they take precedence.

    Raises:
        UserError: the target refuses its arguments, or the system cannot read the data it needs.
    """
    values = asdict(part)
    target = locate(f"{part.group}._target_", values.pop("_target_"))
    parameters = inspect.signature(target).parameters
    declared = {"name", *DECLARED.get(part.group, ()), *getattr(part, "for_task", ())}
    unused_keys = declared - set(parameters)
    arguments = {key: value for key, value in values.items() if key not in unused_keys}
    arguments |= {key: value for key, value in (offered or {}).items() if key in parameters}
    arguments |= extra
    data = readable("dataset.root", arguments["root"]) if "root" in arguments else nullcontext()
    try:
        with data:
            return target(**arguments)
    except (TypeError, ValueError) as error:
        raise UserError(part.group, part.name, " ".join(str(error).split())) from error
