"""Runs of other versions for a table's cells: which are taken, and what is said of the rest."""

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import yaml
from tests.report import synthetic

from bnnrepro.cli import main
from bnnrepro.errors import UserError
from bnnrepro.report.cells import Cell, Expected, cells
from bnnrepro.report.collect import collect
from bnnrepro.report.found import found_in
from bnnrepro.runs.layout import RunFolder

ROOT = Path(__file__).parents[2]
FULL = ROOT / "results" / "figure5_paper"


@cache
def wanted() -> list[Cell]:
    return cells("table11", preset="paper", seeds=2, out="multirun")


def stored(run: Expected, folder: Path, name: str, **changes: object) -> Path:
    """Write a finished run as an older version has it: another name, a key since removed."""
    run = replace(run, folder=RunFolder(folder.joinpath(*run.folder.path.parts[-4:-1], name)))
    synthetic.done(run, 99.0)
    content = run.config.to_dict() | {"code": "warn"} | changes
    del content["training"], content["real_layers"]
    synthetic.put(run, "config.yaml", yaml.safe_dump(content))
    return run.folder.path


def test_runs_of_another_version_are_found_by_their_settings(tmp_path: Path) -> None:
    (first, second), (other, _) = (cell.runs for cell in wanted())
    stored(first, tmp_path, "0123456789")
    stored(first, tmp_path, "1111111111", epochs=3)
    found = found_in(tmp_path, wanted())
    names = [[run.folder.path.name for run in cell.runs] for cell in found.cells]
    assert names[0] == ["0123456789", second.folder.path.name]
    assert names[1][0] == other.folder.path.name
    states = [[run.state for run in results.runs] for results in collect(found.cells)]
    assert states == [["done", "missing"], ["missing", "missing"]]
    assert all(r.folder.path.is_relative_to(tmp_path) for cell in found.cells for r in cell.runs)
    assert found.notes == [
        "runs there that are not of these cells: 1; the nearest, bayesbinn/1111111111, "
        "has epochs 3, not 190"
    ]


def test_of_two_runs_of_one_seed_the_finished_one_is_taken(tmp_path: Path) -> None:
    run = wanted()[0].runs[0]
    stored(run, tmp_path, "1111111111")
    (stored(run, tmp_path, "0123456789") / "result.json").write_text("{")
    (cell, *_) = found_in(tmp_path, wanted()).cells
    assert cell.runs[0].folder.path.name == "1111111111"
    stored(run, tmp_path, "2222222222")
    with pytest.raises(UserError, match=r"two finished runs .* bayesbinn/1{10} and bayesbinn/2"):
        found_in(tmp_path, wanted())


def test_a_damaged_result_is_named(tmp_path: Path) -> None:
    run = wanted()[0].runs[0]
    (stored(run, tmp_path, "0123456789") / "result.json").write_text("{")
    (results, _) = collect(found_in(tmp_path, wanted()).cells)
    assert (results.runs[0].state, results.runs[0].name[-10:]) == ("damaged", "0123456789")


def test_settings_that_this_version_does_not_know_are_named_and_never_mixed(
    tmp_path: Path,
) -> None:
    first, second = wanted()[0].runs
    stored(first, tmp_path, "0123456789", mixup=0.4)
    assert found_in(tmp_path, wanted()).notes == ["settings that this version does not know: mixup"]
    stored(second, tmp_path, "1111111111", mixup=0.2)
    with pytest.raises(UserError, match=r"differ in mixup, unknown to this version: 0\.4 and 0\.2"):
        found_in(tmp_path, wanted())


def test_a_folder_without_such_runs_is_refused_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        found_in(tmp_path / "nowhere", wanted())
    with pytest.raises(UserError, match="no run in folders as of multirun"):
        found_in(tmp_path, wanted())
    path = stored(wanted()[0].runs[0], tmp_path, "0123456789", batch_size=7)
    with pytest.raises(UserError, match=r"among 1; the nearest, .* has batch_size 7, not 100"):
        found_in(tmp_path, wanted())
    (path / "config.yaml").write_text("epochs: .nan\n")
    stored(wanted()[0].runs[1], tmp_path, "1111111111")
    (note,) = found_in(tmp_path, wanted()).notes
    assert note == "folders without readable settings: 1 (bayesbinn/0123456789)"


def test_the_committed_runs_of_the_full_protocol_are_found() -> None:
    """They are of an older version, whose names of runs were others."""
    expected = cells("figure5", preset="paper", seeds=5, out="multirun")
    with_prior, *_ = collect(found_in(FULL, expected).cells)
    assert [run.state for run in with_prior.used] == ["done"] * 5
    names = [run.folder.path.name for run in expected[0].runs]
    assert not {run.expected.folder.path.name for run in with_prior.used} & {*names}


def test_a_report_of_them_names_its_source_and_leaves_this_versions_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored(wanted()[0].runs[0], tmp_path / "older", "0123456789")
    out = f"out={tmp_path / 'multirun'}"
    assert main(["table", "11", "--from", str(tmp_path / "older"), out]) == 0
    assert "code c0dec0dec0dec0de" in capsys.readouterr().out
    (report,) = (tmp_path / "reports").iterdir()
    assert report.name == "table11_paper_from_older"
    content = json.loads((report / "table.json").read_text())
    assert f"Runs found in {tmp_path / 'older'}." in content["about"]


@pytest.mark.parametrize(
    "words",
    [
        ["table", "11", "--from", ""],
        ["table", "11", "--from", str(FULL)],
        ["figure", "4", "--from", str(FULL), "out=/proc/x"],
        ["reproduce-figure", "5", "--from", str(FULL)],
        ["figure", "5", "--plan"],
    ],
)
def test_bad_input_is_a_line(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert len(error.splitlines()) <= 2
