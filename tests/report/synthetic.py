"""Run folders as training leaves them: finished, cut short, damaged, foreign."""

import json
import os
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import yaml

from bnnrepro.launch.plan import run_folder_of
from bnnrepro.report.cells import Cell, Expected
from bnnrepro.report.cells import cells as report_cells
from bnnrepro.runs import process

CODE = "c0de" * 4
DATE = "2026-01-02T03:04:05+00:00"


@cache
def _once(sweep: str, preset: str) -> list[Cell]:
    return report_cells(sweep, preset=preset, seeds=1, out="multirun")


def cells(sweep: str, out: Path, *, preset: str = "paper", seeds: int = 5) -> list[Cell]:
    """As ``bnnrepro.report.cells.cells``; composed once for all tests."""
    planned = []
    for cell in _once(sweep, preset):
        config = replace(cell.runs[0].config, out=str(out))
        seeded = [replace(config, seed=seed) for seed in range(seeds)]
        runs = tuple(Expected(one.seed, run_folder_of(one, {}), one) for one in seeded)
        planned.append(replace(cell, runs=runs))
    return planned


def result(run: Expected, accuracy: float, **changes) -> dict:
    config = run.config
    at = {"accuracy": accuracy, "nll": 0.5, "ece": 0.1}
    splits = {"mode": at, **({"mean": at} if config.method.name == "bayesbinn" else {})}
    moment = {
        "epoch": 9,
        "train": {"accuracy": min(100.0, accuracy + 1), "loss": 0.3},
        "validation": splits,
        "test": splits,
    }
    final = moment | {"epoch": 10}
    if not getattr(config.dataset, "validation_split", 0):
        del final["validation"]
    values = {
        "signature": run.folder.path.name,
        "preset": config.preset.name,
        "seed": run.seed,
        "task": "classification",
        "dataset": config.preset.stand_in or config.dataset.name,
        "model": config.model.name,
        "method": config.method.name,
        "epochs": config.effective_epochs,
        "n_train": 54000,
        "n_validation": 6000,
        "n_test": 10000,
        "final": final,
        "best": moment,
        "evaluate": config.to_dict()["evaluate"],
        "evaluations": [],
        "parameters": {"binary": 100, "real": 0, "bits": 100},
        "seconds": 12.5,
        "device": "cpu, 2 threads",
        "stands_for": config.dataset.name if config.preset.stand_in else None,
    }
    if not getattr(config.dataset, "validation_split", 0):
        del values["best"]
    return values | changes


def metrics(run: Expected, accuracy: float, epochs: int) -> str:
    """Learning curves that rise to the accuracy, with the method's own columns."""
    draw = np.random.default_rng([run.seed, epochs])
    epoch = np.arange(1, epochs + 1)
    rise = accuracy - 30 * np.exp(-epoch / (epochs / 12))
    rows = {"epoch": epoch, "lr": np.full(epochs, 1e-4)}
    for split, above in (("train", 1.0), ("validation", 0.2), ("test", 0.0)):
        rows[f"{split}_loss"] = 1 / epoch
        rows[f"{split}_accuracy"] = np.minimum(100, rise + above + draw.normal(0, 0.1, epochs))
    for task in range(getattr(run.config.dataset, "tasks", 0)):
        rows[f"task_{task + 1}"] = rows["test_accuracy"] - task
    rows["seconds"] = np.full(epochs, 2.5) + draw.random(epochs)
    if run.config.method.name != "full_precision":
        rows["flipped"] = 0.5 * np.exp(-epoch / (epochs / 8)) * draw.uniform(0.8, 1.2, epochs)
    if run.config.method.name == "bayesbinn":
        rows["entropy_bits"] = 1e-4 / epoch
    table = np.array(list(rows.values())).T
    lines = (",".join([str(int(row[0])), *map(repr, row[1:].tolist())]) for row in table)
    return "\n".join([",".join(rows), *lines, ""])


def environment(numerics: str | None = CODE, *, date: str = DATE, dirty: bool = False) -> dict:
    record = {
        "date": date,
        "command": "run.py",
        "versions": {"python": "3.11.7", "torch": "2.13.0"},
        "platform": "Linux",
        "cpu": "A processor",
        "gpu": None,
        "git": {"commit": "0123456789abcdef", "dirty": dirty},
        "source": "5042ce",
        "numerics": numerics,
        "earlier": [],
    }
    if numerics is None:
        del record["numerics"]
    return record


