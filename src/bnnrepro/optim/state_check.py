"""Validate a ``state_dict`` before loading it."""

from typing import Any

import torch


def check_compatible(optimizer: torch.optim.Optimizer, state_dict: dict[str, Any]) -> None:
    """Raise ValueError for a state of another method, or of other groups or shapes.

    A method with all of this one's settings and entries of the same names passes; torch itself
    refuses groups of another number or length.
    """
    needed = {"binary", *optimizer.defaults} - {"differentiable"}  # torch adds this one to copies
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
            _check_shapes(label_of(group, position), here, there)


def _check_shapes(label: str, here: dict[str, Any], there: dict[str, Any]) -> None:
    for key in here.keys() & there.keys():
        ours, theirs = (getattr(entry, "shape", None) for entry in (here[key], there[key]))
        if ours != theirs:
            problem = f"{key} of {label} has the shape {theirs}, here it is {ours}"
            raise ValueError(f"state_dict: {problem}")


def label_of(group: dict[str, Any], position: int) -> str:
    """Return a label for a group's parameter: its name where it has one."""
    if "param_names" in group:
        return str(group["param_names"][position])
    return f"parameter {position}, shape {tuple(group['params'][position].shape)},"
