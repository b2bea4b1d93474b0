"""``model.c``: the network as one C99 file, without libm, malloc or state of its own.

A byte of weights belongs to one output and eight inputs, and is an index into the table of their
256 sums +-x1 +-x2 ... +-x8, which takes 256 additions; so a byte costs one addition. With few
outputs two tables of 16 are cheaper. Bytes are stored output-fastest. BatchNorm is a scale and a
shift.
"""

import ctypes
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterable
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bnnrepro.errors import UserError
from bnnrepro.export import gate
from bnnrepro.export.gate import Compute, Expected
from bnnrepro.export.subject import Subject

SECONDS = 20.0
"""Few samples are compared if all of them would take longer than that."""

FLAGS = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-O3", "-shared", "-fPIC")
FUNCTIONS = {
    "table": """\
static void table(const float *v, size_t bits, float *t) { /* v[k] is negated where bit k is 0 */
  size_t j, k, size = 1;
  for (t[0] = 0, k = 0; k < bits; k++) t[0] -= v[k];
  for (k = 0; k < bits; k++, size *= 2)
    for (j = 0; j < size; j++) t[size + j] = t[j] + 2 * v[k];
}""",
    "sums": """\
static void sums(const float *x, size_t inputs, const uint8_t *w, size_t n, float *y) {
  float v[8], t[256];
  size_t i, j;
  for (j = 0; j < n; j++) y[j] = 0;
  for (i = 0; i < inputs; i += 8, w += n) {
    for (j = 0; j < 8; j++) v[j] = i + j < inputs ? x[i + j] : 0;
    if (n < 224) {
      table(v, 4, t), table(v + 4, 4, t + 16);
      for (j = 0; j < n; j++) y[j] += t[w[j] & 15] + t[16 + (w[j] >> 4)];
    } else {
      table(v, 8, t);
      for (j = 0; j < n; j++) y[j] += t[w[j]];
    }
  }
}""",
    "conv": """\
static void conv(const float *x, size_t c, size_t h, size_t w, size_t kh, size_t kw, size_t ph,
                 size_t pw, const uint8_t *bits, size_t n, float *y, float *patch) {
  size_t oh = h + 2 * ph + 1 - kh, ow = w + 2 * pw + 1 - kw, at, i, row, column;
  for (at = 0; at < oh * ow; at++) {
    for (i = 0; i < c * kh * kw; i++) { /* below 0, a row or column wraps to a large number */
      row = at / ow + i / kw % kh - ph, column = at % ow + i % kw - pw;
      patch[i] = row < h && column < w ? x[(i / kw / kh * h + row) * w + column] : 0;
    }
    sums(patch, i, bits, n, patch + i);
    for (row = 0; row < n; row++) y[row * oh * ow + at] = patch[i + row];
  }
}""",
    "pool": """\
static void pool(const float *x, size_t c, size_t h, size_t w, size_t k, float *y) {
  size_t oh = h / k, ow = w / k, at, i;
  for (at = 0; at < c * oh * ow; at++) {
    const float *p = x + (at / ow / oh * h + at / ow % oh * k) * w + at % ow * k;
    for (y[at] = *p, i = 0; i < k * k; i++)
      if (p[i / k * w + i % k] > y[at]) y[at] = p[i / k * w + i % k];
  }
}""",
    "norm": """\
static void norm(float *x, size_t n, size_t plane, const float *scale, const float *shift) {
  size_t i;
  for (i = 0; i < n; i++) x[i] = x[i] * scale[i / plane] + shift[i / plane];
}""",
    "relu": """\
static void relu(float *x, size_t n) {
  size_t i;
  for (i = 0; i < n; i++) x[i] = x[i] > 0 ? x[i] : 0;
}""",
}
FILE = """\
/* {title}
   bnn_run reads bnn_inputs() numbers, writes bnn_outputs(), works in bnn_scratch() floats. */
#include <stddef.h>
#include <stdint.h>

{functions}

{arrays}
int bnn_inputs(void), bnn_outputs(void), bnn_scratch(void);
int bnn_inputs(void) {{ return {count}; }}
int bnn_outputs(void) {{ return {size}; }}
int bnn_scratch(void) {{ return {scratch}; }}
void bnn_run(const {kind} *in, float *out, float *scratch);
void bnn_run(const {kind} *in, float *out, float *scratch) {{
  float *a = scratch, *b = a + {largest};
  size_t i;
  for (i = 0; i < {count}; i++) a[i] = (float)in[i];
{calls}
  for (i = 0; i < {size}; i++) out[i] = {last}[i];
}}
"""


