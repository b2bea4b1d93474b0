"""Uncertainty of a classifier: Brier score, rejection, reliability, AUROC of OOD detection."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

RATES = [index / 20 for index in range(20)]  # shares of rejected samples


def entropy(probabilities: Tensor) -> Tensor:
    """Return the entropy of each row of class probabilities (N, K), in nats, in [0, log K]."""
    entropies: Tensor = torch.special.entr(probabilities.double()).sum(1)
    return entropies


def brier(probabilities: Tensor, targets: Tensor) -> float:
    """Return the Brier score (Brier 1950), in [0, 2]: the mean of sum over k of (p_k - 1[y=k])^2.

    Args:
        probabilities: shape (N, K).
        targets: int64, shape (N,).
    """
    one_hot = F.one_hot(targets, probabilities.shape[1])
    return float((probabilities.double() - one_hot).square().sum(1).mean())


def bins_of(confidence: Tensor, bins: int) -> Tensor:
    """Return each confidence's bin; bins have equal width and include their upper edge."""
    return (confidence.double() * bins).ceil().sub(1).clamp(0, bins - 1).long()


def curves(probabilities: Tensor, targets: Tensor, bins: int) -> dict[str, Any]:
    """Return the rejection curve and the reliability diagram, as lists.

    ``rejection``: ``accuracy`` (%) of the samples that remain when the share ``rate`` of largest
    predictive entropy is rejected; among equal ones, later samples first. ``reliability``: for each
    bin of the predicted class's probability the ``count`` of samples, their mean ``confidence`` and
    their ``accuracy`` (both in [0, 1]; null in an empty bin).

    Args:
        probabilities: shape (N, K).
        targets: int64, shape (N,).
        bins: of the reliability diagram, >= 1.
    """
    correct = (probabilities.argmax(1) == targets).double()
    order = entropy(probabilities).argsort(stable=True)
    running = correct[order].cumsum(0)
    kept = [max(round(len(order) * (1 - rate)), 1) for rate in RATES]
    accuracy = [100 * float(running[count - 1]) / count for count in kept]
    return {
        "rejection": {"rate": RATES, "accuracy": accuracy},
        "reliability": _reliability(probabilities.amax(1), correct, bins),
    }


def _reliability(confidence: Tensor, correct: Tensor, bins: int) -> dict[str, list[Any]]:
    numbers = bins_of(confidence, bins)
    counts = torch.bincount(numbers, minlength=bins).tolist()
    sums = [
        torch.zeros(bins, dtype=torch.float64, device=correct.device).index_add_(0, numbers, values)
        for values in (confidence.double(), correct)
    ]
    means = [
        [
            total / count if count else None
            for total, count in zip(totals.tolist(), counts, strict=True)
        ]
        for totals in sums
    ]
    return {"count": counts, "confidence": means[0], "accuracy": means[1]}


def auroc(inside: Tensor, outside: Tensor) -> float:
    """Return P(score outside > score inside) + P(equal) / 2, in [0, 1]; 0.5 is chance.

    Args:
        inside: scores of in-distribution samples, shape (N,).
        outside: scores of out-of-distribution samples, which should be larger, shape (M,).
    """
    ordered = inside.double().sort().values
    values = outside.double().contiguous()
    below = torch.searchsorted(ordered, values).double()
    up_to = torch.searchsorted(ordered, values, right=True).double()
    return float((below + up_to).mean() / 2 / len(ordered))


def scores_of_draws(draws: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Return the predictive entropy and the mutual information of draws' probabilities, in nats.

    The mutual information of prediction and weights is the entropy of the averaged probabilities
    less the average of the draws' entropies (Houlsby et al. 2011, arXiv 1112.5745); it is 0 where
    all draws agree.

    Args:
        draws: class probabilities (N, K) of each draw, at least one.
    """
    # Differences from the first draw are summed: where all draws agree the mutual information is 0
    # to the bit, instead of a rounding error that would order the samples at random.
    remaining = iter(draws)
    first = next(remaining).double()
    start = entropy(first)
    moved, changed, count = torch.zeros_like(first), torch.zeros_like(start), 1
    for probabilities in remaining:
        moved += probabilities.double() - first
        changed += entropy(probabilities) - start
        count += 1
    predictive = entropy(first + moved / count)
    return predictive, (predictive - start - changed / count).clamp_min(0)
