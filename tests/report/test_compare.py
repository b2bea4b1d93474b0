"""Groups of any runs compared: the numbers of scipy, the right test, and nothing hidden."""

import csv
import json
import math
import re
from pathlib import Path

import pandas as pd
import pytest
from scipy import stats

from bnnrepro.cli import main
from bnnrepro.errors import UserError
from bnnrepro.report.compare import compare, with_charts
from bnnrepro.report.render.document import Document, terminal
from bnnrepro.report.run_list import run_list

OLD = Path(__file__).parents[1] / "old_runs" / "multirun"
A, B, C = [90.0, 91.5, 92.0], [88.0, 89.25, 90.5], [95.0, 95.5, 97.5]


def table(groups, *, seeds=None, **changes):
    """A results table: a row for each method's seed, and one a run without results."""
    rows = []
    for method, values in groups.items():
        for place, value in enumerate(values):
            seed = (seeds or {}).get(method, range(9))[place]
            rows.append(
                {
                    "dataset": "mnist",
                    "model": "mlp",
                    "method": method,
                    "method.lr": 0.1 if method == "ste" else 0.2,
                    "preset": "paper",
                    "seed": seed,
                    "selection": "best",
                    "epoch": 3,
                    "split": "test",
                    "prediction": "mode",
                    "metric": "accuracy",
                    "value": value,
                    "state": "done",
                    "note": "",
                    "code": "cafe",
                    "folder": f"multirun/mnist/mlp/{method}/{len(rows):010x}",
                    **changes,
                }
            )
    return pd.DataFrame(rows)


def test_groups_have_mean_sample_std_and_students_interval():
    document = compare(table({"ste": A, "bop": B}), ["method"])
    rows = document.data.set_index("method")
    for method, values in (("ste", A), ("bop", B)):
        low, high = stats.t.interval(0.95, 2, stats.tmean(values), stats.sem(values))
        row = rows.loc[method]
        assert row["n"] == 3
        assert row["mean"] == pytest.approx(stats.tmean(values))
        assert row["std"] == pytest.approx(stats.tstd(values))
        assert (row["interval_low"], row["interval_high"]) == pytest.approx((low, high))
    assert "91.17 ± 1.04" in terminal(document)
    assert "sample standard deviation (n - 1)" in document.about


def test_the_same_seeds_are_paired_whatever_their_order():
    runs = table({"ste": A, "bop": B[::-1]}, seeds={"bop": [2, 1, 0]})
    (pair,) = compare(runs, ["method"]).extra["differences"]
    answer = stats.ttest_rel(B, A)
    assert pair["difference"] == "bop - ste"
    assert pair["test"] == "paired by seed"
    assert pair["p"] == pytest.approx(answer.pvalue)
    interval = answer.confidence_interval(0.95)
    assert (pair["interval_low"], pair["interval_high"]) == pytest.approx(tuple(interval))


@pytest.mark.parametrize("seeds", [{"bop": [0, 1, 3]}, {"bop": [0, 1, 1]}])
def test_other_seeds_are_compared_by_welch(seeds):
    (pair,) = compare(table({"ste": A, "bop": B}, seeds=seeds), ["method"]).extra["differences"]
    assert pair["test"] == "Welch"
    assert pair["p"] == pytest.approx(stats.ttest_ind(B, A, equal_var=False).pvalue)


def test_p_values_are_corrected_by_holm():
    document = compare(table({"ste": A, "bop": B, "pmf": C}), ["method"])
    p = sorted((pair["p"], pair["p_holm"]) for pair in document.extra["differences"])
    first = 3 * p[0][0]
    second = max(first, 2 * p[1][0])
    assert [pair[1] for pair in p] == pytest.approx([first, second, max(second, p[2][0])])
    assert (
        "corrected for 3 tests" in compare(table({"ste": A, "bop": B, "pmf": C}), ["method"]).about
    )


