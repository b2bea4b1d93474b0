"""Small-sample summaries and comparison: mean, standard deviation, interval, Welch's test.

Published figures consist of a rounded mean and a rounded spread; the comparison allows for the
rounding of both.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from bnnrepro.report.published import Quoted

MIN_RUNS = 3
"""Runs that a verdict needs: with two, nearly every difference would pass for agreement."""

LEVEL = 0.05
"""Significance level of ``agrees`` against ``differs``, and one minus the interval's confidence."""


@dataclass(frozen=True)
class Stats:
    """Runs of one setting: ``n`` >= 1, mean, and sample standard deviation (None at n=1)."""

    n: int
    mean: float
    std: float | None

    @property
    def interval(self) -> tuple[float, float] | None:
        """The mean's 95 % interval by Student's t; None for one run."""
        if self.std is None:
            return None
        if self.std == 0:
            return self.mean, self.mean
        from scipy.stats import t

        error = self.std / math.sqrt(self.n)
        low, high = t.interval(1 - LEVEL, self.n - 1, loc=self.mean, scale=error)
        return float(low), float(high)


@dataclass(frozen=True)
class Verdict:
    """Comparison of ours with a published figure.

    ``word`` is ``agrees``, ``differs``, ``too few runs`` or ``cannot be tested``; ``reason``
    explains the last two. ``difference`` is ours minus theirs. ``p`` is Welch's at the printed
    digits, ``p_range`` its range over all values that round to them; None where not tested.
    """

    word: str
    difference: float | None
    reason: str = ""
    p: float | None = None
    p_range: tuple[float, float] | None = None

    @property
    def text(self) -> str:
        """The verdict in words."""
        if self.word == "differs":
            return f"differs by {self.difference:+.2f}"
        return f"{self.word}: {self.reason}" if self.reason else self.word


def summarise(values: Sequence[float]) -> Stats:
    """Summarise one value or more, all finite.

    Raises:
        ValueError: there is none, or one is not finite.
    """
    if not values or not all(map(math.isfinite, values)):
        raise ValueError("needs one finite value or more")
    n = len(values)
    mean = math.fsum(values) / n
    if n == 1:
        return Stats(1, mean, None)
    if min(values) == max(values):
        return Stats(n, values[0], 0.0)  # exactly: rounding of the mean is no spread
    squares = math.fsum((value - mean) ** 2 for value in values)
    return Stats(n, mean, math.sqrt(squares / (n - 1)))


def mean_and_std(values: Sequence[float]) -> str:
    """Return mean and standard deviation (n - 1) in a few digits; ``-`` of no values."""
    if not values:
        return "-"
    mean = f"{statistics.fmean(values):.4g}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.2g}"


def quoted_stats(figure: Quoted) -> Stats | None:
    """Return a published figure with a sample standard deviation; None if its n is unknown."""
    if figure.runs is None:
        return None
    if figure.std is None or figure.runs < 2:
        return Stats(figure.runs, figure.mean, None)
    return Stats(figure.runs, figure.mean, _sample_std(figure.std, figure))


def welch(ours: Stats, theirs: Stats) -> float:
    """Return the two-sided p of Welch's test of two means, whose variances need not be equal.

    Raises:
        ValueError: a side has no spread, or a spread of zero.
    """
    if not ours.std or not theirs.std:
        raise ValueError("Welch's test needs a spread on both sides")
    from scipy.stats import ttest_ind_from_stats

    sides = (ours.mean, ours.std, ours.n, theirs.mean, theirs.std, theirs.n)
    return float(ttest_ind_from_stats(*sides, equal_var=False).pvalue)


def compare(ours: Stats | None, figure: Quoted) -> Verdict:
    """Compare ours with a published figure, in words.

    Its digits are rounded: a spread of 0.02 may be 0.015 or 0.025. The verdict is ``differs`` only
    where the test finds a difference at every value that rounds to them, else ``agrees``.
    """
    if ours is None:
        return Verdict("too few runs", None, "none is done")
    difference = ours.mean - figure.mean
    theirs = quoted_stats(figure)
    if ours.n < MIN_RUNS:
        return Verdict("too few runs", difference, f"n is {ours.n}")
    if theirs is None or theirs.std is None:
        return Verdict("cannot be tested", difference, "the published figure has no spread")
    if theirs.std == 0:
        return Verdict("cannot be tested", difference, "the published spread is printed as zero")
    if not ours.std:
        return Verdict("cannot be tested", difference, "our runs have no spread")
    p = welch(ours, theirs)
    extremes = [welch(ours, rounded) for rounded in _roundings(figure, difference)]
    low, high = min(p, *extremes), max(p, *extremes)
    return Verdict("agrees" if high >= LEVEL else "differs", difference, "", p, (low, high))


def _roundings(figure: Quoted, difference: float) -> list[Stats]:
    """Return the extremes that round to the printed digits, and the mean nearest to ours."""
    assert figure.std is not None
    assert figure.runs is not None
    half = 0.5 * 10.0**-figure.digits
    nearest = max(-half, min(half, difference))
    stds = [max(figure.std - half, figure.std / 100), figure.std + half]
    return [
        Stats(figure.runs, figure.mean + shift, _sample_std(std, figure))
        for shift in (-half, nearest, half)
        for std in stds
    ]


def _sample_std(std: float, figure: Quoted) -> float:
    assert figure.runs is not None
    return std if figure.ddof == 1 else std * math.sqrt(figure.runs / (figure.runs - 1))
