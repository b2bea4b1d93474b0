"""Classification: cross-entropy, accuracy, NLL, calibration, Brier score, uncertainty."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bnnrepro.constraints import Fraction, check_arguments
from bnnrepro.tasks import prediction_grid, reliability
from bnnrepro.training.task import Task, class_numbers

if TYPE_CHECKING:
    from bnnrepro.config import Config
    from bnnrepro.data.batches import Source
    from bnnrepro.training.task import Training


class Classification(Task):
    """K classes; outputs are logits (B, K), targets int64 (B,), predictions probabilities (N, K).

    A network with a single output has two classes: it gives the log-odds of class 1, which are its
    logit if that of class 0 is 0. Its cross-entropy is the binary one.

    Args:
        ece_bins: bins of the expected calibration error (Guo et al. 2017), >= 1.
        samples_drawn: draws for the mean in the file that ``finish`` writes, >= 1.
        average: the quantity averaged over them, ``probabilities`` or ``logits``.
        label_smoothing: share of every training target that is spread evenly over the classes
            (Szegedy et al. 2016, arXiv 1512.00567), in [0, 1).
    """

    name = "classification"
    metric = "accuracy"
    higher_is_better = True

    def __init__(
        self,
        ece_bins: int = 15,
        samples_drawn: int = 10,
        average: str = "probabilities",
        label_smoothing: Fraction = 0.0,
    ) -> None:
        check_arguments(Classification, {"label_smoothing": label_smoothing})
        self.label_smoothing = label_smoothing
        self.classes: list[str] = []  # names, where they are known
        self.ece_bins = ece_bins
        self.samples_drawn = samples_drawn
        self.average = average

    @classmethod
    def of(cls, cfg: Config, about: Mapping[str, Any]) -> Classification:
        """Return the task of a configuration."""
        evaluate = cfg.evaluate
        smoothing = cfg.training.label_smoothing
        task = cls(evaluate.ece_bins, evaluate.samples, evaluate.average, smoothing)
        task.classes = list(about.get("classes", ()))
        task.samples = "images" if len(about.get("shape", ())) == 3 else "points"
        return task

    def accept(self, targets: Tensor) -> Tensor:
        """Return class numbers, int64 (N,), of integers or booleans of shape (N,) or (N, 1)."""
        return class_numbers(targets, 1)

    def check_outputs(self, outputs: Tensor, highest: int) -> None:
        """Raise ``ValueError`` if the highest class number has no output."""
        classes = max(outputs.shape[1], 2)  # a single output is for two
        if highest >= classes:
            allowed = f"the model's outputs are for the classes 0 to {classes - 1}"
            raise ValueError(f"targets={highest}: {allowed}")

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean cross-entropy in nats."""
        return F.cross_entropy(_logits(outputs), targets)

    def training_loss(
        self, outputs: Tensor, targets: Tensor, weights: Tensor | None = None
    ) -> Tensor:
        """Return the mean of the cross-entropies with smoothed targets, each times its weight."""
        if weights is None and not self.label_smoothing:
            return self.loss(outputs, targets)
        losses = F.cross_entropy(
            _logits(outputs), targets, reduction="none", label_smoothing=self.label_smoothing
        )
        return (losses if weights is None else losses * weights).mean()

    def score(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return 100 times the number of correct predictions: its mean is a percentage."""
        return (_logits(outputs).argmax(1) == targets).sum() * 100.0

    def predict(self, outputs: Tensor) -> Tensor:
        """Return class probabilities (N, K)."""
        return _logits(outputs).softmax(1)

    def from_outputs(self, averaged: Tensor) -> Tensor:
        """Return class probabilities of averaged logits."""
        return _logits(averaged).softmax(1)

    def measure(self, predictions: Tensor, targets: Tensor) -> dict[str, float]:
        """Return accuracy (%), nll (nats per sample), ece (0 to 1), brier (0 to 2), perhaps top5.

        ``top5`` is the share (%) of samples whose class is among the five most probable ones; it
        is there where there are more than five.

        The NLL is computed in float64 from probabilities clamped to the smallest positive float32,
        so that a certain but wrong draw costs much, though not infinity.
        """
        chosen = predictions.double().gather(1, targets[:, None]).squeeze(1)
        smallest = torch.finfo(torch.float32).tiny
        correct = predictions.argmax(1) == targets
        figures = {
            "accuracy": 100.0 * float(correct.double().mean()),
            "nll": float(-chosen.clamp_min(smallest).log().mean()),
            "ece": calibration_error(predictions.amax(1), correct, self.ece_bins),
            "brier": reliability.brier(predictions, targets),
        }
        if predictions.shape[1] > 5:
            among = (predictions.topk(5, 1).indices == targets[:, None]).any(1)
            figures["top5"] = 100.0 * float(among.double().mean())
        return figures

    def evaluate(
        self, training: Training, source: Source, *, samples: int, average: str
    ) -> dict[str, dict[str, Any]]:
        """Add ``uncertainty`` and, of three classes or more, ``by_class``, at mode and mean."""
        kinds: dict[str, int | None] = {"mode": None}
        if training.optimizer.has_posterior:
            kinds["mean"] = samples
        figures: dict[str, dict[str, Any]] = {}
        curves: dict[str, Any] = {}
        by_class: dict[str, Any] = {}
        for kind, draws in kinds.items():
            predictions, _, targets = training.predictions(source, samples=draws, average=average)
            figures[kind] = self.measure(predictions, targets)
            curves[kind] = reliability.curves(predictions, targets, self.ece_bins)
            if (count := predictions.shape[1]) > 2:
                by_class[kind] = confusion(predictions.argmax(1), targets, count, self.classes)
        return figures | {"uncertainty": curves} | ({"by_class": by_class} if by_class else {})

    def ood_scores(
        self, training: Training, test: Source, ood: Source, *, samples: int, average: str
    ) -> dict[str, dict[str, float]]:
        """Return the AUROC of detecting the OOD samples by their predictive ``entropy``.

        The mean has that of the ``mutual_information`` of prediction and weights too, always of
        averaged probabilities, by which it is defined.
        """
        sources = (test, ood)
        at_mode = [reliability.entropy(training.predictions(source)[0]) for source in sources]
        figures = {"mode": {"entropy": reliability.auroc(*at_mode)}}
        if training.optimizer.has_posterior:
            scores = [
                reliability.scores_of_draws(
                    self.predict(outputs) for outputs, _ in training.draws(source, samples)
                )
                for source in sources
            ]
            names = ("entropy", "mutual_information")
            pairs = zip(names, zip(*scores, strict=True), strict=True)
            figures["mean"] = {name: reliability.auroc(*pair) for name, pair in pairs}
            if average == "logits":
                averaged = [
                    training.predictions(source, samples=samples, average=average)[0]
                    for source in sources
                ]
                figures["mean"]["entropy"] = reliability.auroc(*map(reliability.entropy, averaged))
        return figures

    def finish(self, training: Training, test: Source | None, folder: Path) -> None:
        """Write ``map.npz`` for points in the plane; see ``tasks.prediction_grid``."""
        prediction_grid.write(training, folder, samples=self.samples_drawn, average=self.average)

    def is_finished(self, training: Training, test: Source | None, folder: Path) -> bool:
        """Return whether ``map.npz`` is up to date, if the run has one."""
        return prediction_grid.is_current(
            training, folder, samples=self.samples_drawn, average=self.average
        )


def confusion(
    predicted: Tensor, targets: Tensor, count: int, classes: Sequence[str] = ()
) -> dict[str, Any]:
    """Return the ``accuracy`` (%) of each class by its name, and the ``confusion`` matrix.

    A row of the matrix is of a true class, a column of a predicted one; the entries are numbers of
    samples. More than 100 classes have no matrix; a class without a sample has no accuracy, None.

    Args:
        predicted: class numbers, int64 (N,).
        targets: the true ones, int64 (N,).
        count: number of classes K.
        classes: their names; else their numbers.
    """
    matrix = torch.bincount(targets * count + predicted, minlength=count**2).view(count, count)
    shares = 100.0 * matrix.diagonal() / matrix.sum(1)
    names = [str(name) for name in classes] if len(classes) == count else map(str, range(count))
    accuracy = [None if math.isnan(share) else share for share in shares.tolist()]
    figures: dict[str, Any] = {"accuracy": dict(zip(names, accuracy, strict=True))}
    return figures | ({"confusion": matrix.tolist()} if count <= 100 else {})


def _logits(outputs: Tensor) -> Tensor:
    """Return a logit for each class, also for a single output."""
    if outputs.shape[1] > 1:
        return outputs
    return torch.cat([torch.zeros_like(outputs), outputs], 1)


def calibration_error(confidence: Tensor, correct: Tensor, bins: int) -> float:
    """Return the expected calibration error (Guo et al. 2017, equation 3), in [0, 1].

    Samples are put into bins of equal width by their confidence, upper edges included; the error is
    the mean over samples of |accuracy - confidence| of their bins.

    Args:
        confidence: the predicted class's probability, in [0, 1]; shape (N,).
        correct: whether that class is the true one; shape (N,).
        bins: number of bins, >= 1.
    """
    confidence = confidence.double()
    if not confidence.isfinite().all():
        return float("nan")
    bin_numbers = reliability.bins_of(confidence, bins)
    gaps = torch.zeros(bins, dtype=torch.float64, device=confidence.device)
    gaps.index_add_(0, bin_numbers, correct.double() - confidence)
    return float(gaps.abs().sum() / len(confidence))