def test_a_group_of_one_run_and_runs_without_spread_are_not_tested():
    document = compare(table({"ste": [90.0], "bop": B}), ["method"])
    (pair,) = document.extra["differences"]
    assert (pair["p"], pair["p_holm"], pair["test"]) == (None, None, "none: a group of one run")
    assert "none: a group of one run" in terminal(document)
    shifted = [value + 0.1 for value in B]  # equal differences, but for rounding
    (pair,) = compare(table({"ste": shifted, "bop": B}), ["method"]).extra["differences"]
    assert (pair["p"], pair["test"]) == (None, "none: the runs have no spread")


def test_groups_by_a_setting_are_in_the_order_of_its_values():
    runs = table({"ste": A, "bop": B})
    document = compare(runs, ["method", "method.lr"])
    assert [value["group"] for value in document.extra["values"]][::3] == [
        "bop, lr 0.2",
        "ste, lr 0.1",
    ]
    assert document.sections[0].columns[:2] == ["method", "method.lr"]
    assert compare(runs, ["method.lr"]).data["method.lr"].tolist() == [0.1, 0.2]
    assert compare(runs, ["seed"]).data["seed"].tolist() == [0, 1, 2]


def test_differences_of_very_many_groups_are_not_tested_and_that_is_said():
    document = compare(table({f"m{n}": A for n in range(60)}), ["method"])
    assert len(document.data) == 60
    assert document.extra["differences"] == []
    assert "more than 50 groups are not tested" in document.about


def test_what_differs_within_a_group_and_between_groups_is_said():
    runs = table({"ste": A, "bop": B})
    runs.loc[0, "method.lr"] = 0.5
    lists = dict(compare(runs, ["method"]).lists)
    assert lists["Settings that differ besides"] == ["within ste: method.lr"]
    runs["model"] = runs["method"]
    entries = dict(compare(runs, ["method"]).lists)["Settings that differ besides"]
    assert entries[-1] == "between groups: model"


def test_a_mix_of_codes_a_short_preset_and_other_data_are_warned_of():
    assert compare(table({"ste": A}), ["method"]).warning == ""
    runs = table({"ste": A, "bop": B}, preset="smoke", stand_in="digits")
    runs.loc[0, "code"] = "beef"
    warning = compare(runs, ["method"]).warning
    assert "Preset smoke: a shortened protocol, not the paper's" in warning
    assert "digits stand in for mnist" in warning
    assert "2 codes, also within ste" in warning


def test_runs_that_are_left_out_are_named_with_their_reason():
    runs = table({"ste": A, "bop": [*B, math.nan]})
    runs.loc[len(runs)] = {"state": "failed", "note": "the loss is nan", "folder": "x/y"}
    document = compare(runs, ["method"])
    lines = dict(document.lists)["Not in the comparison"]
    assert len(lines) == 2
    assert lines[1] == "failed: the loss is nan: x/y"
    assert lines[0].startswith("done: it has no such finite value: multirun/mnist/mlp/bop")
    assert [run["state"] for run in document.extra["not_compared"]] == ["done", "failed"]


def test_the_last_evaluation_of_a_run_counts():
    runs = table({"ste": A})
    again = runs.iloc[[0]].assign(value=50.0)
    document = compare(pd.concat([runs, again]), ["method"])
    assert sorted(value["value"] for value in document.extra["values"]) == [50.0, *A[1:]]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"metric": "test.acuracy"}, ["--metric=test.acuracy", "did you mean 'test.accuracy'"]),
        ({"selection": "final"}, ["--select=final", "there is best"]),
        ({"prediction": "mean"}, ["--prediction=mean", "mode"]),
    ],
)
def test_a_figure_that_no_run_has_is_refused(arguments, words):
    with pytest.raises(UserError) as error:
        compare(table({"ste": A}), ["method"], **arguments)
    assert all(word in str(error.value) for word in words)
    with pytest.raises(UserError, match="none of them is finished"):
        compare(table({"ste": A}, state="failed"), ["method"])


