"""Run folders of commit 866fa5b stay readable: README.md says how they were made."""

import csv
import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from tests.composing import composed

from bnnrepro.cli import main
from bnnrepro.config import Config
from bnnrepro.config.stored import check_stored, offered_targets
from bnnrepro.experiment import run
from bnnrepro.report.cells import Cell, Expected
from bnnrepro.report.charts import bands
from bnnrepro.report.collect import CellResults, collect
from bnnrepro.report.figures import FIGURES, toys
from bnnrepro.report.figures.common import IDS, curves
from bnnrepro.report.render.document import write
from bnnrepro.report.table_report import document
from bnnrepro.report.tables import tables
from bnnrepro.runs.layout import RunFolder
from bnnrepro.runs.signature import signature
from bnnrepro.runs.stored_config import read_config

DIGITS = ("dataset=digits", "model.hidden=[8]", "preset=quick", "epochs=3")
SETTINGS = {
    "digits": (*DIGITS, "evaluate.samples=5"),
    "permuted_digits": (
        *("dataset=permuted_digits", "model.hidden=[8]", "epochs=2", "dataset.tasks=2"),
        "preset=quick",
    ),
    "toy_regression": (
        *("dataset=toy_regression", "model.hidden=[8,8]", "epochs=10", "preset=smoke"),
    ),
    "table": ("dataset=mnist", "method=ste", "preset=smoke"),
    "interrupted": (*DIGITS, "method=bop"),
    "failed": (*DIGITS, "method=full_precision", "method.lr=1e38"),
}
DONE = ("digits", "permuted_digits", "toy_regression")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The old runs, in the current folder."""
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(Path(__file__).with_name("multirun"), "multirun"))


def cell(name: str, choices: Mapping[str, str]) -> Cell:
    """Return a cell of old runs. Their names need not be today's: see FORMATS in signature.py."""
    config: Config = composed(*SETTINGS[name])
    parts = (config.dataset.name, config.model.name, config.method.name)
    runs = []
    for path in Path("multirun").glob("/".join((*parts, "*", "config.yaml"))):
        seed = int(yaml.safe_load(path.read_text())["seed"])
        runs.append(Expected(seed, RunFolder(path.parent), replace(config, seed=seed)))
    runs.sort(key=lambda each: each.seed)
    return Cell(name, choices, config.preset.name, *parts, tuple(runs))


def collected(name: str, **choices: str) -> CellResults:
    (runs,) = collect([cell(name, choices)])
    return runs


def result_of(expected: Expected) -> dict:
    return json.loads((expected.folder.path / "result.json").read_text())


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as handle:
        return list(csv.DictReader(handle))


