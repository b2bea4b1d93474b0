"""Import torchvision, and what needs it, even beside another torch than it was built for."""

import functools
import importlib
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, cast

from bnnrepro.errors import UserError


@functools.cache
def torchvision() -> ModuleType:
    """Import torchvision, even if its compiled extension does not match the installed torch.

    A torchvision built for another torch (a CUDA wheel with a CPU build of torch, say) cannot load
    its extension, and its import then fails on two detection operators that it describes. Data
    sets and classifiers are plain Python and do not need them. In that case only, the two operators
    are declared, without an implementation, and torchvision is imported again. An intact one is
    left alone.
    """
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
    import torch  # few imports need it

    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]  # half imported
    for name in ("nms", "qnms"):
        signature = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        torch.library.define(f"torchvision::{name}", signature)
    return importlib.import_module("torchvision")


def import_module(name: str) -> ModuleType:
    """Import a module by its dotted name; timm's need torchvision."""
    if name.partition(".")[0] in ("torchvision", "timm"):
        torchvision()
    return importlib.import_module(name)


def locate(key: str, target: str) -> Callable[..., Any]:
    """Import the class or function of a ``_target_``; UserError if there is none."""
    module, _, name = target.rpartition(".")
    try:
        function = getattr(import_module(module), name)
    except Exception as error:  # of anybody's module
        reason = next(iter(str(error).splitlines()), "")
        if not isinstance(error, ImportError | AttributeError):
            reason = f"{type(error).__name__}: {reason}"
        raise UserError(key, target, f"cannot be imported: {reason}") from error
    if not callable(function):
        raise UserError(key, target, "must be a class or a function")
    return cast(Callable[..., Any], function)
