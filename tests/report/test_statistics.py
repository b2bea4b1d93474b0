import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from bnnrepro.report.published import Quoted, published
from bnnrepro.report.statistics import LEVEL, Stats, compare, quoted_stats, summarise, welch

PERCENT = st.floats(0, 100).map(lambda value: round(value, 4))
RUNS = st.lists(PERCENT, min_size=2, max_size=12)
SPREAD = RUNS.filter(lambda values: np.std(values) > 1e-3)
PAPER = Quoted(98.86, 0.05, 5, 0, "best", "paper")


def printed(values, ddof=0) -> Quoted:
    mean, std = np.mean(values), np.std(values, ddof=ddof)
    return Quoted(round(mean, 2), round(std, 2), len(values), ddof, "best", "paper")


@pytest.mark.parametrize("dataset", published().runs)
def test_the_authors_own_runs_give_their_printed_digits(dataset):
    runs = published().runs[dataset]
    figure = published().find("table2", dataset, "bayesbinn_mode", "test")
    assert (round(np.mean(runs), 2), round(np.std(runs), 2)) == (figure.mean, figure.std)
    assert compare(summarise(runs), figure).word == "agrees"


@given(RUNS)
def test_the_summary_is_numpys_and_its_interval_scipys(values):
    stats = summarise(values)
    assert stats.mean == pytest.approx(np.mean(values), abs=1e-9)
    assert stats.std == pytest.approx(np.std(values, ddof=1), abs=1e-9)
    assert stats.interval is not None
    if stats.std:
        half = scipy_stats.t.ppf(0.975, len(values) - 1) * scipy_stats.sem(values)
        assert stats.interval == pytest.approx((stats.mean - half, stats.mean + half), abs=1e-6)


@given(SPREAD, SPREAD)
def test_welch_is_scipys_on_the_runs_themselves(first, second):
    theirs = scipy_stats.ttest_ind(first, second, equal_var=False)
    ours = welch(summarise(first), summarise(second))
    assert ours == pytest.approx(theirs.pvalue, rel=1e-5, abs=1e-12)


@given(SPREAD, SPREAD)
def test_a_printed_population_spread_is_the_same_test_as_the_runs(first, second):
    exact = Quoted(np.mean(second), np.std(second), len(second), 0, "best", "paper", digits=12)
    from_printed = welch(summarise(first), quoted_stats(exact))
    assert from_printed == pytest.approx(welch(summarise(first), summarise(second)), rel=1e-6)


def test_a_sample_spread_is_not_converted_again():
    sample = Quoted(98.86, 0.119, 4, 1, "best", "reproduction", 3)
    assert quoted_stats(sample).std == 0.119
    assert quoted_stats(PAPER).std == pytest.approx(0.05 * math.sqrt(5 / 4))


@given(SPREAD.filter(lambda v: len(v) >= 3), SPREAD)
def test_differs_only_where_no_rounding_could_undo_it(first, second):
    figure = printed(second)
    if not figure.std:
        return
    verdict = compare(summarise(first), figure)
    low, high = verdict.p_range
    assert low <= verdict.p <= high
    # The unrounded runs are among what is printed so.
    exact = welch(summarise(first), summarise(second))
    if verdict.word == "differs":
        assert exact < LEVEL + 1e-3
    assert verdict.word == ("agrees" if high >= LEVEL else "differs")


@given(SPREAD.filter(lambda v: len(v) >= 3))
def test_runs_agree_with_their_own_printed_figure(values):
    figure = printed(values)
    verdict = compare(summarise(values), figure)
    assert verdict.word == ("agrees" if figure.std else "cannot be tested")
    assert abs(verdict.difference) <= 0.0051


@pytest.mark.parametrize(
    ("ours", "figure", "words"),
    [
        (summarise([98.0, 98.1, 98.05]), PAPER, "differs by -0.81"),
        (summarise([98.8, 98.9, 98.85]), PAPER, "agrees"),
        (summarise([98.8]), PAPER, "too few runs: n is 1"),
        (summarise([98.8, 98.9]), PAPER, "too few runs: n is 2"),
        (None, PAPER, "too few runs: none is done"),
        (summarise([98.8] * 5), PAPER, "cannot be tested: our runs have no spread"),
        (
            summarise([98.8, 98.9, 98.85]),
            replace(PAPER, std=0.0),
            "cannot be tested: the published spread is printed as zero",
        ),
        (
            summarise([98.8, 98.9, 98.85]),
            replace(PAPER, std=None, runs=1),
            "cannot be tested: the published figure has no spread",
        ),
        (
            summarise([98.8, 98.9, 98.85]),
            replace(PAPER, std=None, runs=None, ddof=None),
            "cannot be tested: the published figure has no spread",
        ),
    ],
)
def test_the_words(ours, figure, words):
    assert compare(ours, figure).text == words


def test_equal_runs_have_no_spread_at_all():
    assert summarise([98.1] * 7).std == 0  # their mean in floating point is not 98.1


def test_one_run_has_no_spread_and_no_interval():
    stats = summarise([98.8])
    assert stats == Stats(1, 98.8, None)
    assert stats.interval is None


@pytest.mark.parametrize("values", [[], [math.nan], [1.0, math.inf]])
def test_nothing_is_summed_up_that_is_no_number(values):
    with pytest.raises(ValueError, match="finite"):
        summarise(values)
    with pytest.raises(ValueError, match="spread"):
        welch(Stats(3, 1.0, 0.0), Stats(3, 1.0, 0.1))
