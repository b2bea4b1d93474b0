"""Sort a model's parameters into binary and real-valued groups."""

from collections.abc import Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any

from torch import nn
from torch.nn import Parameter
from torch.nn.modules.conv import _ConvNd

# The scales of other normalisation layers have one dimension; these may have the image's.
NORMALISATION = (nn.LayerNorm, nn.RMSNorm)


def param_groups(
    model: nn.Module, real: Sequence[str] = (), **settings: Any
) -> list[dict[str, Any]]:
    """Sort a model's parameters into a binary and a real-valued group.

    Weights of two or more dimensions are binary; real are biases, the scales and shifts of
    normalisation layers, and the layers named in ``real``. Empty groups are left out.

    A model can change this for the biases of its linear layers and convolutions only: with a true
    attribute ``binary_biases`` they are binary too, and a mapping ``bias_settings`` puts those that
    stay real into a group with these settings.

    Args:
        model: any module.
        real: what else stays real-valued: names of layers or parameters, patterns of them such as
            ``*.downsample.*``, and the words ``first`` and ``last`` for the first and the last
            layer with a binary weight, in the order in which the model lists them.
        settings: of the real-valued group, such as ``lr=1e-3`` (Adam's).

    Returns:
        Groups for any of the optimizers, with the parameters' names.

    Raises:
        ValueError: an entry of ``real`` matches nothing; it names the nearest layers.
    """
    biases = _biases(model)
    stay_real = {
        parameter
        for module in model.modules()
        if isinstance(module, NORMALISATION)
        for parameter in module.parameters(recurse=False)
    }
    stay_real |= _named(model, real, stay_real)
    bias_settings = getattr(model, "bias_settings", None)
    binary: list[tuple[str, Parameter]] = []
    remaining: list[tuple[str, Parameter]] = []
    real_biases: list[tuple[str, Parameter]] = []
    for name, parameter in model.named_parameters():
        binarised = parameter.dim() >= 2
        if parameter in biases:
            binarised = getattr(model, "binary_biases", False)
        if binarised and parameter not in stay_real:
            binary.append((name, parameter))
        elif parameter in biases and bias_settings:
            real_biases.append((name, parameter))
        else:
            remaining.append((name, parameter))
    groups = [
        {"params": binary, "binary": True},
        {"params": remaining, "binary": False, **settings},
        {"params": real_biases, "binary": False, **settings, **(bias_settings or {})},
    ]
    return [group for group in groups if group["params"]]


def _biases(model: nn.Module) -> set[Parameter]:
    """Return the biases of linear layers and convolutions; never a normalisation's shift."""
    layers = (module for module in model.modules() if isinstance(module, nn.Linear | _ConvNd))
    return {layer.bias for layer in layers if isinstance(layer.bias, Parameter)}


def _named(model: nn.Module, real: Sequence[str], stay_real: set[Parameter]) -> set[Parameter]:
    """Return the parameters of the layers that ``real`` names."""
    if isinstance(real, str):
        raise ValueError(f"real={real}: must be a list, as [{real!r}]")
    layers = {
        name: {parameter: own for own, parameter in module.named_parameters(name, recurse=False)}
        for name, module in model.named_modules(remove_duplicate=False)
    }
    layers = {name: own for name, own in layers.items() if own}
    binary = [
        own
        for own in layers.values()
        if any(parameter.dim() >= 2 and parameter not in stay_real for parameter in own)
    ]
    found = set[Parameter]()
    for pattern in real:
        if pattern in ("first", "last"):
            matches = {*binary[0 if pattern == "first" else -1]} if binary else set()
        else:
            matches = {
                parameter
                for layer, own in layers.items()
                for parameter, name in own.items()
                if fnmatchcase(layer, pattern) or fnmatchcase(name, pattern)
            }
        if not matches:
            near = ", ".join(get_close_matches(pattern, layers, cutoff=0)) or "none: it has none"
            raise ValueError(f"real={pattern}: matches no layer; the nearest are {near}")
        found |= matches
    return found