def test_status_names_their_states(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--all"]) == 0
    first, *lines = capsys.readouterr().out.splitlines()
    assert first == "9 runs, done 7, interrupted 1, failed 1"
    shown = {tuple(re.split(r" {2,}", line)[:3]) for line in lines}
    assert len(shown) == len(list(store.rglob("status.json")))
    assert ("interrupted", "digits/mlp/bop/c021deeadf seed 0", "epoch 2/3") in shown
    assert ("failed", "digits/mlp/full_precision/1448febe8c seed 0", "epoch 0/3") in shown
    assert ("done", "digits/mlp/bayesbinn/b65051d397 seed 1", "epoch 3/3") in shown
    assert "the loss is nan at epoch 1, step 2" in "\n".join(lines)


def test_status_filters_them_by_their_settings(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", "method=bayesbinn", "epochs=3", "seed=1"]) == 0
    assert capsys.readouterr().out == "1 run, done 1\n"


@pytest.mark.parametrize("name", ["interrupted", "failed"])
def test_what_is_not_done_is_collected_by_its_state(store: Path, name: str) -> None:
    (found,) = collected(name).runs
    assert found.state == name
    assert found.environment["git"]["commit"].startswith("866fa5b")


@pytest.mark.parametrize("name", DONE)
def test_results_are_collected_as_they_were_written(store: Path, name: str) -> None:
    found = collected(name)
    assert found.runs == found.used
    for each in found.used:
        result = result_of(each.expected)
        assert each.result == result
        assert each.code == "e7b79fddfbff4591"
        assert found.metric == {"toy_regression": "rmse"}.get(name, "accuracy")
        for moment in {"best", "final"} & set(result):
            for split in {"train", "validation", "test"} & set(result[moment]):
                for kind in ("mode", "mean"):
                    figures = result[moment][split]
                    figures = figures if split == "train" else figures[kind]
                    assert each.value(moment, split, kind) == figures[found.metric]


@pytest.mark.parametrize("name", DONE)
def test_curves_are_read_as_they_were_written(store: Path, name: str) -> None:
    found = collected(name)
    columns = [each.metrics for each in found.used]
    for each in found.used:
        rows = rows_of(each.expected.folder.metrics)
        assert list(each.metrics) == list(rows[0])
        for column, values in each.metrics.items():
            written = [float(row[column] or "nan") for row in rows]
            np.testing.assert_array_equal(values, written)
    assert {f"test_{found.metric}", "flipped"} <= set(columns[0])
    over_seeds = bands(curves([found]), "test_loss", IDS)
    last = [float(rows_of(each.expected.folder.metrics)[-1]["test_loss"]) for each in found.used]
    assert over_seeds["mean"].iloc[-1] == pytest.approx(np.mean(last))
    assert over_seeds["n"].iloc[-1] == len(found.used)


def test_a_table_of_them(store: Path) -> None:
    results = collected("table", dataset="mnist", method="ste")
    values = [result_of(run)["best"]["test"]["mode"]["accuracy"] for run in results.cell.runs]
    own = tuple(entry for entry in tables()["2"].entries if entry.cell == results.cell.name)
    files = write(document(replace(tables()["2"], entries=own), [results]), Path("tables"))
    (row,) = rows_of(next(file for file in files if file.suffix == ".csv"))
    assert (row["n"], row["expected"]) == ("2", "2")
    assert float(row["mean"]) == pytest.approx(np.mean(values))
    assert float(row["std"]) == pytest.approx(np.std(values, ddof=1))


def test_figures_of_continual_learning(store: Path) -> None:
    found = collected("permuted_digits", experiment="figure5_prior")
    (expected,) = found.cell.runs
    FIGURES["5"].plot([found], Path("figures"))
    drawn = rows_of(Path("figures/figure5.csv"))
    for task in ("task_1", "task_2"):
        written = [float(row[task]) for row in rows_of(expected.folder.metrics) if row[task]]
        curve = [row for row in drawn if row["column"] == task and not row["prediction"]]
        assert [float(row["mean"]) for row in curve] == written
    test = result_of(expected)["final"]["test"]
    for kind in ("mode", "mean"):
        (last,) = [row for row in drawn if (row["column"], row["prediction"]) == ("accuracy", kind)]
        assert float(last["mean"]) == pytest.approx(test[kind]["accuracy"])
    FIGURES["4"].plot([found], Path("figures"))
    posterior = json.loads((expected.folder.path / "posterior.json").read_text())
    assert len(rows_of(Path("figures/figure4.csv"))) >= len(posterior["entropy_bits"])


def test_the_predictions_of_a_regression(store: Path) -> None:
    found = collected("toy_regression")
    (expected,) = found.cell.runs
    (mapped,) = toys.grid_runs(found)
    test = result_of(expected)["final"]["test"]
    for kind in ("mode", "mean"):
        assert toys.numbers(mapped, kind)["rmse"] == test[kind]["rmse"]
    assert mapped.arrays["grid"].shape == (*mapped.arrays["mean"].shape, 1)


def test_a_finished_one_is_not_trained_again(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = composed(
        *("dataset=digits", "method=ste", "model.hidden=[8]", "epochs=2", "device=cpu", "threads=1")
    )
    result = run(config)
    assert "done before: multirun/digits/mlp/ste/e1a3ab48b8" in capsys.readouterr().out
    assert result.values == json.loads(result.path.read_text())


def test_their_settings_are_read_under_todays_keys(store: Path) -> None:
    (path,) = Path("multirun").glob("digits/mlp/ste/*")
    config = check_stored(read_config(path / "config.yaml"), offered_targets())
    assert (config.compile.optimizer, config.compile.network) == ("auto", False)
    assert config.on_code_change == "warn"
    assert signature(config.identity()) == path.name
