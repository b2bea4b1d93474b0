"""Adam (Kingma & Ba 2015, arXiv 1412.6980) on given tensors, by torch's own kernels.

Used by STE on its latent weights, by PMF on its logits, and by every method on real-valued groups.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim.adam import adam

from bnnrepro.constraints import Betas, NotNegative, Positive
from bnnrepro.optim.kernels.chunks import like


def adam_settings(
    lr: NotNegative = 1e-3,
    betas: Betas = (0.9, 0.999),
    eps: NotNegative = 1e-8,
    weight_decay: NotNegative = 0.0,
    clip: Positive | None = None,
) -> dict[str, Any]:
    """Return the settings of a real-valued group, by default torch's.

    Args:
        lr: learning rate.
        betas: decay rates of the two moments.
        eps: added to the denominator.
        weight_decay: L2 penalty.
        clip: values are clamped to [-clip, clip] after each step; None: no limit.
    """
    return dict(locals())


def adam_(
    tensors: Sequence[Tensor],
    gradients: Sequence[Tensor],
    states: Sequence[dict[str, Any]],
    group: dict[str, Any],
    *,
    maximize: bool = False,
) -> None:
    """Update the tensors in place; ``step`` and both moments are kept in the states.

    With ``maximize`` the steps go along the gradients.

    torch's fused kernels walk through memory and ignore strides, so a gradient is first brought
    into its tensor's layout. Where the moments have another layout (the model was made
    ``channels_last`` after them, say) the kernel that reads strides runs instead; also for complex
    tensors, which the fused kernels do not support.
    """
    for tensor, state in zip(tensors, states, strict=True):
        if "exp_avg" not in state:
            state["step"] = torch.zeros((), dtype=torch.float32, device=tensor.device)
            state["exp_avg"] = torch.zeros_like(tensor)
            state["exp_avg_sq"] = torch.zeros_like(tensor)
    gradients = [like(g, t) for t, g in zip(tensors, gradients, strict=True)]
    first = [state["exp_avg"] for state in states]
    second = [state["exp_avg_sq"] for state in states]
    fit = all(
        t.stride() == g.stride() == m.stride() == v.stride() and t.is_floating_point()
        for t, g, m, v in zip(tensors, gradients, first, second, strict=True)
    )
    adam(
        list(tensors),
        gradients,
        first,
        second,
        [],
        [state["step"] for state in states],
        fused=fit and tensors[0].device.type in ("cpu", "cuda"),
        amsgrad=False,
        beta1=group["betas"][0],
        beta2=group["betas"][1],
        lr=group["lr"],
        weight_decay=group["weight_decay"],
        eps=group["eps"],
        maximize=maximize,
    )
