"""The results of any runs as a table: every figure, every run, nothing dropped."""

import json
import math
import os
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

import bnnrepro
from bnnrepro.errors import UserError
from bnnrepro.report.compare import compare
from bnnrepro.runs import process
from bnnrepro.runs.query import find, parse
from bnnrepro.runs.result import leaves
from bnnrepro.runs.results import read_columns, results, table
from bnnrepro.runs.status import Status
from bnnrepro.runs.stored_config import _by_blocks, _content, read_config

OLD = Path(__file__).parents[1] / "old_runs" / "multirun"
TEMPLATE = OLD / "digits" / "mlp" / "bayesbinn" / "b65051d397"


def run_at(root: Path, number: int, state: str = "done", **config: Any) -> Path:
    """Copy a real run under another signature, with other settings by their dotted keys."""
    folder = root / "digits" / "mlp" / "bayesbinn" / f"{number:010x}"
    shutil.copytree(TEMPLATE, folder)
    stored = yaml.safe_load((folder / "config.yaml").read_text())
    for key, value in config.items():
        *above, last = key.split(".")
        node = stored
        for word in above:
            node = node[word]
        node[last] = value
    (folder / "config.yaml").write_text(yaml.safe_dump(stored, sort_keys=False))
    result = json.loads((folder / "result.json").read_text())
    result |= {"signature": folder.name, "seed": stored["seed"]}
    (folder / "result.json").write_text(json.dumps(result))
    if state != "done":
        (folder / "result.json").unlink()
        status = Status(state, epoch=1, epochs=3, error="the loss is nan")
        (folder / "status.json").write_text(json.dumps(asdict(status)))
    return folder


def change_result(folder: Path, **values: Any) -> None:
    content = json.loads((folder / "result.json").read_text())
    (folder / "result.json").write_text(json.dumps(content | values))


def test_every_figure_of_every_result_is_a_row(tmp_path: Path) -> None:
    found = bnnrepro.results(OLD)
    for file in OLD.rglob("result.json"):
        content = json.loads(file.read_text())
        own = found[found["folder"] == str(file.parent)]
        for selection in ("best", "final"):
            for split in ("train", "validation", "test"):
                node = content.get(selection, {}).get(split)
                for key, value in leaves(node, ""):
                    words = key[1:].split(".")
                    kind = words.pop(0) if words[0] in ("mode", "mean") else None
                    row = own[
                        (own["selection"] == selection)
                        & (own["split"] == split)
                        & (own["prediction"].isna() if kind is None else own["prediction"] == kind)
                        & (own["metric"] == ".".join(words))
                    ]
                    assert row["value"].tolist() == [value]
                    assert row["epoch"].tolist() == [content[selection]["epoch"]]
        assert set(own["seed"]) == {content["seed"]}
        assert set(own["preset"]) == {content["preset"]}
        assert set(own["seconds"]) == {content["seconds"]}
    states = found.drop_duplicates("folder")["state"].value_counts().to_dict()
    assert states == {"done": 7, "failed": 1, "interrupted": 1}


def test_data_that_stand_in_are_named_beside_the_data_set() -> None:
    found = bnnrepro.results(OLD, "dataset=mnist")
    assert set(found["dataset"]) == {"mnist"}
    assert set(found["stand_in"]) == {"digits"}


def test_settings_that_differ_are_columns_and_no_others(tmp_path: Path) -> None:
    run_at(tmp_path, 1, seed=0, **{"method.lr": 0.1, "model.hidden": [8], "out": "a"})
    run_at(tmp_path, 2, seed=1, **{"method.lr": 0.2, "model.hidden": [8, 8], "out": "b"})
    found = results(tmp_path)
    columns = list(found.columns)
    settings = columns[columns.index("method") + 1 : columns.index("preset")]
    assert sorted(settings) == ["method.lr", "model.hidden"]
    assert set(found["model.hidden"]) == {"[8]", "[8, 8]"}
    assert found.groupby("method.lr")["seed"].unique().map(list).to_dict() == {0.1: [0], 0.2: [1]}
    assert "method.momentum" in table(*find([tmp_path], {}), by=["method.momentum"])
    with pytest.raises(UserError, match=r"method\.momentun.*did you mean 'method\.momentum'"):
        table(*find([tmp_path], {}), by=["method.momentun"])


