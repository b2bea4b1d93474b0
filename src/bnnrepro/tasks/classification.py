"""Classification of images: cross-entropy, accuracy, NLL and calibration."""

import torch
import torch.nn.functional as F
from torch import Tensor

from bnnrepro.tasks.base import Task


class Classification(Task):
    """K classes; outputs are logits (B, K), targets int64 (B,), predictions probabilities (N, K).

    Args:
        ece_bins: bins of the expected calibration error (Guo et al. 2017), >= 1.
    """

    name = "classification"
    metric = "accuracy"
    higher_is_better = True

    def __init__(self, ece_bins: int = 15) -> None:
        self.ece_bins = ece_bins

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
        import bnnrepro.data.torchvision_import  # noqa: F401, I001
        from torchmetrics.functional.classification import multiclass_calibration_error

        chosen = predictions.double().gather(1, targets[:, None]).squeeze(1)
        smallest = torch.finfo(torch.float32).tiny
        correct = predictions.argmax(1) == targets
        return {
            "accuracy": 100.0 * float(correct.double().mean()),
            "nll": float(-chosen.clamp_min(smallest).log().mean()),
            "ece": float(
                multiclass_calibration_error(
                    predictions.float(), targets, predictions.shape[1], n_bins=self.ece_bins
                )
            ),
        }
