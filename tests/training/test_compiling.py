"""The decision to compile, and that it stays with the run."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from tests.cases import first_fast
from torch import nn

from bnnrepro import Trainer
from bnnrepro.cli.run import main
from bnnrepro.optim import PMF, BayesBiNN, FullPrecision
from bnnrepro.optim.kernels import compiling

ROOT = Path(__file__).parents[2]
SMOKE = ("preset=smoke", "model.hidden=[16]", "device=cpu", "threads=1")


def data(count=64, dtype=torch.float32):
    source = torch.Generator().manual_seed(0)
    inputs = torch.randn(count, 6, generator=source)
    return inputs.to(dtype), (inputs[:, 0] > 0).long()


def network(dtype=torch.float32):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(6, 32, bias=False),
        nn.BatchNorm1d(32, affine=False),
        nn.ReLU(),
        nn.Dropout(0.3),
        nn.Linear(32, 2, bias=False),
    ).to(dtype)


@pytest.fixture
def can_compile(monkeypatch):
    monkeypatch.setattr(compiling, "why_not", lambda device: "")


@pytest.fixture
def cannot_compile(monkeypatch):
    monkeypatch.setattr(compiling, "why_not", lambda device: "no compiler")


class FewWeights:
    """An optimizer as ``decide`` sees it: so many weights on a device."""

    train_samples = 1

    def __init__(self, count, device, pays_on_cpu):
        self.weight = torch.empty(count, device="meta")
        self.device, self.compiling_pays_on_cpu = device, pays_on_cpu

    def binary_parameters(self):
        class Weight:
            device = torch.device(self.device)
            numel = self.weight.numel

        return {Weight()}


def decide(mode, optimizer, steps):
    weights, pays = optimizer.binary_parameters(), optimizer.compiling_pays_on_cpu
    return compiling.decide(mode, weights, updates=steps, pays_on_cpu=pays)


@pytest.mark.parametrize(
    ("device", "weights", "steps", "pays_on_cpu", "expected"),
    [
        ("cuda", 10_014_720, 270_000, False, True),  # MNIST, 500 epochs
        ("cuda", 14_022_016, 450_000, False, True),  # CIFAR-10, 500 epochs
        ("cuda", 10_014_720, 100_000, False, False),  # some two minutes
        ("cpu", 10_014_720, 270_000, False, False),  # the blocks are as fast
        ("cpu", 10_014_720, 270_000, True, True),
        ("cpu", 10_014_720, 1_300, True, False),  # two minutes
        ("cuda", 562_176, 920, False, False),  # digits
    ],
)
def test_auto_compiles_long_runs_only(can_compile, device, weights, steps, pays_on_cpu, expected):
    optimizer = FewWeights(weights, device, pays_on_cpu)
    assert decide("auto", optimizer, steps) == expected
    assert decide("on", optimizer, steps)
    assert not decide("off", optimizer, steps)


def test_auto_does_without_a_compiler_and_on_does_not(cannot_compile, caplog):
    optimizer = FewWeights(10_014_720, "cpu", True)
    assert not decide("auto", optimizer, 10**9)
    assert "not compiled: no compiler" in caplog.text
    with pytest.raises(RuntimeError, match="nothing can be compiled for cpu: no compiler"):
        decide("on", optimizer, 1)


def test_without_binary_weights_there_is_nothing_to_compile(cannot_compile):
    optimizer = FullPrecision([nn.Parameter(torch.ones(2, 2))])
    assert not decide("on", optimizer, 10**9)


def test_only_pmf_gains_on_a_cpu():
    assert PMF.compiling_pays_on_cpu
    assert not BayesBiNN.compiling_pays_on_cpu


@pytest.mark.slow
def test_the_decision_stays_with_the_state(can_compile, tmp_path, monkeypatch, caplog):
    trainer = Trainer(network(), device="cpu").compile("bop", compile_optimizer="on")
    monkeypatch.setattr(compiling, "compiled", lambda kernel: kernel)
    trainer.fit(data(), epochs=1)
    trainer.save(tmp_path / "state.pt")

    def loaded():
        again = Trainer(network(), device="cpu").compile("bop", compile_optimizer="off")
        return again.load(tmp_path / "state.pt")

    assert loaded().optimizer.compiled
    monkeypatch.setattr(compiling, "why_not", lambda device: "no compiler")
    assert not loaded().optimizer.compiled
    assert "not compiled: no compiler" in caplog.text


@pytest.fixture
def traced_only(monkeypatch):
    """Kernels are traced and guarded as compiled ones are; what is traced runs as it is."""
    compile_ = partial(torch.compile, backend="eager")
    monkeypatch.setattr(compiling.torch, "compile", compile_)
    torch._dynamo.reset()
    compiling.compiled.cache_clear()
    yield
    compiling.compiled.cache_clear()
    torch._dynamo.reset()


def train_in_many_forms(compiled):
    """Each dtype, number of dimensions and kind of prior is another form of the kernels."""
    ends = []
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        for shape in ((1, 1), (8, 4)):
            for prior in (0.0, 0.5, None):
                weight = nn.Parameter(torch.zeros(shape, dtype=dtype))
                optimizer = BayesBiNN([weight], lr=1e-3, train_set_size=10, prior=prior or 0.0)
                optimizer.state[weight]["natural_parameter"].abs_()
                optimizer.compiled = compiled
                if prior is None:
                    optimizer.set_prior_to_posterior()
                for _ in range(2):
                    with optimizer.sampled_params(train=True):
                        (weight * 1e-10).sum().backward()
                    optimizer.step()
                ends.append(optimizer.state[weight]["natural_parameter"])
    return ends


@pytest.mark.parametrize("forms", first_fast([9, 64]))
def test_many_forms_of_a_kernel_end_no_run(forms, traced_only, monkeypatch, caplog):
    monkeypatch.setattr(compiling, "MAX_FORMS", forms)
    for ours, expected in zip(train_in_many_forms(True), train_in_many_forms(False), strict=True):
        torch.testing.assert_close(ours, expected)
    notices = [line for line in caplog.messages if "not compiled any more: it has over 9" in line]
    assert len(notices) == (forms == 9)


def test_another_wish_is_named():
    with pytest.raises(ValueError, match="compile_optimizer=yes: must be one of auto, on, off"):
        Trainer(network(), device="cpu").compile("ste", compile_optimizer="yes")


@pytest.mark.slow
@pytest.mark.parametrize("key", ["compile.optimizer=on", "compile.network=true"])
def test_without_a_compiler_it_is_refused_in_one_line(tmp_path, key):
    words = [sys.executable, str(ROOT / "run.py"), *SMOKE, key, f"out={tmp_path / 'runs'}"]
    cache = tmp_path / "cache"
    environment = {k: v for k, v in os.environ.items() if k not in ("CXX", "CC")}
    environment |= {"PATH": str(tmp_path), "TORCHINDUCTOR_CACHE_DIR": str(cache)}
    done = subprocess.run(words, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith(f"error: {key.partition('=')[0]}=on: nothing can be compiled for cpu")
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
@pytest.mark.parametrize("method", ["bayesbinn", "ste", "bop", "pmf"])
def test_a_compiled_run_learns_the_same_and_resumes_to_the_same_bits(method, tmp_path):
    # Far from the regime in which the rule itself magnifies rounding.
    calm = {"lr": 1e-3, "temperature": 1.0, "init": 1.0}
    settings = calm if method == "bayesbinn" else {}

    def compiled(mode, dtype=torch.float32):
        trainer = Trainer(network(dtype), device="cpu")
        return trainer.compile(method, compile_optimizer=mode, **settings)

    histories = {}
    for mode in ("off", "on"):
        trainer = compiled(mode, torch.float64)  # see the test below
        histories[mode] = trainer.fit(data(dtype=torch.float64), epochs=6, batch_size=16).rows
        assert trainer.optimizer.compiled == (mode == "on")
    for ours, theirs in zip(histories["on"], histories["off"], strict=True):
        assert ours["train_loss"] == pytest.approx(theirs["train_loss"], rel=1e-9)

    whole, first, second = (compiled("on") for _ in range(3))
    whole.fit(data(), epochs=6, batch_size=16)
    first.fit(data(), epochs=3, batch_size=16)
    first.save(tmp_path / "state.pt")
    second.load(tmp_path / "state.pt").fit(data(), epochs=6, batch_size=16)
    for name, value in whole.model.state_dict().items():
        assert torch.equal(second.model.state_dict()[name], value), name


@pytest.mark.slow
def test_a_compiled_network_learns_the_same():
    # In float64: in float32 the two round differently, and where that turns the sign of one weight
    # depends on the processor.
    exact, rows = torch.float64, {}
    for compiled in (False, True):
        trainer = Trainer(network(exact), device="cpu", compile_network=compiled).compile("ste")
        trainer.fit(data(dtype=exact), validation_data=data(32, exact), epochs=4, batch_size=16)
        rows[compiled] = trainer.rows
    for ours, theirs in zip(rows[True], rows[False], strict=True):
        for name in ("train_loss", "validation_loss"):
            assert ours[name] == pytest.approx(theirs[name], rel=1e-9)


def test_yaml_may_write_on_and_off_as_it_likes(tmp_path, capsys):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(
        "# @package _global_\ncompile:\n  optimizer: off\n"
    )
    words = ["--config-dir", str(tmp_path), "experiment=mine", "--cfg", "job"]
    assert main([*words, "--package", "compile.optimizer"]) == 0
    assert capsys.readouterr().out.strip() == "off"