def test_other_content_of_the_users_own_data_is_a_setting_that_differs(tmp_path: Path) -> None:
    for number, content in enumerate(["a" * 64, "a" * 64, None]):
        change_result(run_at(tmp_path, number, seed=number), fingerprint=content)
    assert "dataset.fingerprint" not in results(tmp_path)
    change_result(run_at(tmp_path, 3, seed=3), fingerprint="b" * 64)
    for found in (results(tmp_path), bnnrepro.curves(tmp_path)):
        assert {*found["dataset.fingerprint"].dropna()} == {"a" * 10, "b" * 10}
    (chosen, _) = find([tmp_path], {"dataset.fingerprint": ["b" * 10]})
    assert [run.folder.path.name for run in chosen] == ["0000000003"]
    compared = compare(table(*find([tmp_path], {}), by=["method"]), ["method"])
    (differs,) = dict(compared.lists)["Settings that differ besides"]
    assert differs == "within bayesbinn: dataset.fingerprint"


@pytest.fixture
def store(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """Runs and folders of each kind; the state of each by its name."""
    root = tmp_path / "multirun"
    expected = {run_at(root, 1).name: "done"}
    for number, state in enumerate(("failed", "interrupted"), 2):
        expected[run_at(root, number, state).name] = state
    running = run_at(root, 4, "running")
    here = {"host": process.host(), "pid": os.getpid()}
    here["process"] = process.start_mark(os.getpid())
    (running / "status.json").write_text(json.dumps(asdict(Status("running", epoch=1, **here))))
    expected[running.name] = "running"
    cut = run_at(root, 5)
    (cut / "result.json").write_text((cut / "result.json").read_text()[:99])
    other = run_at(root, 6)
    change_result(other, signature="0123456789")
    wrong = run_at(root, 7)
    change_result(wrong, seconds="long")
    unknown = run_at(root, 9)
    (unknown / "config.yaml").write_text("seed: [")
    expected |= {folder.name: "damaged" for folder in (cut, other, wrong, unknown)}
    empty = root / "digits" / "mlp" / "ste" / f"{8:010x}"
    empty.mkdir(parents=True)
    expected[empty.name] = "new"
    foreign = empty.parent / "my notes"
    foreign.mkdir()
    expected[foreign.name] = "foreign"
    return root, expected


def test_whatever_has_no_result_has_one_row_with_its_state(
    store: tuple[Path, dict[str, str]],
) -> None:
    root, expected = store
    found = results(root)
    states = {Path(row.folder).name: row.state for row in found.itertuples()}
    assert states == expected
    others = found[found["state"] != "done"]
    assert len(others) == len(expected) - 1
    assert others["value"].isna().all()
    notes = dict(
        zip(others["folder"].map(lambda path: Path(path).name), others["note"], strict=True)
    )
    assert notes[f"{2:010x}"] == "the loss is nan"
    assert "of another run" in notes[f"{6:010x}"]
    assert "'seconds' is 'long'" in notes[f"{7:010x}"]
    assert notes[f"{9:010x}"] == "config.yaml cannot be read"
    assert all(notes[name] for name, state in expected.items() if state in ("damaged", "foreign"))


def test_a_run_whose_settings_cannot_be_read_is_listed_under_a_filter_by_settings(
    tmp_path: Path,
) -> None:
    run_at(tmp_path, 1, seed=3)
    lost = run_at(tmp_path, 2, seed=3)
    (lost / "config.yaml").write_text("seed: [")
    found = results(tmp_path, "seed=3").drop_duplicates("folder")
    assert found["state"].tolist() == ["done", "damaged"]
    assert "config.yaml cannot be read" in found["note"].iloc[1]


def test_a_key_that_no_run_has_is_refused_with_the_nearest(tmp_path: Path) -> None:
    run_at(tmp_path, 1)
    nearest = {
        "datset=digits": "dataset",
        "metod.lr=1": "method.lr",
        "stat=done": "state",
        "presett=quick": "preset",
    }
    for words, name in nearest.items():
        with pytest.raises(UserError, match=f"did you mean '{name}'"):
            find(*parse([words], str(tmp_path)))
    assert len(find(*parse(["preset=quick", "method.lr=1e-4"], str(tmp_path)))[0]) == 1
    assert find([tmp_path], {"dataset": ["mnist"], "method.lr": ["1"]}) == ([], [])
    (tmp_path / "empty").mkdir()
    assert find([tmp_path / "empty"], {"datset": ["x"]}) == ([], [])


def test_a_later_evaluation_has_rows_of_its_own(tmp_path: Path) -> None:
    folder = run_at(tmp_path, 1)
    content = json.loads((folder / "result.json").read_text())
    final = json.loads(json.dumps(content["final"]))
    final["test"]["mean"]["accuracy"] = 99.0
    again = {"evaluate": {**content["evaluate"], "samples": 100}, "final": final, "best": final}
    change_result(folder, evaluations=[again])
    found = results(tmp_path)
    rows = found.query("selection == 'final' and prediction == 'mean' and metric == 'accuracy'")
    rows = rows[rows["split"] == "test"]
    assert dict(zip(rows["evaluate.samples"], rows["value"], strict=True)) == {
        5: content["final"]["test"]["mean"]["accuracy"],
        100: 99.0,
    }


def test_a_figure_that_is_not_finite_is_shown_as_it_is(tmp_path: Path) -> None:
    folder = run_at(tmp_path, 1)
    final = json.loads((folder / "result.json").read_text())["final"]
    final["train"]["loss"] = math.inf
    change_result(folder, final=final)
    assert math.inf in results(tmp_path)["value"].tolist()


def test_curves_are_the_metrics_of_each_run_by_epoch(tmp_path: Path) -> None:
    one, two = run_at(tmp_path, 1, seed=0), run_at(tmp_path, 2, seed=1)
    lines = (two / "metrics.csv").read_text().splitlines()
    (two / "metrics.csv").write_text("\n".join([lines[0] + ",own", lines[1] + ",7"]) + "\n")
    cut = run_at(tmp_path, 3, "failed", seed=2)
    (cut / "metrics.csv").write_text("epoch,lr\n1\n")
    found = bnnrepro.curves(tmp_path)
    assert found["seed"].tolist() == [0, 0, 0, 1, 2]
    assert found["epoch"].tolist()[:4] == [1, 2, 3, 1]
    assert pd.isna(found["epoch"].iloc[4])
    own = read_columns(one / "metrics.csv")
    assert own is not None
    assert found["test_accuracy"].tolist()[:3] == own["test_accuracy"].tolist()
    assert found["epoch_seconds"].tolist()[:3] == own["seconds"].tolist()
    assert found["own"].isna().tolist() == [True, True, True, False, True]
    assert found["state"].tolist()[-2:] == ["done", "failed"]


def test_an_empty_folder_is_an_empty_table_with_its_columns(tmp_path: Path) -> None:
    assert {"value", "state", "folder"} <= set(bnnrepro.results(tmp_path).columns)
    assert bnnrepro.results(tmp_path).empty
    assert bnnrepro.curves(tmp_path).empty


@pytest.mark.parametrize(
    "text",
    [
        "a: 1\nb:\n  c: [1, 2]\n",
        "a:\n- 1\n- b: 2\nc: x\n",
        "a: 'x\ny: 1'\n",
        "a: {b: 1,\nc: 2}\n",
        "a: 1\na: 2\n",
        "a: |\n  q\n\n  r\nb: 2\n",
        "a: x\n# a comment\nb: 1\n",
        'a: "x\n  y: "\nb: 1\n',
        "a: 1\x85b: 2\n",
        "? a\n: 1\n",
    ],
)
def test_a_configuration_read_by_blocks_is_the_same(text: str) -> None:
    assert _by_blocks(text) in (None, _content(text))


@pytest.mark.parametrize(
    "text",
    ["a: &x 1\nb: *x\n", "a: 1\n---\nb: 2\n", "a: !!python/none\n", "yes: 1\n", "a: ${b}\n", ""],
)
def test_a_configuration_that_is_refused_whole_is_refused_by_blocks(
    tmp_path: Path, text: str
) -> None:
    assert _by_blocks(text) is None
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(UserError):
        read_config(tmp_path / "config.yaml")


def test_each_distinct_text_of_a_setting_is_parsed_once() -> None:
    files = list(OLD.rglob("config.yaml"))
    assert len(files) > 5
    for file in files:
        assert _by_blocks(file.read_text()) == _content(file.read_text())
    first, second = (read_config(TEMPLATE / "config.yaml") for _ in range(2))
    assert first["dataset"] is second["dataset"]


def test_results_import_no_torch(tmp_path: Path) -> None:
    code = "import bnnrepro, sys; bnnrepro.results('.'); print('torch' in sys.modules)"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
