"""Import torchvision, also where its compiled extension does not fit the installed torch.

A torchvision built for another torch (a CUDA wheel beside a CPU build of torch, say) cannot load
its extension, and its import then fails on two detection operators that it wants to describe.
Nothing here uses them: the data sets are plain Python. So in that case, and only in that case,
the two operators are declared, without an implementation, and torchvision is imported again. A
sound torchvision is left alone.

    from bnnrepro.data.torchvision_import import torchvision
"""

import sys
from types import ModuleType

import torch

OPERATORS = ("nms", "qnms")
DECLARATION = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def import_torchvision() -> ModuleType:
    """Return torchvision; declare its missing operators if it fails for want of them."""
    try:
        import torchvision
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        forget_half_imported()
        for name in OPERATORS:
            torch.library.define(f"torchvision::{name}", DECLARATION)
        import torchvision
    return torchvision


def forget_half_imported() -> None:
    """Drop torchvision's modules: some of them stay behind a failed import."""
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]


torchvision = import_torchvision()
