"""The recipe for own tables averages runs that differ in the seed, and in nothing that counts."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from bnnrepro.config.compose import compose
from bnnrepro.runs.signature import signature

from .pages import ROOT, blocks

(RECIPE,) = [
    block.text
    for block in blocks(ROOT / "docs" / "cluster.md")
    if block.language == "python" and "stdev" in block.text
]
CODE = "c0de" * 4


def put(config, accuracy, *, fingerprint=None, numerics=(CODE,), **changes):
    """A finished run's files, as far as the recipe reads them; several starts, oldest first."""
    name = signature(config.identity(), fingerprint)
    folder = Path("multirun", config.dataset.name, config.model.name, config.method.name, name)
    while folder.exists():  # two codes' runs lie in two trees, of which one was copied
        folder = folder.with_name(folder.name + "x")
    folder.mkdir(parents=True)
    starts = [{"numerics": each} if each else {} for each in numerics]
    result = {
        "task": "classification",
        "dataset": config.preset.stand_in or config.dataset.name,
        "stands_for": config.dataset.name if config.preset.stand_in else None,
        "model": config.model.name,
        "method": config.method.name,
        "preset": config.preset.name,
        "fingerprint": fingerprint,
        "final": {"test": {"mode": {"accuracy": accuracy}}},
    } | changes
    (folder / "result.json").write_text(json.dumps(result))
    (folder / "config.yaml").write_text(yaml.safe_dump(config.to_dict()))
    (folder / "env.json").write_text(json.dumps(starts[-1] | {"earlier": starts[:-1]}))


@pytest.fixture
def table(tmp_path, monkeypatch, capsys):
    """Run the recipe on the runs that were put; gives its lines."""
    monkeypatch.chdir(tmp_path)

    def read():
        exec(compile(RECIPE, "docs/cluster.md", "exec"), {})
        return capsys.readouterr().out.splitlines()

    return read


STE = compose("method=ste", "dataset=mnist", "model=mlp")
KINDS = {
    "a hyperparameter": {"config": compose("method=ste", "dataset=mnist", "method.lr=1e-4")},
    "the model's size": {"config": compose("method=ste", "dataset=mnist", "model.hidden=[8]")},
    "the epochs": {"config": compose("method=ste", "dataset=mnist", "epochs=7")},
    "the preset": {"config": compose("method=ste", "dataset=mnist", "preset=quick")},
    "data that stand in": {"config": compose("method=ste", "dataset=mnist", "preset=smoke")},
    "the method": {"config": compose("method=bop", "dataset=mnist")},
    "the code": {"numerics": ("0ther" * 3,)},
    "code of which nothing is known": {"numerics": (None,)},
    "code that changed midway": {"numerics": ("0ther" * 3, CODE)},
    "the content of the data": {"fingerprint": "of other files"},
}


@pytest.mark.parametrize("kind", KINDS)
def test_runs_that_differ_in_what_counts_are_never_averaged(kind, table):
    other = {"config": STE} | KINDS[kind]
    config = other.pop("config")
    for seed in range(3):
        put(replace(STE, seed=seed), 90 + seed)
        put(replace(config, seed=seed), 50 + seed, **other)
    lines = table()
    assert len(lines) == len(set(lines)) == 2
    assert {line.rsplit(": ", 1)[1] for line in lines} == {
        "91.00 ± 1.00 %, n = 3",
        "51.00 ± 1.00 %, n = 3",
    }


def test_all_kinds_at_once_have_a_line_each(table):
    put(STE, 90.0)
    for kind in KINDS.values():
        put(**({"config": STE, "accuracy": 50.0} | kind))
    lines = table()
    assert len(lines) == len(KINDS) + 1
    assert all(line.endswith("n = 1") for line in lines)
    assert sum("digits for mnist" in line for line in lines) == 1


def test_runs_that_differ_in_the_seed_or_in_what_changes_no_number_are_one_line(table):
    same = [
        STE,
        replace(STE, seed=1),
        replace(STE, seed=2, threads=7, out="elsewhere", device="cpu"),
    ]
    for number, config in enumerate(same):
        put(config, 90 + number)
    (line,) = table()
    named = signature(STE.identity())
    assert line == f"mnist mlp ste paper (settings {named}, code {CODE}): 91.00 ± 1.00 %, n = 3"


def test_the_best_epoch_counts_where_there_is_one_and_other_tasks_are_left_out(table):
    best = {"test": {"mode": {"accuracy": 95.0}}}
    put(STE, 90.0, best=best)
    put(replace(STE, seed=1), 0.0, task="regression", final={"train": {"mode": {"rmse": 1.0}}})
    (line,) = table()
    assert line.endswith(": 95.00 %, n = 1")
