"""Import torchvision, even if its compiled extension does not match the installed torch.

A torchvision built for another torch (a CUDA wheel with a CPU build of torch, say) cannot load its
extension, and its import then fails on two detection operators that it describes. The data sets are
plain Python and do not need them. In that case only, the two operators are declared, without an
implementation, and torchvision is imported again. An intact torchvision is left alone.

    from bnnrepro.data.torchvision_import import torchvision
"""

import sys
from types import ModuleType

import torch

OPERATORS = ("nms", "qnms")
DECLARATION = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def import_torchvision() -> ModuleType:
    """Return torchvision; declare its missing operators if its import fails without them."""
    try:
        import torchvision
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        forget_half_imported()
        for name in OPERATORS:
            torch.library.define(f"torchvision::{name}", DECLARATION)
        import torchvision
    module: ModuleType = torchvision
    return module


def forget_half_imported() -> None:
    """Remove torchvision's modules, some of which remain after a failed import."""
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]


torchvision = import_torchvision()
