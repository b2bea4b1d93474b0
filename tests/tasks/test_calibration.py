"""The expected calibration error, held to a loop over bins."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bnnrepro.tasks.classification import Classification, calibration_error

PAIRS = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=40)


def bin_by_bin(pairs, bins):
    """Guo et al. 2017, equation 3: bin m holds the confidences in ((m - 1) / M, m / M]."""
    total = 0.0
    for m in range(1, bins + 1):
        low, high = m - 1, m
        chosen = [p for p in pairs if low < p[0] * bins <= high or (m == 1 and p[0] == 0)]
        if chosen:
            accuracy = sum(right for _, right in chosen) / len(chosen)
            confidence = sum(c for c, _ in chosen) / len(chosen)
            total += len(chosen) / len(pairs) * abs(accuracy - confidence)
    return total


@given(PAIRS, st.integers(1, 20))
@settings(deadline=None)
def test_it_is_what_the_equation_says(pairs, bins):
    confidence = torch.tensor([c for c, _ in pairs], dtype=torch.float64)
    correct = torch.tensor([right for _, right in pairs])
    expected = bin_by_bin(pairs, bins)
    assert calibration_error(confidence, correct, bins) == pytest.approx(expected, abs=1e-12)


def test_certain_and_right_is_perfect_and_certain_and_wrong_the_worst():
    certain = torch.ones(7)
    assert calibration_error(certain, torch.ones(7, dtype=torch.bool), 15) == 0
    assert calibration_error(certain, torch.zeros(7, dtype=torch.bool), 15) == 1


def test_predictions_that_are_not_finite_have_no_calibration():
    predictions = torch.tensor([[float("nan")] * 3, [0.2, 0.3, 0.5]])
    figures = Classification().measure(predictions, torch.tensor([0, 2]))
    assert math.isnan(figures["ece"])
