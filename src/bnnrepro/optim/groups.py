"""Which parameters are binarised, and which stay real."""

from typing import Any

from torch import nn
from torch.nn import Parameter
from torch.nn.modules.conv import _ConvNd

# The others' scales have one dimension; these may have as many as the image.
NORMALISATION = (nn.LayerNorm, nn.RMSNorm)


def param_groups(model: nn.Module, **real: Any) -> list[dict[str, Any]]:
    """Sort a model's parameters into a binary and a real-valued group.

    Weights of two or more dimensions outside normalisation layers are binary; biases and the
    scales and shifts of normalisation layers are real. Empty groups are left out.

    A model may say otherwise of the biases of its linear layers and convolutions, and of these
    alone: with a true attribute ``binary_biases`` they are binary too, and a mapping
    ``bias_settings`` gives a group of their own to those that stay real.

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
    own: list[tuple[str, Parameter]] = []
    for name, parameter in model.named_parameters():
        if parameter in biases:
            if getattr(model, "binary_biases", False):
                chosen = binary
            else:
                chosen = own if settings else remaining
        else:
            binarised = parameter.dim() >= 2 and parameter not in normalising
            chosen = binary if binarised else remaining
        chosen.append((name, parameter))
    groups = [
        {"params": binary, "binary": True},
        {"params": remaining, "binary": False, **real},
        {"params": own, "binary": False, **real, **(settings or {})},
    ]
    return [group for group in groups if group["params"]]


def _biases(model: nn.Module) -> set[Parameter]:
    """Return the biases of linear layers and convolutions; never a normalisation's shift."""
    layers = (module for module in model.modules() if isinstance(module, nn.Linear | _ConvNd))
    return {layer.bias for layer in layers if isinstance(layer.bias, Parameter)}