def put(run: Expected, name: str, content) -> None:
    run.folder.path.mkdir(parents=True, exist_ok=True)
    text = content if isinstance(content, str) else json.dumps(content)
    (run.folder.path / name).write_text(text)


def status(run: Expected, state: str, **more) -> None:
    put(run, "status.json", {"state": state, "epoch": 3, "epochs": 10, "attempt": 1, **more})


def done(run: Expected, accuracy: float, *, epochs: int = 10, env=None, **changes) -> None:
    status(run, "done", epoch=epochs, epochs=epochs)
    put(run, "config.yaml", yaml.safe_dump(run.config.to_dict()) if run.seed == 0 else "seed: 1\n")
    put(run, "env.json", environment() if env is None else env)
    put(run, "metrics.csv", metrics(run, accuracy, epochs))
    put(run, "result.json", result(run, accuracy, **changes))
    if tasks := getattr(run.config.dataset, "tasks", 0):
        put(run, "posterior.json", posterior(tasks))


def posterior(tasks: int) -> dict:
    """The weights' histogram after each task, sharper each time."""
    counts = [[100 + task, 50, 100 + task] for task in range(tasks)]
    entropies = [0.5 / (task + 1) for task in range(tasks)]
    return {"edges": [0, 0.3, 0.7, 1], "counts": counts, "entropy_bits": entropies}


def running(run: Expected, accuracy: float = 90.0) -> None:
    pid = os.getpid()
    mark = process.start_mark(pid)
    status(run, "running", pid=pid, host=process.host(), process=mark)
    put(run, "env.json", environment())
    put(run, "metrics.csv", metrics(run, accuracy, 5))


def failed(run: Expected, error: str = "loss is not finite") -> None:
    status(run, "failed", error=error)


def interrupted(run: Expected) -> None:
    status(run, "interrupted")
    put(run, "metrics.csv", metrics(run, 90.0, 3))


def _without(content: dict, dotted: str) -> dict:
    content = json.loads(json.dumps(content))
    *path, last = dotted.split(".")
    node = content
    for word in path:
        node = node[word]
    del node[last]
    return content


def _with(content: dict, dotted: str, value) -> dict:
    content = json.loads(json.dumps(content))
    *path, last = dotted.split(".")
    node = content
    for word in path:
        node = node[word]
    node[last] = value
    return content


def _again(good: dict, value: object) -> dict:
    """Return a result that was evaluated again, with a figure."""
    moments = {key: good[key] for key in ("final", "best") if key in good}
    changed = _with(moments, "final.test.mode.accuracy", value)
    settings = {"samples": 3, "average": "logits"}
    return good | {"evaluations": [{"evaluate": settings, **changed}]}


DAMAGES = {
    "cut": lambda run, good: json.dumps(good)[:200],
    "empty": lambda run, good: "",
    "a list": lambda run, good: "[1, 2]",
    "deep": lambda run, good: "[" * 100_000,
    "another signature": lambda run, good: good | {"signature": "0123456789"},
    "another preset": lambda run, good: good | {"preset": "other"},
    "another seed": lambda run, good: good | {"seed": run.seed + 1},
    "another data set": lambda run, good: good | {"dataset": "letters"},
    "another method": lambda run, good: good | {"method": "sgd"},
    "no final": lambda run, good: _without(good, "final"),
    "no seed": lambda run, good: _without(good, "seed"),
    "no mode": lambda run, good: _without(good, "final.test.mode"),
    "no metric": lambda run, good: _with(good, "final.train", {"loss": 0.1}),
    "not a number": lambda run, good: _with(good, "final.test.mode.accuracy", "98"),
    "true": lambda run, good: _with(good, "final.test.mode.accuracy", True),
    "nan": lambda run, good: _with(good, "final.test.mode.accuracy", float("nan")),
    "infinite": lambda run, good: _with(good, "final.train.loss", float("inf")),
    "over a hundred": lambda run, good: _with(good, "final.train.accuracy", 100.5),
    "nan in a later evaluation": lambda run, good: _again(good, float("nan")),
    "no number in a later evaluation": lambda run, good: _again(good, "98"),
    "a stand-in that is no name": lambda run, good: good | {"stands_for": 3},
}
"""Ways in which a finished run's result cannot be believed."""


def damaged(run: Expected, how: str) -> None:
    done(run, 98.0)
    put(run, "result.json", DAMAGES[how](run, result(run, 98.0)))
