"""The one way from a part of the typed config to the object that it describes."""

import inspect
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict
from typing import Any

from bnnrepro.config.validation import DECLARED, locate
from bnnrepro.errors import UserError, readable


def instantiate(
    part: Any,
    *,
    offered: Mapping[str, Any] | None = None,
    **extra: Any,
) -> Any:
    """Build what a part's ``_target_`` names, from its keys and what the caller adds.

    Keys that describe the part to bnnrepro (its name, a data set's shape and classes) are passed
    only where the target asks for them.

    Args:
        part: a group of the typed config.
        offered: arguments passed only where the target asks for them by name.
        extra: arguments that no config holds (parameters, shapes); they win.

    Raises:
        UserError: the target refuses its arguments, or the system cannot read the data it needs.
    """
    values = asdict(part)
    target = values.pop("_target_")
    group = part.group
    built = locate(f"{group}._target_", target)
    wanted = inspect.signature(built).parameters
    declared = (*DECLARED.get(group, ()), *getattr(part, "for_task", ()))
    described = {"name", *declared} - set(wanted)
    arguments = {k: v for k, v in values.items() if k not in described}
    arguments |= {k: v for k, v in (offered or {}).items() if k in wanted}
    arguments |= extra
    data = readable("dataset.root", arguments["root"]) if "root" in arguments else nullcontext()
    try:
        with data:
            return built(**arguments)
    except (TypeError, ValueError) as error:
        raise UserError(group, part.name, " ".join(str(error).split())) from error
