"""Take gradients from their parameters, in memory that nobody else holds."""

import sys

import torch
from torch import Tensor
from torch.nn import Parameter

from bnnrepro.optim.kernels.chunks import like


def own_gradient(parameter: Parameter) -> Tensor:
    """Take the gradient away from a parameter, in its layout and in memory of its own.

    It may be changed in place: where the caller, another parameter or an earlier draw holds the
    tensor or its memory too, it is copied.
    """
    gradient, holders = _take(parameter)
    own = like(gradient, parameter)
    return own.clone() if own is gradient and holders != _ALONE else own


def _take(parameter: Parameter) -> tuple[Tensor, tuple[int, int]]:
    """Take the gradient away; return it, and the references to the tensor and to its memory."""
    gradient = parameter.grad
    parameter.grad = None
    assert gradient is not None
    if gradient.layout is not torch.strided:
        kind = f"{gradient.layout}, shape {tuple(gradient.shape)}"
        raise RuntimeError(f"gradients must be dense, one is {kind}: nn.Embedding(sparse=True)?")
    of_memory = _use_count(gradient.untyped_storage()._cdata) if _use_count else 0
    return gradient, (sys.getrefcount(gradient), of_memory)


def _references_of_one() -> tuple[int, int]:
    """Return the references that ``_take`` counts where nobody else holds the gradient."""
    parameter = Parameter(torch.zeros(1, device="cpu"))
    parameter.grad = torch.zeros(1, device="cpu")
    return _take(parameter)[1]


# torch's own, and not in every build: without it every gradient counts as held, and is copied.
_use_count = getattr(torch._C, "_storage_Use_Count", None)
_ALONE = _references_of_one() if _use_count else None
