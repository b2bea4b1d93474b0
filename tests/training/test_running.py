"""The running figures of an epoch, and losses that are not finite."""

import math
import random
import signal
import sys
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from bnnrepro import Trainer
from bnnrepro.tasks import Classification, Regression
from bnnrepro.training.callbacks import NonFiniteLossError
from bnnrepro.training.interrupts import stop_on_signals
from bnnrepro.training.loop import RunningSums
from bnnrepro.training.methods import method_names
from bnnrepro.training.task import best_row

LOSS = st.floats(0, 1e6, allow_nan=False, width=32)
BATCHES = st.lists(st.lists(LOSS, min_size=1, max_size=9), min_size=1, max_size=12)


def running(batches: list[list[float]]) -> RunningSums:
    """Each batch hands in its mean loss and the sum of its scores (here the losses too)."""
    sums = RunningSums(torch.device("cpu"))
    for batch in batches:
        values = torch.tensor(batch, dtype=torch.float64)
        sums.add(values.mean(), values.sum(), len(batch))
    return sums


@given(BATCHES)
@settings(deadline=None)
def test_unequal_batches_give_the_exact_mean_over_samples(batches: list[list[float]]) -> None:
    sums = running(batches)
    samples = [value for batch in batches for value in batch]
    loss, score, count = sums.sums.tolist()
    assert count == len(samples)
    assert sums.batch == len(batches)
    assert loss / count == pytest.approx(math.fsum(samples) / len(samples), rel=1e-12, abs=1e-12)
    assert score / count == pytest.approx(math.fsum(samples) / len(samples), rel=1e-12, abs=1e-12)
    assert int(sums.bad_step) == 0


@given(BATCHES, st.data())
@settings(deadline=None)
def test_the_first_step_that_is_not_finite_is_kept(
    batches: list[list[float]], data: st.DataObject
) -> None:
    spoilt = data.draw(st.sets(st.integers(1, len(batches)), min_size=1))
    for step in spoilt:
        batches[step - 1][0] = data.draw(st.sampled_from([math.nan, math.inf, -math.inf]))
    assert int(running(batches).bad_step) == min(spoilt)


