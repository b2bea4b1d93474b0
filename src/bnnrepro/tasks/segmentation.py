"""Segmentation: one class per pixel; cross-entropy, intersection over union, recalls.

Every metric comes from one confusion matrix over all pixels of all images of a split, never from
averages over images. With the counts n[t, p] of pixels of class t that are predicted as class p:

    IoU of class k      n[k, k] / (sum_p n[k, p] + sum_t n[t, k] - n[k, k])
    mean IoU            their mean over the classes
    balanced accuracy   mean over the classes of n[k, k] / sum_p n[k, p], in percent
    accuracy            sum_k n[k, k] / sum n, in percent

If one class has most of the pixels, predicting it everywhere has a high accuracy and a high IoU of
that class. Its balanced accuracy is 100 / K for any data, and so that metric selects an epoch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bnnrepro.data.segmentation import WholeImages
from bnnrepro.runs.layout import PICTURES
from bnnrepro.tasks.segmentation_images import are_predicted, write_pictures, write_predictions
from bnnrepro.training.evaluation import outputs_and_targets
from bnnrepro.training.task import Task, class_numbers

if TYPE_CHECKING:
    from bnnrepro.config import Config
    from bnnrepro.data.batches import Source
    from bnnrepro.training.task import Training

COUNTS = "counts"
PREDICTIONS = "predictions"


class Segmentation(Task):
    """K classes; outputs are logits (B, K, H, W), targets int64 (B, H, W).

    Predictions are probabilities (N, K, H, W). The training metric of an epoch is exact too: its
    counts are summed over batches, and are part of a checkpoint within an epoch.

    Args:
        classes: the classes' names.
    """

    name = "segmentation"
    metric = "balanced_accuracy"
    higher_is_better = True
    samples = "images"

    def __init__(self, classes: tuple[str, ...]) -> None:
        self.classes = classes
        self._trained: Tensor | None = None

    @classmethod
    def of(cls, cfg: Config, about: Mapping[str, Any]) -> Segmentation:
        """Return the task of a configuration."""
        return cls(tuple(about["classes"]))

    def accept(self, targets: Tensor) -> Tensor:
        """Return class numbers, int64 (N, H, W), of integers of shape (N, H, W) or (N, 1, H, W)."""
        return class_numbers(targets, 3)

    def check_outputs(self, outputs: Tensor, highest: int) -> None:
        """Raise ``ValueError`` if the highest class number is not one of the classes."""
        if highest >= len(self.classes):
            allowed = f"the classes are 0 to {len(self.classes) - 1}"
            raise ValueError(f"targets={highest}: {allowed}")

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean cross-entropy of a pixel, in nats."""
        return F.cross_entropy(outputs, targets)

    def training_loss(
        self, outputs: Tensor, targets: Tensor, weights: Tensor | None = None
    ) -> Tensor:
        """Return the mean of the pixels' cross-entropies, each times its weight."""
        if weights is None:
            return self.loss(outputs, targets)
        losses = F.cross_entropy(outputs, targets, reduction="none")
        return (losses * weights.view(len(losses), *weights.shape[1:] or (1, 1))).mean()

    def score(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Add the batch's counts; return its balanced accuracy times the number of its images."""
        counts = count(outputs.argmax(1), targets, len(self.classes))
        self._trained = counts if self._trained is None else self._trained + counts
        return balanced_accuracy(counts) * len(targets)

    def predict(self, outputs: Tensor) -> Tensor:
        """Return class probabilities (N, K, H, W)."""
        return outputs.softmax(1)

    def from_outputs(self, averaged: Tensor) -> Tensor:
        """Return class probabilities of averaged logits."""
        return averaged.softmax(1)

    def measure(self, predictions: Tensor, targets: Tensor) -> dict[str, float]:
        """Return the module's metrics, and nll (nats per pixel).

        The NLL is computed in float64 from probabilities clamped to the smallest positive float32.
        """
        smallest = torch.finfo(torch.float32).tiny
        total = 0.0
        for image, labels in zip(predictions, targets, strict=True):
            chosen = image.double().gather(0, labels[None]).clamp_min(smallest)
            total -= float(chosen.log().sum())
        counts = count(predictions.argmax(1), targets, len(self.classes))
        return self.figures(counts) | {"nll": total / targets.numel()}

    def validate(self, outputs: Tensor, targets: Tensor) -> dict[str, float]:
        """Return ``loss`` and the metrics of a whole split at the mode, for an epoch's row."""
        counts = count(outputs.argmax(1), targets, len(self.classes))
        return {"loss": float(self.loss(outputs, targets))} | self.figures(counts)

    def figures(self, counts: Tensor) -> dict[str, float]:
        """Return the metrics of a confusion matrix (K, K), rows the true classes."""
        counts = counts.double()
        right = counts.diagonal()
        iou = right / (counts.sum(0) + counts.sum(1) - right)
        return {
            self.metric: float(balanced_accuracy(counts)),
            "mean_iou": float(iou.mean()),
            **{f"iou_{name}": float(value) for name, value in zip(self.classes, iou, strict=True)},
            "accuracy": 100 * float(right.sum() / counts.sum()),
        }

    def constant(self, targets: Tensor) -> dict[str, float]:
        """Return each metric's best value among constant predictions, the same for all pixels.

        The best prediction may differ between metrics. For the NLL it is the classes' shares.
        """
        true = torch.bincount(targets.flatten(), minlength=len(self.classes)).double()
        constants = []
        for k in range(len(self.classes)):
            counts = torch.zeros(len(true), len(true), dtype=torch.float64, device=true.device)
            counts[:, k] = true
            constants.append(self.figures(counts))
        shares = true / true.sum()
        return {name: _maximum([row[name] for row in constants]) for name in constants[0]} | {
            "nll": -float(torch.xlogy(shares, shares).sum())
        }

    # -- around the epochs --------------------------------------------------------------------

    def before_epoch(self, training: Training) -> None:
        """Reset the counts."""
        self._trained = None

    def after_epoch(self, training: Training, held_out: Mapping[str, Source]) -> dict[str, Any]:
        """Return the epoch's training metric, from the counts of all its batches."""
        if self._trained is None:
            return {}
        figures = self.figures(self._trained)
        self._trained = None
        return {f"train_{self.metric}": figures[self.metric]}

    def state_dict(self) -> dict[str, Any]:
        """Return the counts of the epoch so far."""
        return {} if self._trained is None else {COUNTS: self._trained}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the counts of an epoch."""
        self._trained = state.get(COUNTS)

    # -- a trained network --------------------------------------------------------------------

    def evaluate(
        self, training: Training, source: Source, *, samples: int, average: str
    ) -> dict[str, dict[str, Any]]:
        """Return the metrics at mode and mean, and those of the best constant prediction."""
        figures = super().evaluate(training, source, samples=samples, average=average)
        targets = torch.cat([labels for _, labels in source.epoch(0)])
        return figures | {"constant": self.constant(targets)}

    def finish(self, training: Training, test: Source | None, folder: Path) -> None:
        """Write pictures of the test images, and the predictions of images without labels.

        Both are at the mode, with the weights that ``training`` holds.
        """
        if not isinstance(test, WholeImages):
            return
        outputs, _ = outputs_and_targets(training.model, test, training.device)
        write_pictures(folder / PICTURES, test.samples, outputs.argmax(1))
        if test.unlabelled is not None:
            outputs, _ = outputs_and_targets(training.model, test.unlabelled, training.device)
            write_predictions(folder / PREDICTIONS, test.unlabelled.samples, outputs.argmax(1))

    def is_finished(self, training: Training, test: Source | None, folder: Path) -> bool:
        """Return whether the images without labels, not in the signature, are predicted."""
        if not isinstance(test, WholeImages) or test.unlabelled is None:
            return True
        return are_predicted(folder / PREDICTIONS, test.unlabelled.samples)


def count(predicted: Tensor, targets: Tensor, classes: int) -> Tensor:
    """Return the confusion matrix, int64 (K, K): true classes in rows, predicted in columns."""
    cells = targets.flatten() * classes + predicted.flatten()
    return torch.bincount(cells, minlength=classes * classes).view(classes, classes)


def _maximum(values: Sequence[float]) -> float:
    """Return the maximum of the values that are not NaN; NaN if all are."""
    return max((value for value in values if not math.isnan(value)), default=math.nan)


def balanced_accuracy(counts: Tensor) -> Tensor:
    """Return the mean recall of the classes that occur, in percent: a scalar."""
    counts = counts.double()
    true = counts.sum(1)
    recalls = counts.diagonal() / true.clamp_min(1)
    return 100 * recalls.sum() / (true > 0).sum()
