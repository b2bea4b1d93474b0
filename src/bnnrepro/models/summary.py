"""Summarise a model: its layers, their output shapes, and the bits of its parameters."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO

import torch
from rich import box
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

REAL_BITS = 32


@dataclass(frozen=True)
class Layer:
    """One layer; parameters shared with an earlier layer are counted there.

    ``output`` is the shape without the batch; None if the layer was not run or gave no tensor.
    """

    name: str
    type: str
    output: tuple[int, ...] | None
    binary: int
    real: int

    @property
    def bits(self) -> int:
        """Bits of its parameters: 1 for a binary one, 32 for a real one."""
        return self.binary + REAL_BITS * self.real


@dataclass(frozen=True)
class ModelSummary:
    """A model's layers in the order in which they run; ``str()`` draws them as a table.

    ``buffers`` is the number of real values that are not parameters, such as BatchNorm's running
    statistics; no other figure counts them.
    """

    rows: tuple[Layer, ...]
    buffers: int

    @property
    def binary(self) -> int:
        """Number of binary parameters."""
        return sum(row.binary for row in self.rows)

    @property
    def real(self) -> int:
        """Number of real parameters."""
        return sum(row.real for row in self.rows)

    @property
    def parameters(self) -> int:
        """Number of all parameters."""
        return self.binary + self.real

    @property
    def bits(self) -> int:
        """Bits that all parameters take."""
        return self.binary + REAL_BITS * self.real

    @property
    def ratio(self) -> float:
        """Size of the parameters in float32, relative to ``bits``; in [1, 32]."""
        return REAL_BITS * self.parameters / self.bits if self.bits else 1.0

    def __str__(self) -> str:
        table = Table(box=box.MARKDOWN, show_footer=True)
        table.add_column("layer", "total")
        table.add_column("type")
        table.add_column("output")
        for title, total in (("binary", self.binary), ("real", self.real), ("bits", self.bits)):
            table.add_column(title, f"{total:,}", justify="right")
        for row in self.rows:
            output = "-" if row.output is None else " x ".join(map(str, row.output))
            counts = (f"{count:,}" if count else "" for count in (row.binary, row.real, row.bits))
            table.add_row(row.name, row.type, output, *counts)
        return (
            f"{_plain(table)}\n"
            f"{self.parameters:,} parameters, {self.ratio:.4g} times smaller than in float32\n"
            f"{self.buffers:,} real values in buffers (running statistics), not counted above"
        )


def summarise(
    model: nn.Module,
    shape: Sequence[int],
    binary: Callable[[nn.Parameter], bool] | None = None,
) -> ModelSummary:
    """Count the parameters of every layer, and run one input of zeros for the output shapes.

    The model is unchanged afterwards: weights, buffers, modes, device and hooks.

    Args:
        model: Any module whose forward takes one float tensor (N, *shape).
        shape: An input's shape without the batch, (C, H, W) for images.
        binary: Returns whether a parameter is binary; by default, those of two or more dimensions
            are.
    """
    is_binary = binary or (lambda parameter: parameter.dim() >= 2)
    outputs = _run(model, shape)
    layers = {module: name for name, module in model.named_modules() if _is_layer(module)}
    in_order = [*(m for m in outputs if m in layers), *(m for m in layers if m not in outputs)]

    seen: set[nn.Parameter] = set()
    rows = []
    for module in in_order:
        own = set(module.parameters(recurse=False)) - seen
        seen |= own
        ones = sum(parameter.numel() for parameter in own if is_binary(parameter))
        real = sum(parameter.numel() for parameter in own) - ones
        name = layers[module] or "(model)"
        rows.append(Layer(name, type(module).__name__, outputs.get(module), ones, real))
    buffers = sum(buffer.numel() for buffer in model.buffers() if buffer.is_floating_point())
    return ModelSummary(tuple(rows), buffers)


def _is_layer(module: nn.Module) -> bool:
    """Return whether a module gets a row: a leaf, or one with parameters of its own."""
    return not any(module.children()) or any(True for _ in module.parameters(recurse=False))


def _run(model: nn.Module, shape: Sequence[int]) -> dict[nn.Module, tuple[int, ...] | None]:
    """Return each layer's output shape, without the batch, in the order of execution."""
    outputs: dict[nn.Module, tuple[int, ...] | None] = {}

    def record(module: nn.Module, _inputs: object, output: object) -> None:
        outputs[module] = tuple(output.shape[1:]) if isinstance(output, Tensor) else None

    like = next((p for p in model.parameters() if p.is_floating_point()), torch.empty(0))
    zeros = torch.zeros((1, *shape), dtype=like.dtype, device=like.device)
    hooks = [m.register_forward_hook(record) for m in model.modules() if _is_layer(m)]
    try:
        with _evaluation(model), torch.no_grad():
            model(zeros)
    finally:
        for hook in hooks:
            hook.remove()
    return outputs


@contextmanager
def _evaluation(model: nn.Module) -> Iterator[None]:
    """Put the model in evaluation mode, and restore each module's own mode afterwards."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


def _plain(table: Table) -> str:
    """Return a table as text, as wide as its content, whatever the terminal."""
    console = Console(
        file=StringIO(),
        width=1000,
        color_system=None,
        force_terminal=False,
        force_jupyter=False,
        markup=False,
        emoji=False,
        highlight=False,
    )
    with console.capture() as capture:
        console.print(table)
    return "\n".join(line.rstrip() for line in capture.get().splitlines() if line.strip())