class Spoilt(Classification):
    """Cross-entropy that is NaN at one step."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.left = step

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            self.left -= 1
        return super().loss(outputs, targets) * (math.nan if self.left == 0 else 1.0)


@pytest.mark.parametrize(("at", "epoch", "step"), [(1, 1, 1), (4, 1, 4), (5, 2, 1), (7, 2, 3)])
def test_the_error_names_epoch_and_step(at: int, epoch: int, step: int) -> None:
    data: Any = torch.randn(40, 4), torch.arange(40) % 2
    trainer = Trainer(nn.Linear(4, 2, bias=False), Spoilt(at), device="cpu").compile("ste")
    with pytest.raises(NonFiniteLossError, match=f"at epoch {epoch}, step {step}:"):
        trainer.fit(data, epochs=2, batch_size=10)
    assert len(trainer.rows) == epoch - 1


@pytest.mark.parametrize("method", sorted(method_names()))
@pytest.mark.parametrize("real", [False, True])
def test_a_gradient_that_is_not_finite_ends_the_run(method: str, real: bool) -> None:
    """A binary weight hides it, and so does the next loss."""
    data: Any = torch.randn(40, 4), torch.arange(40) % 2
    model = nn.Linear(4, 2)
    calls = iter(range(100))
    spoilt = "bias" if real else "weight"
    parameter = getattr(model, spoilt)
    parameter.register_hook(lambda g: g * math.nan if next(calls) == 7 else g)
    settings = {"bayesbinn": {"lr": 1e-3}, "bimu": {"train_samples": 1}}.get(method, {})
    trainer = Trainer(model, device="cpu").compile(method, **settings)
    with pytest.raises(NonFiniteLossError, match=rf" of {spoilt} is nan at epoch 2, step 4:"):
        trainer.fit(data, epochs=3, batch_size=10)
    assert len(trainer.rows) == 1


def test_training_leaves_the_processor_as_it_was() -> None:
    """Denormal numbers count as 0 while training runs, and no longer."""
    assert sys.float_info.min / 2 > 0
    data: Any = torch.randn(40, 4), torch.arange(40) % 2
    Trainer(nn.Linear(4, 2, bias=False), device="cpu").compile("ste").fit(data)
    assert sys.float_info.min / 2 > 0


def test_an_epochs_figures_are_means_over_samples() -> None:
    """The last batch has 5 samples, the others 20; nothing moves, so the mean is known."""
    torch.manual_seed(0)
    inputs, targets = torch.randn(45, 4), torch.arange(45) % 2
    model = nn.Linear(4, 2, bias=False)
    trainer = Trainer(model, device="cpu").compile("bop", threshold=1e9)
    trainer.build_optimizer(45)
    outputs = model(inputs)
    expected = nn.functional.cross_entropy(outputs, targets).item()
    accuracy = 100 * (outputs.argmax(1) == targets).double().mean().item()
    (row,) = trainer.fit((inputs, targets), validation_data=(inputs, targets), batch_size=20).rows
    for split in ("train", "validation"):
        assert row[f"{split}_loss"] == pytest.approx(expected, rel=1e-6)
        assert row[f"{split}_accuracy"] == pytest.approx(accuracy, rel=1e-9)


# -- the best epoch -----------------------------------------------------------------------------

NAN = math.nan


@pytest.mark.parametrize(
    ("values", "best"),
    [
        ([1.0, 3.0, 2.0, 3.0], (1, 0)),
        ([NAN, 1.0, 2.0], (2, 1)),
        ([NAN, NAN, 2.0, 1.0], (2, 3)),
        ([2.0, NAN, 1.0, NAN], (0, 2)),
        ([2.0, NAN, 2.0], (0, 0)),
        ([NAN, NAN], (0, 0)),
    ],
)
@pytest.mark.parametrize("task", [Classification(), Regression()], ids=["highest", "lowest"])
def test_the_best_epoch_is_the_first_of_the_best_number(
    task: Any, values: list[float], best: tuple[int, int]
) -> None:
    """NaN is worse than any number; where there is no number the first epoch has to do."""
    rows = [{"epoch": i, f"validation_{task.metric}": value} for i, value in enumerate(values)]
    assert best_row(rows, task) is rows[best[0 if task.higher_is_better else 1]]


def test_a_row_without_validation_is_never_the_best() -> None:
    assert best_row([{"epoch": 1, "train_accuracy": 1.0}], Classification()) is None


# -- randomness ---------------------------------------------------------------------------------


class Chancy(nn.Module):
    """A user's own model, which draws from every global generator."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 2, bias=False)

    def forward(self, inputs: Tensor) -> Tensor:
        noise = random.random() + np.random.rand() + torch.rand(())
        return self.layer(inputs) * noise


def losses(seed: int = 0, parts: tuple[int, ...] = (4,)) -> list[float]:
    """Train up to each of some epochs; other programs draw before and between."""
    data: Any = torch.arange(160.0).reshape(40, 4) / 160, torch.arange(40) % 2
    torch.manual_seed(0)
    trainer = Trainer(Chancy(), device="cpu", seed=seed).compile("full_precision", lr=1e-2)
    for epochs in parts:
        random.seed()
        np.random.seed()
        torch.seed()
        trainer.fit(data, epochs=epochs, batch_size=10)
    return [row["train_loss"] for row in trainer.rows]


def test_the_seed_fixes_every_global_generator() -> None:
    assert losses() == losses()
    assert losses() == losses(parts=(1, 3, 4))
    assert losses() != losses(seed=1)


# -- signals ------------------------------------------------------------------------------------


@pytest.fixture
def hung_up() -> Any:
    """Ignore SIGHUP, as ``nohup`` does."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGHUP, before)


def test_nohup_goes_on_to_ignore_a_closed_terminal(hung_up: None) -> None:
    with stop_on_signals() as request:
        signal.raise_signal(signal.SIGHUP)
        assert not request
        signal.raise_signal(signal.SIGTERM)
        assert request.signal is signal.SIGTERM
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
