"""Regression: the loss is the mean squared error, the NLL a Gaussian's of variance 1/2 plus."""

import math

import pytest
import torch
from torch import nn

from bnnrepro import Trainer
from bnnrepro.tasks import Regression
from bnnrepro.tasks.regression import entropy

TASK = Regression()


def column(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32)[:, None]


def test_the_loss_is_the_mean_squared_error_and_rmse_its_root() -> None:
    outputs, targets = column(1, 2, 3), column(1, 4, 3)
    assert float(TASK.loss(outputs, targets)) == pytest.approx(4 / 3)
    score = float(TASK.score(outputs, targets))
    assert TASK.metric_of(score, 3) == pytest.approx(math.sqrt(4 / 3))
    assert TASK.validate(outputs, targets)["rmse"] == pytest.approx(math.sqrt(4 / 3))


def test_half_a_variance_makes_the_nll_the_loss_up_to_a_constant() -> None:
    outputs, targets = column(1, 2, 3), column(1, 4, 3.5)
    nll = TASK.measure(outputs, targets)["nll"]
    assert nll == pytest.approx(float(TASK.loss(outputs, targets)) + math.log(math.pi) / 2)


def test_the_draws_spread_adds_to_the_noise() -> None:
    mean, spread, targets = column(0, 0), column(1, 2), column(0.5, -3)
    expected = torch.distributions.Normal(mean, (0.5 + spread.square()).sqrt())
    nll = TASK.measure_draws(mean, spread, targets)["nll"]
    assert nll == pytest.approx(-float(expected.log_prob(targets).mean()), rel=1e-6)
    assert torch.allclose(entropy(spread).float(), expected.entropy(), rtol=1e-5)


def test_a_calibrated_prediction_has_little_calibration_error() -> None:
    stream = torch.Generator().manual_seed(0)
    targets = math.sqrt(0.5) * torch.randn(20_000, 1, generator=stream)
    zeros = torch.zeros_like(targets)
    assert TASK.measure(zeros, targets)["ece"] < 0.01
    assert TASK.measure(zeros + 5, targets)["ece"] > 0.4


@pytest.mark.parametrize("judge", [TASK.loss, TASK.score, TASK.measure])
def test_shapes_that_differ_are_refused_not_compared_all_with_all(judge) -> None:
    with pytest.raises(ValueError, match=r"outputs \(3, 1\) and targets \(3,\): one shape"):
        judge(column(1, 2, 3), torch.tensor([1.0, 4.0, 3.0]))


def test_flat_targets_are_refused_before_anything_is_trained_on_them() -> None:
    trainer = Trainer(nn.Linear(2, 1, bias=False), Regression(), device="cpu")
    trainer.compile("ste", lr=0.1)
    inputs = torch.randn(6, 2)
    with pytest.raises(ValueError, match=r"outputs \(6, 1\) and targets \(6,\)"):
        trainer.fit((inputs, inputs[:, 0]))
    trainer.fit((inputs, inputs[:, :1]))


def test_a_smaller_error_is_better() -> None:
    assert TASK.better(1.0, 2.0)
    assert not TASK.better(2.0, 1.0)
