"""Regression: mean squared error, and a Gaussian likelihood for uncertainty.

The loss is that of the published programs, the mean squared error. Times N it is, up to a constant,
the negative log-likelihood under Gaussian noise of variance 1/2. BayesBiNN approximates the
posterior under this likelihood, and the NLL here assumes the same noise. The prediction of C draws
f_c is the Gaussian with their mean, and with their variance plus 1/2.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bnnrepro.tasks import prediction_grid
from bnnrepro.training.task import Task

if TYPE_CHECKING:
    from bnnrepro.config import Config
    from bnnrepro.data.batches import Source
    from bnnrepro.training.task import Training

NOISE_VARIANCE = 0.5  # of standardised targets
LEVELS = torch.linspace(0.05, 0.95, 19, dtype=torch.float64)


class Regression(Task):
    """One value per sample; outputs, targets and predictions are float32 (B, 1), standardised.

    Outputs and targets of different shapes are a ValueError, because they would be broadcast.

    Args:
        samples_drawn: draws for the mean in the file that ``finish`` writes, >= 1.
        average: recorded in that file; outputs are predictions, so it changes nothing.
    """

    name = "regression"
    metric = "rmse"
    higher_is_better = False
    samples = "points"

    def __init__(self, samples_drawn: int = 10, average: str = "probabilities") -> None:
        self.samples_drawn = samples_drawn
        self.average = average

    @classmethod
    def of(cls, cfg: Config, about: Mapping[str, Any]) -> Regression:
        """Return the task of a configuration."""
        return cls(cfg.evaluate.samples, cfg.evaluate.average)

    def accept(self, targets: Tensor) -> Tensor:
        """Return real numbers as float32; ``ValueError`` if one is complex or not finite."""
        if targets.is_complex() or not targets.isfinite().all():
            raise ValueError("targets: must be finite real numbers")
        return targets.float()

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean squared error."""
        _same_shape(outputs, targets)
        return F.mse_loss(outputs, targets)

    def training_loss(
        self, outputs: Tensor, targets: Tensor, weights: Tensor | None = None
    ) -> Tensor:
        """Return the mean of the squared errors, each times its weight."""
        if weights is None:
            return self.loss(outputs, targets)
        _same_shape(outputs, targets)
        return ((outputs - targets).square() * weights.view(-1, 1)).mean()

    def score(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the sum of the squared errors."""
        _same_shape(outputs, targets)
        return (outputs - targets).square().sum()

    def metric_of(self, total: float, count: float) -> float:
        """Return the root of the mean squared error, in standard deviations of the targets."""
        return math.sqrt(total / count)

    def predict(self, outputs: Tensor) -> Tensor:
        """Return the outputs, which are the predicted values."""
        return outputs

    def from_outputs(self, averaged: Tensor) -> Tensor:
        """Return the averaged outputs."""
        return averaged

    def measure(self, predictions: Tensor, targets: Tensor) -> dict[str, float]:
        """Return ``rmse``, ``nll`` and ``ece``, all of standardised targets.

        ``nll`` is in nats per sample, with noise of variance 1/2. ``ece`` is the calibration
        error of Kuleshov et al. 2018 (arXiv 1807.00263), in [0, 1]: the mean over the levels 0.05,
        0.1, ... 0.95 of |share of targets below the prediction's quantile of this level - level|.
        """
        return self.measure_draws(predictions, torch.zeros_like(predictions), targets)

    def measure_draws(self, mean: Tensor, spread: Tensor, targets: Tensor) -> dict[str, float]:
        """Return these metrics with the draws' variance added to the noise's."""
        _same_shape(mean, targets)
        error = (targets - mean).double()
        variance = NOISE_VARIANCE + spread.double().square()
        nll = (error.square() / variance + (2 * math.pi * variance).log()) / 2
        quantiles = torch.special.ndtr(error / variance.sqrt()).flatten()
        levels = LEVELS.to(quantiles.device)
        below = (quantiles[:, None] <= levels).double().mean(0)
        return {
            "rmse": math.sqrt(float(error.square().mean())),
            "nll": float(nll.mean()),
            "ece": float((below - levels).abs().mean()),
        }

    def finish(self, training: Training, test: Source | None, folder: Path) -> None:
        """Write ``map.npz``, predictions between the points; see ``tasks.prediction_grid``."""
        prediction_grid.write(training, folder, samples=self.samples_drawn, average=self.average)

    def is_finished(self, training: Training, test: Source | None, folder: Path) -> bool:
        """Return whether ``map.npz`` is up to date."""
        return prediction_grid.is_current(
            training, folder, samples=self.samples_drawn, average=self.average
        )


def _same_shape(outputs: Tensor, targets: Tensor) -> None:
    if outputs.shape != targets.shape:
        shapes = f"outputs {tuple(outputs.shape)} and targets {tuple(targets.shape)}"
        raise ValueError(f"{shapes}: one shape is needed, (N, 1)")


def entropy(spread: Tensor) -> Tensor:
    """Return the differential entropy of predictions with this spread over draws, in nats."""
    variance = NOISE_VARIANCE + spread.double().square()
    return (2 * math.pi * math.e * variance).log() / 2
