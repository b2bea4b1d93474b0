import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bnnrepro.report.published import Quoted, published
from bnnrepro.report.render.layout import spread_text
from bnnrepro.report.statistics import LEVEL, Summary, compare, quoted_summary, summary, welch

PERCENT = st.floats(0, 100).map(lambda value: round(value, 4))
RUNS = st.lists(PERCENT, min_size=2, max_size=12)
SPREAD = RUNS.filter(lambda values: np.std(values) > 1e-3)
PAPER = Quoted(98.86, 0.05, 5, 0, "best", "paper")


def printed(values, ddof=0) -> Quoted:
    mean, std = np.mean(values), np.std(values, ddof=ddof)
    return Quoted(round(mean, 2), round(std, 2), len(values), ddof, "best", "paper")


@pytest.mark.parametrize(
    ("dataset", "digits"),
    [("mnist", "98.86 ± 0.05"), ("cifar10", "93.72 ± 0.16"), ("cifar100", "73.68 ± 0.31")],
)
def test_the_authors_own_runs_give_their_printed_digits(dataset, digits):
    ours = summary(published().runs[dataset])
    assert spread_text(ours) == digits
    figure = published().find("table2", dataset, "bayesbinn_mode", "test")
    assert f"{figure.mean:.2f} ± {figure.std:.2f}" == digits
    assert compare(ours, figure).word == "agrees"


@given(RUNS)
def test_the_summary_is_numpys_and_its_interval_scipys(values):
    found = summary(values)
    assert found.mean == pytest.approx(np.mean(values), abs=1e-9)
    assert found.sample_std == pytest.approx(np.std(values, ddof=1), abs=1e-9)
    assert found.population_std == pytest.approx(np.std(values), abs=1e-9)
    assert found.interval is not None
    if found.sample_std:
        half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)
        assert found.interval == pytest.approx((found.mean - half, found.mean + half), abs=1e-6)


@given(SPREAD, SPREAD)
def test_welch_is_scipys_on_the_runs_themselves(one, other):
    ours, theirs = welch(summary(one), summary(other)), stats.ttest_ind(one, other, equal_var=False)
    assert ours.t == pytest.approx(theirs.statistic, rel=1e-6, abs=1e-9)
    assert ours.df == pytest.approx(theirs.df, rel=1e-6)
    assert ours.p == pytest.approx(theirs.pvalue, rel=1e-5, abs=1e-12)


@given(SPREAD, SPREAD)
def test_a_printed_population_spread_is_the_same_test_as_the_runs(one, other):
    exact = Quoted(np.mean(other), np.std(other), len(other), 0, "best", "paper", digits=12)
    from_printed = welch(summary(one), quoted_summary(exact))
    assert from_printed.p == pytest.approx(welch(summary(one), summary(other)).p, rel=1e-6)


def test_a_sample_spread_is_not_converted_again():
    sample = Quoted(98.86, 0.119, 4, 1, "best", "reproduction", 3)
    assert quoted_summary(sample).sample_std == 0.119
    assert quoted_summary(PAPER).sample_std == pytest.approx(0.05 * math.sqrt(5 / 4))


@given(SPREAD.filter(lambda v: len(v) >= 3), SPREAD)
def test_differs_only_where_no_rounding_could_undo_it(one, other):
    figure = printed(other)
    if not figure.std:
        return
    found = compare(summary(one), figure)
    low, high = found.p_range
    assert low <= found.p <= high
    # The unrounded runs are among what is printed so.
    exact = welch(summary(one), summary(other)).p
    if found.word == "differs":
        assert exact < LEVEL + 1e-3
    assert found.word == ("agrees" if high >= LEVEL else "differs")


@given(SPREAD.filter(lambda v: len(v) >= 3))
def test_runs_agree_with_their_own_printed_figure(values):
    figure = printed(values)
    found = compare(summary(values), figure)
    assert found.word == ("agrees" if figure.std else "cannot be tested")
    assert abs(found.difference) <= 0.0051


@pytest.mark.parametrize(
    ("ours", "figure", "words"),
    [
        (summary([98.0, 98.1, 98.05]), PAPER, "differs by -0.81"),
        (summary([98.8, 98.9, 98.85]), PAPER, "agrees"),
        (summary([98.8]), PAPER, "too few runs: n is 1"),
        (summary([98.8, 98.9]), PAPER, "too few runs: n is 2"),
        (None, PAPER, "too few runs: none is done"),
        (summary([98.8] * 5), PAPER, "cannot be tested: our runs have no spread"),
        (
            summary([98.8, 98.9, 98.85]),
            replace(PAPER, std=0.0),
            "cannot be tested: the published spread is printed as zero",
        ),
        (
            summary([98.8, 98.9, 98.85]),
            replace(PAPER, std=None, runs=1),
            "cannot be tested: the published figure has no spread",
        ),
        (
            summary([98.8, 98.9, 98.85]),
            replace(PAPER, std=None, runs=None, ddof=None),
            "cannot be tested: the published figure has no spread",
        ),
    ],
)
def test_the_words(ours, figure, words):
    assert compare(ours, figure).text == words


def test_equal_runs_have_no_spread_at_all():
    assert summary([98.1] * 7).sample_std == 0  # their mean in floating point is not 98.1


def test_one_run_has_no_spread_and_no_interval():
    one = summary([98.8])
    assert one == Summary(1, 98.8, None)
    assert one.interval is None


@pytest.mark.parametrize("values", [[], [math.nan], [1.0, math.inf]])
def test_nothing_is_summed_up_that_is_no_number(values):
    with pytest.raises(ValueError, match="finite"):
        summary(values)
    with pytest.raises(ValueError, match="spread"):
        welch(Summary(3, 1.0, 0.0), Summary(3, 1.0, 0.1))
