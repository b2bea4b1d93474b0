"""From a trained network to files that need no bnnrepro: packed safetensors, ONNX, C.

The room can be called: ``bnnrepro.export(source, out)`` is ``bnnrepro.export.export(source, out)``,
however the room was imported.
"""

import hashlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from bnnrepro import __version__
from bnnrepro.config import instantiate
from bnnrepro.config.parts import check_part
from bnnrepro.config.stored import offered_targets
from bnnrepro.errors import UserError, nearest
from bnnrepro.experiment.console import metrics_text
from bnnrepro.export import c, folder, gate, onnx, packed
from bnnrepro.export import draws as ensemble
from bnnrepro.export.card import model_card
from bnnrepro.export.subject import subject_of
from bnnrepro.runs import atomic

if TYPE_CHECKING:
    from bnnrepro.api import Trainer

Writer = Callable[..., tuple[str, float]]
WRITERS: dict[str, Writer] = {"safetensors": packed.write, "onnx": onnx.write, "c": c.write}


@dataclass(frozen=True)
class Exported:
    """An exported folder, and what was written and found in a few lines."""

    folder: Path
    lines: tuple[str, ...]


def export(
    source: "str | Path | Trainer | nn.Module",
    out: str | Path | None = None,
    *,
    formats: Sequence[str] | None = None,
    which: str | None = None,
    input: str | None = None,
    shape: Sequence[int] | None = None,
    draws: int | None = None,
    config_dir: str | Path | None = None,
) -> Exported:
    """Write a network with binary weights as a folder of packed files, each proven.

    Args:
        source: a finished run's folder, a Trainer, or a module.
        out: the folder to write; None: ``export`` in the run's.
        formats: of ``safetensors``, which is always written, ``onnx`` and ``c`` (chains of linear
            layers, convolutions, pooling, BatchNorm, ReLU); None: the first, and the second where
            this installation can.
        which: ``best`` or ``final`` of a run; None: the best if there is one.
        input: what all files but safetensors take: ``uint8``, pixels of 0 to 255 (None for a run on
            images), or ``float``, pixels of 0 to 1, or points in their own units. Those of a
            Trainer or a module take what the network takes.
        shape: of an input, without the batch, of a Trainer or a module.
        draws: S, draws from a run's posterior, kept in safetensors at S bits a weight.
        config_dir: the folder with config files of your own parts, as ``--config-dir``.

    Raises:
        UserError: there is no such run, nothing is binary, a weight is not +-1, the folder has
            other files, or a file computes something else; nothing is left behind then.
    """
    chosen = _formats(formats)
    subject = subject_of(source, which, input, shape, config_dir)
    target = Path(out) if out is not None else subject.folder and subject.folder / "export"
    if target is None or not target.parent.is_dir():
        raise UserError("--out", str(target), "must be in a folder that exists")
    lines = packed.check(subject.model, subject.binary)
    if draws is not None:
        subject = replace(subject, draws=ensemble.drawn(subject, draws))
    if out is None:
        atomic.remove_leftovers(target.parent)  # of an export that was killed
    with folder.replacing(target, subject.origin.get("signature")) as temporary:
        expected = gate.expected_of(subject)
        beside = gate.beside_the_run(subject, expected.metrics)
        worst = 0.0
        for name in chosen:
            path = temporary / f"model.{name}"
            words, difference = WRITERS[name](path, subject, expected)
            lines.append(f"{path.name:18} {path.stat().st_size:>11,} bytes{words}")
            worst = max(worst, difference)
        lines.append(
            f"checked on {subject.samples}: bits equal; off float64 by {worst:.1e} at most"
        )
        if expected.metrics:
            lines[-1] += f"; {metrics_text(expected.metrics)}, {beside}"
        if draws is not None:
            lines.append(ensemble.check(temporary / "model.safetensors", subject))
        files = {path.name: _described(path) for path in sorted(temporary.iterdir())}
        atomic.write_text(temporary / folder.CARD, model_card(subject, list(files), lines))
        record = {"title": subject.title, **subject.origin, "files": files, "checks": lines}
        record |= {"metrics": expected.metrics, "bnnrepro": __version__, "torch": torch.__version__}
        atomic.write_json(temporary / folder.RECORD, record)
    if formats is None and "onnx" not in chosen:
        lines.append(f"no model.onnx: {onnx.why_not()}")
    return Exported(target, (subject.title, *lines))


def load_packed(
    path: str | Path, draw: int | None = None, *, config_dir: str | Path | None = None
) -> nn.Module:
    """Return the network of a run's packed file in evaluation mode, on the CPU.

    The file is read as data: its class is called only if the config files of this installation, or
    those in ``config_dir``, offer it.

    Args:
        path: of ``model.safetensors``.
        draw: the draw from the posterior, counted from 0, whose weights it has; None: the mode.
        config_dir: the folder with config files of your own parts, as ``--config-dir``.

    Raises:
        UserError: it is no packed file of a run, or is damaged; its class is not offered; or its
            tensors are not those of that network.
    """
    state, metadata = packed.read(path)
    try:
        part, about = dict(metadata["model"]), metadata["about"]
        sizes = {"shape": tuple(about["shape"]), "classes": about["outputs"]}
        target = str(part["_target_"])
    except (KeyError, TypeError, ValueError) as error:
        allowed = "names no model of a run; bnnrepro.export.packed.read gives the state dict"
        raise UserError("file", str(path), allowed) from error
    if draw is not None:
        count = max((len(rows) for rows in metadata["draws"].values()), default=0)
        if not 0 <= draw < count:
            raise UserError("draw", draw, f"must be from 0 to {count - 1}" if count else "has none")
        state = ensemble.state_of(state, metadata["draws"], draw)
    if target not in offered_targets(config_dir)["model"]:
        allowed = "is not offered by this installation; give the config_dir that has it"
        raise UserError("model._target_", target, allowed)
    model: nn.Module = instantiate(check_part("model", part), **sizes)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        reason = " ".join(str(error).partition(":")[2].split())
        raise UserError(
            "file", str(path), f"is of another {type(model).__name__}: {reason}"
        ) from None
    return model.eval()


def _described(path: Path) -> dict[str, Any]:
    content = path.read_bytes()
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _formats(formats: Sequence[str] | None) -> list[str]:
    reason = onnx.why_not()
    for name in formats or ():
        if name not in WRITERS:
            allowed = f"must be some of {', '.join(WRITERS)}{nearest(name, WRITERS)}"
            raise UserError("--format", name, allowed)
        if name == "onnx" and reason:
            raise UserError("--format", name, reason)
    default = [] if reason else ["onnx"]
    return list(dict.fromkeys(["safetensors", *(default if formats is None else formats)]))


class _Room(ModuleType):
    """The module's class: it makes the room callable, since the function has the room's name."""

    def __call__(self, *arguments: Any, **settings: Any) -> Exported:
        return export(*arguments, **settings)


sys.modules[__name__].__class__ = _Room
