"""Which parameters are binarised, and which stay real."""

from typing import Any

from torch import nn

# The others' scales have one dimension; these may have as many as the image.
NORMALISATION = (nn.LayerNorm, nn.RMSNorm)


def param_groups(model: nn.Module, **real: Any) -> list[dict[str, Any]]:
    """Sort a model's parameters into a binary and a real-valued group.

    Weights of two or more dimensions outside normalisation layers are binary; biases and the
    scales and shifts of normalisation layers are real. Empty groups are left out.

    Args:
        model: any module.
        real: settings of the real-valued group, such as ``lr=1e-3`` (Adam's).

    Returns:
        Groups for any of the optimizers, with the parameters' names.
    """
    normalising = {
        parameter
        for module in model.modules()
        if isinstance(module, NORMALISATION)
        for parameter in module.parameters(recurse=False)
    }
    binary: list[tuple[str, nn.Parameter]] = []
    remaining: list[tuple[str, nn.Parameter]] = []
    for name, parameter in model.named_parameters():
        binarised = parameter.dim() >= 2 and parameter not in normalising
        (binary if binarised else remaining).append((name, parameter))
    groups = [
        {"params": binary, "binary": True},
        {"params": remaining, "binary": False, **real},
    ]
    return [group for group in groups if group["params"]]
