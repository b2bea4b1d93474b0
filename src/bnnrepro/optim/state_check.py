"""Whether a saved state is one of this optimizer's, told before anything is loaded."""

from typing import Any

import torch


def refuse_foreign(optimizer: torch.optim.Optimizer, state_dict: dict[str, Any]) -> None:
    """Raise ValueError for a state of another method, or of other groups or shapes.

    A method with all of this one's settings and entries of the same names cannot be told from it;
    groups of differing number or length are torch's to refuse.
    """
    needed = {"binary", *optimizer.defaults} - {"differentiable"}  # which torch adds to a copy's
    groups = zip(optimizer.param_groups, state_dict["param_groups"], strict=False)
    for number, (group, saved) in enumerate(groups):
        if missing := sorted(needed - set(saved)):
            problem = f"has no {', '.join(missing)}; is it of a {type(optimizer).__name__}?"
            raise ValueError(f"state_dict: group {number} {problem}")
        if saved["binary"] != group["binary"]:
            problem = f"says binary={saved['binary']}, here it is {group['binary']}"
            raise ValueError(f"state_dict: group {number} {problem}")
        for position, index in enumerate(saved["params"][: len(group["params"])]):
            here = optimizer.state.get(group["params"][position], {})
            there = state_dict["state"].get(index, {})
            _refuse_shapes(label_of(group, position), here, there)


def _refuse_shapes(label: str, here: dict[str, Any], there: dict[str, Any]) -> None:
    for key in here.keys() & there.keys():
        ours, theirs = (getattr(entry, "shape", None) for entry in (here[key], there[key]))
        if ours != theirs:
            problem = f"{key} of {label} has the shape {theirs}, here it is {ours}"
            raise ValueError(f"state_dict: {problem}")


def label_of(group: dict[str, Any], position: int) -> str:
    """Return what to call a group's parameter: its name where it has one."""
    if "param_names" in group:
        return str(group["param_names"][position])
    return f"parameter {position}, shape {tuple(group['params'][position].shape)},"
