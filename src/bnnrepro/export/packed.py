"""The packed file: a state dict in safetensors, its binary weights at one bit each.

A binary tensor stands under its own name as uint8 (ceil(n / 8),): its n weights in row-major order,
eight a byte, the first in the lowest bit; a set bit is +1, the bits after the last weight are 0.
All else is stored as it is; nothing is folded. S draws from the posterior add ``draws/<name>``,
uint8 (S, ceil(n / 8)). The metadata are strings: ``format``, and as JSON
``binary``, the shape of every binary tensor by its name, and what describes the network.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bnnrepro.errors import UserError, readable
from bnnrepro.export import gate
from bnnrepro.export.gate import Expected
from bnnrepro.export.subject import Subject

FORMAT = "bnnrepro-packed-1"
DRAWS = "draws/"


def pack(weights: Tensor) -> Tensor:
    """Return n weights of +-1, in any shape and memory layout, as uint8 (ceil(n / 8),) on the CPU.

    Raises:
        ValueError: a weight is neither +1 nor -1.
    """
    flat = weights.detach().cpu().reshape(-1)
    if len(wrong := flat[flat.abs() != 1]):
        raise ValueError(f"{float(wrong[0]):g}: must be +1 or -1")
    return torch.from_numpy(np.packbits((flat > 0).numpy(), bitorder="little"))


def unpack(packed: Tensor, shape: Sequence[int]) -> Tensor:
    """Return the weights, float32 of +-1 in a shape, that ``pack`` made into uint8."""
    bits = np.unpackbits(packed.numpy(), count=prod(shape), bitorder="little")
    return torch.from_numpy(bits).float().mul_(2).sub_(1).view(*shape)


def check(model: nn.Module, binary: Collection[str]) -> list[str]:
    """Return warnings about a model whose parameters of these names are to be packed.

    Raises:
        UserError: it cannot be packed, or its outputs would depend on the batch; names the tensor.
    """
    if not binary:
        raise UserError("model", type(model).__name__, "nothing is binary: save the state dict")
    owner: dict[nn.Parameter, str] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if owner.setdefault(parameter, name) != name:
            raise UserError(name, "shared", f"is {owner[parameter]} too; each must have its own")
    for name, value in model.state_dict().items():
        if value.is_floating_point() and value.dtype != torch.float32:
            raise UserError(name, str(value.dtype), "must be float32; model.float() converts it")
        if name in binary:
            try:
                pack(value)
            except ValueError as error:
                raise UserError(name, *str(error).split(": ")) from None
        elif len(bad := value[~value.isfinite()]):
            raise UserError(name, f"{float(bad[0]):g}", "must be finite")
    warnings = []
    for name, norm in model.named_modules():
        if isinstance(norm, _BatchNorm):
            if norm.running_mean is None or norm.running_var is None:
                raise UserError(name, "track_running_stats=False", "needs running statistics")
            if bool((norm.running_var < 0).any()):
                lowest = f"{float(norm.running_var.min()):g}"
                raise UserError(f"{name}.running_var", lowest, "a variance must be >= 0")
            if not norm.running_mean.any() and bool((norm.running_var == 1).all()):
                warnings.append(f"warning: {name} has never seen a batch (mean 0, variance 1)")
    return warnings


def write(path: Path, subject: Subject, expected: Expected) -> tuple[str, float]:
    """Write a network's packed file and check it; return its line and the largest difference."""
    state, name = subject.model.state_dict(), path.name
    save(path, state, subject.binary, subject.draws, **subject.metadata)
    model = gate.same_bits(name, subject, read(path)[0])
    worst = gate.check(name, subject, expected, lambda inputs: gate.computed(model, inputs))
    size, weights = path.stat().st_size, sum(-(-state[n].numel() // 8) for n in subject.binary)
    real = sum(value.nbytes for name, value in state.items() if name not in subject.binary)
    drawn = sum(value.nbytes for value in subject.draws.values())
    floats = 4 * sum(value.numel() for value in subject.model.parameters())
    words = f": {weights:,} of weights, {real:,} of real values"
    words += f", {drawn:,} of draws" if drawn else ""
    words += f", {size - weights - real - drawn:,} of names"
    return f"{words}; {floats / size:.1f} times smaller than float32", worst


def save(
    path: Path,
    state: Mapping[str, Tensor],
    binary: Collection[str],
    draws: Mapping[str, Tensor] | None = None,
    **about: Any,
) -> None:
    """Write a state dict, the tensors of the names in ``binary`` packed, ``about`` as metadata."""
    from safetensors.torch import save as serialised

    tensors = {
        name: pack(value) if name in binary else value.detach().cpu().contiguous().clone()
        for name, value in state.items()
    }
    tensors |= {DRAWS + name: rows for name, rows in (draws or {}).items()}
    shapes = {name: list(state[name].shape) for name in binary}
    entries = {key: json.dumps(value) for key, value in {"binary": shapes, **about}.items()}
    content = serialised(tensors, {"format": FORMAT})
    size = int.from_bytes(content[:8], "little")
    # safetensors leaves the order of the metadata to chance; the same network is the same bytes
    header = json.loads(content[8 : 8 + size])
    header["__metadata__"] |= entries
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + size :])


def read(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return a packed file's state dict and its metadata, with the packed draws as ``draws``.

    Raises:
        UserError: the file is missing, cannot be read, is no packed file or is damaged.
    """
    from safetensors import SafetensorError, safe_open

    where, damaged = str(path), "is damaged, or no safetensors file; export the run again"
    if not Path(path).is_file():
        raise UserError("file", where, "there is no such file")
    try:
        with readable("file", where), safe_open(where, "pt") as file:
            entries = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if entries.get("format") != FORMAT:
            allowed = f"{where} is no packed network, whose format is {FORMAT}"
            raise UserError("format", entries.get("format", "none"), allowed)
        about = {key: json.loads(value) for key, value in entries.items() if key != "format"}
        shapes = {name: tuple(map(int, shape)) for name, shape in about["binary"].items()}
    except (SafetensorError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise UserError("file", where, damaged) from error
    about["draws"] = {n[len(DRAWS) :]: state.pop(n) for n in [*state] if n.startswith(DRAWS)}
    for name, shape in shapes.items():
        wanted = f"{torch.uint8} {(-(-prod(shape) // 8),)}"
        found = f"{state[name].dtype} {tuple(state[name].shape)}" if name in state else "missing"
        if found != wanted or min(shape, default=0) < 0:
            raise UserError(name, found, f"must be {wanted} for the shape {shape}")
        rows = about["draws"].get(name, state[name][None])
        if rows.dtype != torch.uint8 or rows.shape[1:] != state[name].shape:
            raise UserError(DRAWS + name, str(tuple(rows.shape)), f"must be S rows of {wanted}")
        state[name] = unpack(state[name], shape)
    if about["draws"] and about["draws"].keys() != shapes.keys():
        raise UserError("file", where, damaged)
    return state, about
