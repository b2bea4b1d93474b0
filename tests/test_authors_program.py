"""The driver of the authors' program: what it hands to their files, and its errors.

The files here stand in for theirs, with the same interface.
"""

import math
from pathlib import Path

import pytest
import torch
from benchmarks import authors_program

from bnnrepro.data import mnist
from bnnrepro.data.batches import Samples
from bnnrepro.data.dataset import Arrays

OPTIMIZER = """
import torch

class BayesBiNN(torch.optim.Optimizer):
    def __init__(self, model, train_set_size, lr, betas, num_samples, temperature):
        super().__init__(model.parameters(), {"lr": lr})
        print("settings", train_set_size, lr, betas, num_samples, temperature)
        count = sum(p.numel() for p in model.parameters())
        self.state["lamda"] = self.state["prior_lamda"] = torch.zeros(count)

    def step(self, closure):
        loss, outputs = closure()
        prior = self.state["prior_lamda"][0].item()
        lr = self.param_groups[0]["lr"]
        print("step", tuple(outputs.shape), "lr %.4g prior %g" % (lr, prior))
        self.state["lamda"] = self.state["lamda"] + 0.5
        return loss.detach(), [outputs]
"""
NETWORK = """
import torch

class MLP_CL_h100(torch.nn.Sequential):
    def __init__(self, inputs, outputs, units, momentum, eps, batch_affine):
        super().__init__(
            torch.nn.Linear(inputs, units, bias=False), torch.nn.Linear(units, outputs, bias=False)
        )
"""


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is laid out as the authors', and eight images as MNIST."""
    for name, text in {"optimizers/BayesBiNN.py": OPTIMIZER, "models/models.py": NETWORK}.items():
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(text)
    samples = Samples(torch.zeros(8, 1, 28, 28, dtype=torch.uint8), torch.arange(8))
    arrays = Arrays(samples, samples, ())
    monkeypatch.setattr(mnist.load, "arrays", lambda *_, **__: arrays)
    return tmp_path


def test_tasks_are_trained_by_their_schedule(
    checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(checkout), "--tasks", "2", "--epochs", "2", "--batch-size", "4", "--units", "5"]
    assert authors_program.main([*words, "--momentum", "0.5"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "settings 60000 0.001 0.5 1 0.01"
    steps = [line for line in lines if line.startswith("step")]
    # half the learning rate, then its end: the schedule moves before the epoch; again in task 2
    expected = [f"lr {lr} prior {prior}" for prior in (0, 2) for lr in (0.0005, 1e-16)]
    assert steps == [f"step (4, 10) {each}" for each in expected for _ in range(2)]
    probability = torch.sigmoid(torch.tensor([4.0, 8.0]).double())  # natural parameters of 2 and 4
    bits = (torch.distributions.Bernoulli(probability).entropy() / math.log(2)).tolist()
    tasks = [line for line in lines if line.startswith("task")]
    assert [float(line.split()[3]) for line in tasks] == pytest.approx(bits, abs=6e-5)
    assert all(len(line.split("layer ")[1].split()) == 2 for line in tasks)


@pytest.mark.parametrize("words", [["{}"], ["{}/nowhere"], ["{}", "--lr", "x"], []])
def test_a_folder_without_their_files_is_refused(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert authors_program.main([word.format(tmp_path) for word in words]) == 2
    assert capsys.readouterr().err.startswith("error: ")
