"""Runs are read from their folders alone; what cannot be believed is named and left out."""

import json

import pytest

from bnnrepro.report.collect import collect

from . import synthetic

NAME = "dataset=mnist method=bayesbinn"


@pytest.fixture
def cell(tmp_path):
    cells = synthetic.cells("table2", tmp_path, seeds=5)
    return next(cell for cell in cells if cell.name == NAME)


def only(cell):
    return collect([cell])[0]


def test_every_state_is_told_from_the_others(cell):
    synthetic.done(cell.runs[0], 98.5)
    synthetic.running(cell.runs[1])
    synthetic.failed(cell.runs[2])
    synthetic.interrupted(cell.runs[3])
    results = only(cell)
    states = [run.state for run in results.runs]
    assert states == ["done", "running", "failed", "interrupted", "missing"]
    assert results.runs[2].reason == "loss is not finite"
    assert [run.expected.seed for run in results.used] == [0]
    assert len(results.unused) == 4


def test_a_figure_is_taken_at_the_selected_epoch(cell):
    synthetic.done(cell.runs[0], 98.5)
    run = only(cell).runs[0]
    result = dict(run.result)
    result["final"] = json.loads(json.dumps(result["final"]).replace("98.5", "97.0"))
    synthetic.put(cell.runs[0], "result.json", result)
    run = only(cell).runs[0]
    assert run.value("best", "test") == run.value("best", "validation", "mean") == 98.5
    assert run.value("final", "test") == 97.0
    assert run.value("best", "train") == 99.5
    assert run.value("best", "test", "median") is None


@pytest.mark.parametrize("how", synthetic.DAMAGES)
def test_a_result_that_cannot_be_believed_is_left_out_and_named(cell, how):
    synthetic.done(cell.runs[0], 98.5)
    synthetic.damaged(cell.runs[1], how)
    results = only(cell)
    assert [run.expected.seed for run in results.used] == [0]
    assert results.runs[1].state == "damaged"
    assert "result.json" in results.runs[1].reason


@pytest.mark.parametrize("file", ["env.json", "metrics.csv", "status.json", "config.yaml"])
@pytest.mark.parametrize("content", ["", "{", "[]", "\x00\xff", "a,b\n1\n", "null"])
def test_damage_beside_the_result_stops_nothing(cell, file, content):
    for run in cell.runs:
        synthetic.done(run, 98.5)
    synthetic.put(cell.runs[0], file, content)
    results = only(cell)
    assert len(results.used) >= 4
    assert all(isinstance(run.metrics, dict) for run in results.runs)


def test_a_status_without_a_result_and_an_empty_folder_are_damage(cell):
    synthetic.status(cell.runs[0], "done")
    cell.runs[1].folder.path.mkdir(parents=True)
    states = [run.state for run in only(cell).runs]
    assert states[:2] == ["damaged", "damaged"]


def test_runs_of_two_codes_are_never_put_together(cell):
    for run in cell.runs[:3]:
        synthetic.done(run, 98.5)
    for run in cell.runs[3:]:
        synthetic.done(run, 12.0, env=synthetic.environment("other"))
    results = only(cell)
    assert results.code == synthetic.CODE
    assert [run.expected.seed for run in results.used] == [0, 1, 2]
    assert [run.state for run in results.runs[3:]] == ["left out"] * 2
    assert "other" in results.runs[3].reason


def test_where_two_codes_are_as_frequent_the_newest_stands(cell):
    for run in cell.runs[:2]:
        synthetic.done(run, 98.5, env=synthetic.environment("old", date="2026-01-01T00:00:00"))
    for run in cell.runs[2:4]:
        synthetic.done(run, 98.5, env=synthetic.environment("new", date="2026-02-01T00:00:00"))
    assert only(cell).code == "new"


def test_runs_without_a_record_of_their_code_are_one_group(cell):
    for run in cell.runs[:3]:
        synthetic.done(run, 98.5, env=synthetic.environment(None))
    synthetic.done(cell.runs[3], 98.5)
    results = only(cell)
    assert results.code == "unknown"
    assert len(results.used) == 3


def test_a_run_whose_code_changed_midway_is_of_neither_code(cell):
    for run in cell.runs[:2]:
        synthetic.done(run, 98.5)
    mixed = synthetic.environment() | {"earlier": [synthetic.environment("other")]}
    synthetic.done(cell.runs[2], 98.5, env=mixed)
    results = only(cell)
    assert [run.expected.seed for run in results.used] == [0, 1]
    assert results.runs[2].code == f"other+{synthetic.CODE}"


def test_uncommitted_changes_of_any_start_are_known(cell):
    synthetic.done(cell.runs[0], 98.5)
    earlier = synthetic.environment() | {"earlier": [synthetic.environment(dirty=True)]}
    synthetic.done(cell.runs[1], 98.5, env=earlier)
    assert [run.dirty for run in only(cell).used] == [False, True]


def test_a_mean_is_of_the_draws_that_the_cell_asks_for(cell):
    run = cell.runs[0]
    asked = run.config.to_dict()["evaluate"]
    other = asked | {"samples": 3}
    first = synthetic.result(run, 98.5, evaluate=other)
    synthetic.done(run, 98.5, evaluate=other)
    assert only(cell).runs[0].value("best", "test", "mean") is None
    assert only(cell).runs[0].value("best", "test", "mode") == 98.5
    again = json.loads(json.dumps({"best": first["best"], "final": first["final"]}))
    again["best"]["test"]["mean"]["accuracy"] = 97.5
    synthetic.done(run, 98.5, evaluate=other, evaluations=[{"evaluate": asked, **again}])
    assert only(cell).runs[0].value("best", "test", "mean") == 97.5


def test_a_cell_of_two_tables_is_read_once_and_given_twice(cell):
    synthetic.done(cell.runs[0], 98.5)
    first, second = collect([cell, cell])
    assert first.runs[0].result is second.runs[0].result


def test_other_metrics_than_accuracy_are_taken_from_the_result(cell):
    run = cell.runs[0]
    text = json.dumps(synthetic.result(run, 0.7)).replace('"accuracy"', '"iou"')
    synthetic.done(run, 0.7)
    synthetic.put(run, "result.json", json.loads(text))
    results = only(cell)
    assert results.metric == "iou"
    assert results.used[0].value("best", "test") == 0.7
