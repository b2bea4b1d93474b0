"""Sort a model's parameters into binary and real-valued groups."""

from typing import Any

from torch import nn
from torch.nn import Parameter
from torch.nn.modules.conv import _ConvNd

# The scales of other normalisation layers have one dimension; these may have the image's.
NORMALISATION = (nn.LayerNorm, nn.RMSNorm)


def param_groups(model: nn.Module, **real: Any) -> list[dict[str, Any]]:
    """Sort a model's parameters into a binary and a real-valued group.

    Weights of two or more dimensions outside normalisation layers are binary; biases and the
    scales and shifts of normalisation layers are real. Empty groups are left out.

    A model can change this for the biases of its linear layers and convolutions only: with a true
    attribute ``binary_biases`` they are binary too, and a mapping ``bias_settings`` puts those that
    stay real into a group with these settings.

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
    biases = _biases(model)
    settings = getattr(model, "bias_settings", None)
    binary: list[tuple[str, Parameter]] = []
    remaining: list[tuple[str, Parameter]] = []
    real_biases: list[tuple[str, Parameter]] = []
    for name, parameter in model.named_parameters():
        if parameter in biases:
            if getattr(model, "binary_biases", False):
                chosen = binary
            else:
                chosen = real_biases if settings else remaining
        else:
            binarised = parameter.dim() >= 2 and parameter not in normalising
            chosen = binary if binarised else remaining
        chosen.append((name, parameter))
    groups = [
        {"params": binary, "binary": True},
        {"params": remaining, "binary": False, **real},
        {"params": real_biases, "binary": False, **real, **(settings or {})},
    ]
    return [group for group in groups if group["params"]]


def _biases(model: nn.Module) -> set[Parameter]:
    """Return the biases of linear layers and convolutions; never a normalisation's shift."""
    layers = (module for module in model.modules() if isinstance(module, nn.Linear | _ConvNd))
    return {layer.bias for layer in layers if isinstance(layer.bias, Parameter)}