def test_intervals_are_drawn_and_learning_curves_where_there_are_some():
    document = compare(table({"ste": A, "bop": B}), ["method"])
    assert document.charts == []
    curves = pd.DataFrame(
        [
            {"folder": run["folder"], "epoch": epoch, "test_accuracy": 80.0 + epoch}
            for run in document.extra["values"]
            for epoch in (1, 2)
        ]
    )
    drawn = with_charts(document, curves).charts
    assert ["by epoch" in chart for chart in drawn] == [False, True]
    assert all(chart.startswith("<svg") for chart in drawn)
    assert len(with_charts(document, curves[curves["epoch"] == 1]).charts) == 1


def test_groups_whose_values_look_alike_stay_apart():
    runs = table({"ste": A, "bop": B})
    runs["method.lr"] = [0.1, 0.1, 0.1, 0.10000001, 0.10000001, 0.10000001]
    document = compare(runs, ["method.lr"])
    assert document.data["group"].tolist() == ["lr 0.1", "lr 0.10000001"]


def test_the_command_prints_and_writes_the_comparison(tmp_path, capsys):
    words = ["compare", str(OLD), "dataset=mnist,digits", "--out", str(tmp_path)]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert re.search(r"bayesbinn +2 +78.33 ± 5.11", out)
    assert "failed: the loss is nan" in out
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [f"comparison.{end}" for end in ("csv", "html", "json", "md", "tex")]
    content = json.loads((tmp_path / "comparison.json").read_text())
    assert {row["method"] for row in content["rows"]} == {"bayesbinn", "ste"}
    for run in content["runs"]:
        assert (tmp_path / run["folder"] / "result.json").exists()


@pytest.mark.parametrize(
    ("words", "fragments"),
    [
        (["compare", "--by", "metod"], ["--by=metod", "did you mean 'method'"]),
        (["compare", "--by", "method.lrr"], ["--by=method.lrr", "did you mean 'method.lr'"]),
        (["compare", "--metric", "acc"], ["--metric=acc", "test.accuracy"]),
        (["compare", "--select", "bst"], ["--select=bst", "best, final"]),
        (["compare", "--prediction", "x"], ["--prediction=x", "mode, mean"]),
        (["compare", "dataset=cifar10"], ["runs=", "no such run"]),
        (["compare", "state=failed"], ["none of them is finished"]),
        (["results", "datset=mnist"], ["datset=mnist", "did you mean 'dataset'"]),
        (["results", "--csv", "--json"], ["not allowed with"]),
    ],
)
def test_invalid_input_is_a_line_and_exit_code_2(words, fragments, capsys):
    assert main([words[0], str(OLD), *words[1:]]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") <= 2
    assert all(fragment in captured.err for fragment in fragments)


def test_the_list_has_a_line_a_run_and_names_those_without_results(capsys):
    assert main(["results", str(OLD)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("9 runs, done 7, interrupted 1, failed 1\n")
    assert re.search(r"bayesbinn +1 +3 +78.40 +74.72 +74.72 +done", out)
    assert re.search(r"bayesbinn +0 +1 .* 2.105 +2.105 +done", out)  # its own metric, rmse
    assert "failed: the loss is nan" in out
    assert main(["results", str(OLD), "--markdown"]) == 0
    assert "## digits, mlp, quick, accuracy" in capsys.readouterr().out


def test_csv_and_json_are_the_whole_table(capsys):
    assert main(["results", str(OLD), "method=ste", "--csv"]) == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert main(["results", str(OLD), "method=ste", "--json"]) == 0
    same = json.loads(capsys.readouterr().out)
    assert len(rows) == len(same) > 10
    assert [row["value"] for row in rows] == [str(row["value"]) for row in same]


def test_a_list_of_runs_without_any_result_is_a_list():
    runs = table({"ste": A}, state="new", note="x", value=None, metric=None, split=None)
    runs = runs.assign(selection=None, prediction=None, epoch=None)
    assert isinstance(run_list(runs, "3 runs"), Document)