def write(path: Path, subject: Subject, expected: Expected) -> tuple[str, float]:
    """Write the file and check it, if there is a compiler; return its line and its largest error.

    Raises:
        UserError: a layer has no C, or the file computes something else.
    """
    path.write_text(source(subject), encoding="utf-8")
    compiler = shutil.which("cc")
    if compiler is None:
        return f"; input {subject.form}; **unchecked**, as there is no C compiler here", 0.0
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder, "model.so")
        command = [compiler, *FLAGS, str(path), "-o", str(library)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            gate.refuse(path.name, "uncompiled", (done.stderr.splitlines() or ["cc failed"])[0])
        try:
            compute, started = runner(library, subject), time.perf_counter()
        except OSError:  # a place where nothing may be executed
            return f"; input {subject.form}; **unchecked**, as none can be loaded here", 0.0
        compute(subject.batches[0][:1])
        whole = (time.perf_counter() - started) * sum(map(len, subject.batches))
        most = gate.FEW if whole > SECONDS else None
        worst = gate.check(path.name, subject, expected, compute, most)
    return f"; input {subject.form}; by cc{f' on {most} samples' if most else ''}", worst


def runner(library: Path, subject: Subject) -> Compute:
    """Return what computes outputs by a compiled file, sample by sample."""
    network = ctypes.CDLL(str(library))
    scratch = np.empty(network.bnn_scratch(), np.float32)

    def compute(inputs: Tensor) -> Tensor:
        outputs = np.empty((len(inputs), network.bnn_outputs()), np.float32)
        for sample, output in zip(subject.raw(inputs).numpy(), outputs, strict=True):
            arrays = (np.ascontiguousarray(sample), output, scratch)
            network.bnn_run(*(array.ctypes.data_as(ctypes.c_void_p) for array in arrays))
        return torch.from_numpy(outputs)

    return compute


def source(subject: Subject) -> str:
    """Return the C code of a network that is a chain of layers.

    Raises:
        UserError: naming the layer that has no C, or the network if it is no chain.
    """
    arrays, calls, patch, here, there = list[str](), list[str](), 0, "a", "b"
    largest = size = count = prod(subject.shape)

    def scaled(number: int, size: int, scale: Tensor, shift: Tensor) -> None:
        names = f"scale{number}, shift{number}"
        for name, values in zip(names.split(", "), (scale, shift), strict=True):
            arrays.append(_array("float", name, (f"{value:.9e}f" for value in values.tolist())))
        calls.append(f"norm({here}, {size}, {size // len(scale)}, {names});")

    if subject.about:
        mean, std = (value.flatten() for value in subject.statistics(torch.float64))
        scaled(0, count, 1 / std / (255 if subject.form == "uint8" else 1), -mean / std)
    for number, (layer, before, after) in enumerate(_chain(subject), 1):
        size = prod(after)
        largest = max(largest, size)
        shape = ", ".join(map(str, before))
        if isinstance(layer, nn.Linear | nn.Conv2d):
            weights = layer.weight.detach().flatten(1)
            n, fan = weights.shape
            packed = np.packbits((weights > 0).numpy(), axis=1, bitorder="little").T
            arrays.append(_array("uint8_t", f"w{number}", map(str, packed.ravel())))
            if isinstance(layer, nn.Linear):
                calls.append(f"sums({here}, {fan}, w{number}, {n}, {there});")
            else:
                shape += "".join(f", {each}" for each in (*layer.kernel_size, *layer.padding))
                calls.append(f"conv({here}, {shape}, w{number}, {n}, {there}, patch);")
                patch = max(patch, fan + n)
            here, there = there, here
            if layer.bias is not None:
                scaled(number, size, torch.ones(n), layer.bias)
        elif isinstance(layer, nn.MaxPool2d):
            calls.append(f"pool({here}, {shape}, {layer.kernel_size}, {there});")
            here, there = there, here
        elif isinstance(layer, nn.ReLU):
            calls.append(f"relu({here}, {size});")
        elif isinstance(layer, _BatchNorm):
            one, none = torch.ones(after[0]), torch.zeros(after[0])
            moments = layer.running_mean, layer.running_var  # of batches of one, scaled
            mean, std = (value.double() for value in moments if value is not None)
            scale = (one if layer.weight is None else layer.weight) / (std + layer.eps).sqrt()
            scaled(number, size, scale, (none if layer.bias is None else layer.bias) - mean * scale)
    text = "\n".join(f"  {call}" for call in calls)
    if patch:
        text = text.replace("patch", f"scratch + {2 * largest}")
    needed = {"table": "sums|conv", "sums": "sums|conv"}
    return FILE.format(
        title=f"{subject.title}, {subject.origin.get('signature', '')}",
        functions="\n\n".join(
            code
            for name, code in FUNCTIONS.items()
            if any(f"{each}(" in text for each in needed.get(name, name).split("|"))
        ),
        arrays="\n".join(arrays),
        kind="uint8_t" if subject.form == "uint8" else "float",
        calls=text,
        last=here,
        **{"count": count, "size": size, "largest": largest, "scratch": 2 * largest + patch},
    )


def _chain(subject: Subject) -> list[tuple[Any, tuple[int, ...], tuple[int, ...]]]:
    """Return the layers in order, with the shapes before and after each, without the batch."""
    found: list[tuple[Any, tuple[int, ...], tuple[int, ...]]] = []
    inputs, refused = subject.batches[0][:1], "its formats are safetensors and onnx"
    names = {leaf: name for name, leaf in subject.model.named_modules() if not [*leaf.children()]}

    def record(layer: nn.Module, arguments: Any, output: Tensor) -> None:
        found.append((layer, tuple(arguments[0].shape[1:]), tuple(output.shape[1:])))

    hooks = [layer.register_forward_hook(record) for layer in names]
    outputs = gate.computed(subject.model, inputs)
    for hook in hooks:
        hook.remove()
    for layer, *_ in found:
        if not _has_c(layer, f"{names[layer]}.weight" in subject.binary):
            raise UserError("--format", "c", f"{names[layer]}, {layer}, has no C; {refused}")
    chain = nn.Sequential(*(layer for layer, *_ in found))
    if not torch.equal(gate.computed(chain, inputs), outputs):
        name = type(subject.model).__name__
        raise UserError("--format", "c", f"{name} is no chain of layers, has no C; {refused}")
    return found


def _has_c(layer: nn.Module, binary: bool) -> bool:
    if isinstance(layer, nn.Conv2d):
        plain = {*layer.stride, *layer.dilation, layer.groups} == {1}
        plain &= layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
        return plain and binary
    if isinstance(layer, nn.MaxPool2d):
        sizes = (layer.stride, layer.padding, layer.dilation, layer.ceil_mode)
        return isinstance(layer.kernel_size, int) and sizes == (layer.kernel_size, 0, 1, False)
    without = (nn.ReLU, nn.Flatten, nn.Dropout, nn.Identity, nn.BatchNorm1d, nn.BatchNorm2d)
    return isinstance(layer, without) or (isinstance(layer, nn.Linear) and binary)


def _array(kind: str, name: str, values: Iterable[str]) -> str:
    text = list(values)
    rows = [",".join(text[start : start + 32]) for start in range(0, len(text), 32)]
    return f"static const {kind} {name}[] = {{\n" + ",\n".join(rows) + "};"
