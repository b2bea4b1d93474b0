"""Classification of images: cross-entropy, accuracy, NLL and calibration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bnnrepro.tasks.base import Task

if TYPE_CHECKING:
    from bnnrepro.config import Config


class Classification(Task):
    """K classes; outputs are logits (B, K), targets int64 (B,), predictions probabilities (N, K).

    Args:
        ece_bins: bins of the expected calibration error (Guo et al. 2017), >= 1.
    """

    name = "classification"
    metric = "accuracy"
    higher_is_better = True
    samples = "images"

    def __init__(self, ece_bins: int = 15) -> None:
        self.ece_bins = ece_bins

    @classmethod
    def of(cls, cfg: Config, about: Mapping[str, Any]) -> Classification:
        """Return the task of a configuration."""
        return cls(cfg.evaluate.ece_bins)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean cross-entropy in nats."""
        return F.cross_entropy(outputs, targets)

    def score(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return 100 times the number of correct predictions: its mean is a percentage."""
        return (outputs.argmax(1) == targets).sum() * 100.0

    def predict(self, outputs: Tensor) -> Tensor:
        """Return class probabilities (N, K)."""
        return outputs.softmax(1)

    def from_outputs(self, averaged: Tensor) -> Tensor:
        """Return class probabilities of averaged logits."""
        return averaged.softmax(1)

    def measure(self, predictions: Tensor, targets: Tensor) -> dict[str, float]:
        """Return accuracy (%), nll (nats per sample) and ece (0 to 1).

        The NLL is of the probabilities in float64, with none below the smallest positive number,
        so that a certain and wrong draw costs much, but not infinity.
        """
        chosen = predictions.double().gather(1, targets[:, None]).squeeze(1)
        smallest = torch.finfo(torch.float32).tiny
        correct = predictions.argmax(1) == targets
        return {
            "accuracy": 100.0 * float(correct.double().mean()),
            "nll": float(-chosen.clamp_min(smallest).log().mean()),
            "ece": calibration_error(predictions.amax(1), correct, self.ece_bins),
        }


def calibration_error(confidence: Tensor, correct: Tensor, bins: int) -> float:
    """Return the expected calibration error (Guo et al. 2017, equation 3), in [0, 1].

    Samples are put into bins of equal width by their confidence, a bin's upper edge belonging to
    it; the error is the mean over samples of |accuracy - confidence| of their bins.

    Args:
        confidence: the predicted class's probability, in [0, 1]; shape (N,).
        correct: whether that class is the right one; shape (N,).
        bins: how many, >= 1.
    """
    confidence = confidence.double()
    if not confidence.isfinite().all():
        return float("nan")
    places = (confidence * bins).ceil().sub_(1).clamp_(0, bins - 1).long()
    gaps = torch.zeros(bins, dtype=torch.float64, device=confidence.device)
    gaps.index_add_(0, places, correct.double() - confidence)
    return float(gaps.abs().sum() / len(confidence))
