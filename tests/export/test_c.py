"""The C file: standard C99, the network's outputs, no byte beyond its memory."""

import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from tests.export.test_export import MODELS, seen
from torch import nn

import bnnrepro
from bnnrepro.errors import UserError
from bnnrepro.export import c, gate
from bnnrepro.export.subject import subject_of
from bnnrepro.models.lrnet import LRNetSmall
from bnnrepro.models.mlp import MLP

COMPILERS = [name for name in ("gcc", "clang") if shutil.which(name)]
CHAINS: dict[str, tuple[Callable[[], nn.Module], Sequence[int]]] = {
    **{name: MODELS[name] for name in MODELS if name.startswith(("mlp", "vgg", "lrnet"))},
    "wide": (lambda: MLP((1, 5, 7), 3, hidden=(229,)), (1, 5, 7)),  # one table of 256
    "odd sizes": (lambda: LRNetSmall((2, 13, 9), 4, channels=(3,), hidden=(5,)), (2, 13, 9)),
    "biases and scales": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 3, (3, 1), padding=(0, 1)),
            nn.BatchNorm2d(3),
            nn.ReLU(),
            nn.MaxPool2d(3),
            nn.Flatten(),
            nn.Linear(12, 2),
        ),
        (2, 8, 6),
    ),
}
MAIN = """
#include <stdio.h>
#include <stdlib.h>
int main(void) {
  float *in = malloc(sizeof(float) * (size_t)bnn_inputs());
  float *out = malloc(sizeof(float) * (size_t)bnn_outputs());
  float *scratch = malloc(sizeof(float) * (size_t)bnn_scratch());
  int i;
  while (fread(in, sizeof(float), (size_t)bnn_inputs(), stdin) == (size_t)bnn_inputs()) {
    bnn_run(in, out, scratch);
    for (i = 0; i < bnn_outputs(); i++) printf("%.9g\\n", (double)out[i]);
  }
  free(in), free(out), free(scratch);
  return 0;
}
"""


@pytest.mark.skipif(not COMPILERS, reason="no C compiler")
@pytest.mark.parametrize("name", CHAINS)
def test_the_program_computes_the_network(name: str, tmp_path: Path) -> None:
    """Compiled by every compiler here, with all warnings and both sanitizers."""
    make, shape = CHAINS[name]
    model, inputs = seen(make(), shape), torch.randn(3, *shape)
    exact = gate.computed(model.double(), inputs.double())
    model.float()
    (tmp_path / "main.c").write_text(c.source(subject_of(model, shape=shape)) + MAIN)
    for compiler in COMPILERS:
        flags = [flag for flag in c.FLAGS if flag not in ("-shared", "-fPIC")]
        checks = ["-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
        command = [compiler, *flags, *checks, tmp_path / "main.c", "-o", tmp_path / "main"]
        subprocess.run(command, check=True)
        done = subprocess.run(
            [tmp_path / "main"], input=inputs.numpy().tobytes(), capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr.decode()
        outputs = torch.tensor([float(line) for line in done.stdout.split()], dtype=torch.float64)
        difference = (outputs.view_as(exact) - exact).abs()
        assert (difference <= 1e-4 * exact.abs().clamp_min(1)).all()


def test_it_uses_nothing_but_two_headers() -> None:
    make, shape = CHAINS["vgg"]
    text = c.source(subject_of(seen(make(), shape), shape=shape))
    included = [line for line in text.splitlines() if line.startswith("#")]
    assert included == ["#include <stddef.h>", "#include <stdint.h>"]
    assert "static const uint8_t" in text
    for word in ("malloc", "math.h", "sqrt", "static float", "static uint8_t"):
        assert word not in text


@pytest.mark.skipif(not COMPILERS, reason="no C compiler")
def test_the_card_s_program_calls_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import re

    model = seen(MLP((1, 4, 4), 3, hidden=(9,)), (1, 4, 4))
    done = bnnrepro.export(model, tmp_path / "out", formats=["c"], shape=(1, 4, 4))
    text = (done.folder / "README.md").read_text()
    (program,) = re.findall(r"```python\n(import ctypes.*?)```", text, re.DOTALL)
    monkeypatch.chdir(done.folder)
    subprocess.run(["cc", "-O3", "-shared", "-fPIC", "-o", "model.so", "model.c"], check=True)
    names: dict = {}
    exec(program, names)
    expected = gate.computed(model, torch.zeros(1, 1, 4, 4))[0]
    assert torch.allclose(torch.from_numpy(names["outputs"]), expected, atol=1e-4)


def alone(**settings: object) -> nn.Module:
    return nn.Sequential(nn.Conv2d(2, 2, 3, bias=False, **settings))


class Skips(nn.Module):
    """Layers that C has, but no chain."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.b(self.a(inputs)) + inputs


@pytest.mark.parametrize(
    ("make", "shape", "message"),
    [
        (*MODELS["unet"], r"^--format=c: up\.0\.0, ConvTranspose2d.* has no C"),
        (*MODELS["toy mlp, binary biases"], r"^--format=c: layers\.1, Tanh\(\), has no C"),
        (Skips, (4,), r"^--format=c: Skips is no chain of layers"),
        (lambda: alone(stride=2), (2, 5, 5), r"stride=\(2, 2\).* no C"),
        (lambda: alone(padding="same"), (2, 5, 5), r"^--format=c: 0, Conv2d.* has no C"),
    ],
)
def test_other_networks_are_refused_by_name(make, shape, message: str, tmp_path: Path) -> None:
    model = seen(make(), shape)
    with pytest.raises(UserError, match=message):
        bnnrepro.export(model, tmp_path / "out", formats=["c"], shape=shape)
    assert not (tmp_path / "out").exists()


def test_without_a_compiler_the_file_is_kept_and_called_unchecked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    model = seen(MLP((1, 4, 4), 3, hidden=(9,)), (1, 4, 4))
    done = bnnrepro.export(model, tmp_path / "out", formats=["c"], shape=(1, 4, 4))
    assert (
        "**unchecked**, as there is no C compiler here" in (done.folder / "README.md").read_text()
    )
    assert (done.folder / "model.c").exists()


@pytest.mark.skipif(not COMPILERS, reason="no C compiler")
def test_a_file_that_computes_something_else_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = c.FUNCTIONS["relu"].replace("x[i] : 0", "x[i] : x[i] / 8")
    monkeypatch.setitem(c.FUNCTIONS, "relu", wrong)
    model = seen(MLP((1, 4, 4), 3, hidden=(9,)), (1, 4, 4))
    with pytest.raises(UserError, match=r"^model\.c=off by .*nothing was kept"):
        bnnrepro.export(model, tmp_path / "out", formats=["c"], shape=(1, 4, 4))
    monkeypatch.setitem(c.FUNCTIONS, "relu", "no C")
    with pytest.raises(UserError, match=r"^model\.c=uncompiled: .*error"):
        bnnrepro.export(model, tmp_path / "out", formats=["c"], shape=(1, 4, 4))
    assert not (tmp_path / "out").exists()
