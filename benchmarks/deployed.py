"""Measure exported networks: sizes, loading, memory and latency, for `make bench`.

The networks are MNIST's MLP and CIFAR-10's VGG with random weights and the BatchNorm statistics of
random inputs; nothing here depends on their values.

    python benchmarks/deployed.py FILE.onnx [ConstantFolding]

prints by how many bytes a process grows that opens a file in ONNX Runtime, without some optimisers.
"""

import logging
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from timing import interleaved
from torch import nn

FOLDING = "ConstantFolding"


def resident() -> int:
    """Return the bytes of memory that this process holds."""
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def opened(path: str, *without: str) -> object:
    """Open a file in ONNX Runtime, on one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, disabled_optimizers=[*without])


def memory(path: Path, *without: str) -> int:
    """Return the bytes by which opening a file enlarges a process of its own."""
    command = [sys.executable, __file__, str(path), *without]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout)


def network(model: nn.Module, shape: tuple[int, ...]) -> nn.Module:
    """Give a model binary weights and the statistics of a batch; return it for evaluation."""
    for parameter in model.parameters():
        parameter.data.copy_(torch.randint(0, 2, parameter.shape) * 2.0 - 1)
    for layer in model.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.momentum = None
    with torch.no_grad():
        model(torch.randn(32, *shape))
    return model.eval()


def plain_onnx(model: nn.Module, shape: tuple[int, ...], path: Path) -> None:
    """Write what torch's exporter makes of a model, its weights in float32."""
    logging.disable(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            (torch.randn(2, *shape),),
            path,
            dynamo=True,
            optimize=False,
            verbose=False,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            input_names=["input"],
            external_data=False,
        )
    logging.disable(logging.NOTSET)


def measure(name: str, model: nn.Module, shape: tuple[int, ...], repetitions: int) -> list[tuple]:
    """Return rows of a network: its name, value or times, and what is wanted."""
    import bnnrepro
    from bnnrepro.export import c
    from bnnrepro.export.subject import subject_of

    network(model, shape)
    floats = 4 * sum(parameter.numel() for parameter in model.parameters())
    inputs = torch.randn(1, *shape)
    with tempfile.TemporaryDirectory() as place:
        out, plain, library = (Path(place, each) for each in ("out", "plain.onnx", "model.so"))
        bnnrepro.export(model, out, formats=["onnx", "c"], shape=shape)
        plain_onnx(model, shape, plain)
        compile_ = ["cc", "-O3", "-shared", "-fPIC", "-o", library, out / "model.c"]
        subprocess.run(compile_, check=True)
        packed = out / "model.onnx"
        rows: list[tuple] = [
            (f"{name}: float32 / safetensors", floats / _size(out / "model.safetensors"), ">= 30"),
            (f"{name}: float32 / ONNX", floats / _size(packed), ">= 29"),
            (f"{name}: float32 / compiled C", floats / _size(library), ""),
        ]
        less, more = memory(packed, FOLDING), memory(plain)
        rows.append((f"{name}: memory, ONNX without {FOLDING} / float32", less / more, "<= 0.25"))
        feed = {"input": inputs.numpy()}
        sessions = {
            "float32 ONNX": opened(str(plain)),
            "ONNX": opened(str(packed)),
            "ONNX, folding off": opened(str(packed), FOLDING),
        }
        compute = c.runner(library, subject_of(model, shape=shape))

        def eager() -> None:
            with torch.inference_mode():
                model(inputs)

        tasks: dict[str, Callable[[], object]] = {
            **{key: lambda run=run.run: run(None, feed) for key, run in sessions.items()},
            "C": lambda: compute(inputs),
            "eager": eager,
        }
        times = interleaved(tasks, repetitions, torch.device("cpu"))
        opening = {
            "float32 ONNX": lambda: opened(str(plain)),
            "ONNX": lambda: opened(str(packed)),
            "ONNX, folding off": lambda: opened(str(packed), FOLDING),
        }
        loads = interleaved(opening, max(repetitions // 3, 3), torch.device("cpu"), warm_up=1)
    pairs = (("ONNX", "float32 ONNX"), ("ONNX, folding off", "float32 ONNX"))
    for ours, theirs in (*pairs, ("ONNX", "eager"), ("eager", "C")):
        wanted = {"float32 ONNX": "<= 1.1", "C": ">= 3"}.get(theirs, "")
        wanted = wanted if ours in ("ONNX", "eager") and (theirs != "C" or name == "MLP") else ""
        rows.append((f"{name}: batch 1, {ours} / {theirs}", (times[ours], times[theirs]), wanted))
    for ours, theirs in pairs:
        wanted = "<= 1.5" if ours == "ONNX" else ""
        rows.append((f"{name}: loading, {ours} / {theirs}", (loads[ours], loads[theirs]), wanted))
    return rows


def _size(path: Path) -> int:
    return path.stat().st_size


if __name__ == "__main__":
    import onnxruntime  # noqa: F401  # before: it is no part of a file

    before = resident()
    session = opened(*sys.argv[1:])
    print(resident() - before)
