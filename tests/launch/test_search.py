"""``hydra/sweeper=optuna``: what is searched, that a search continues, and what it refuses."""

import os
import signal
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from bnnrepro.cli.run import main
from bnnrepro.cli.runs import main as runs_command
from bnnrepro.errors import UserError
from bnnrepro.launch.job import run_spec
from bnnrepro.launch.local_jobs import LocalJobs
from bnnrepro.runs.query import Run, find

optuna = pytest.importorskip("optuna")
from bnnrepro.launch import search as module  # noqa: E402
from bnnrepro.launch.search_space import Objective, ends, space_of  # noqa: E402

RUN_PY = Path(__file__).parents[2] / "run.py"
TINY = ["preset=smoke", "model.hidden=[8]", "threads=1", "device=cpu", "checkpoint_seconds=0"]
SPACE = ["method.lr=tag(log,interval(1e-5,1e-2))", "method=bayesbinn,ste"]
OLD = Path(__file__).parents[1] / "old_runs/multirun"


def line(*words: str) -> list[str]:
    return ["-m", "hydra/sweeper=optuna", *TINY, *SPACE, *words]


@pytest.mark.parametrize(
    ("text", "kind", "bounds"),
    [
        ("interval(0,1)", "FloatDistribution", [0.0, 1.0]),
        ("tag(log,interval(1e-5,1))", "FloatDistribution", [1e-5, 1.0]),
        ("int(interval(2,9))", "IntDistribution", [2, 9]),
        ("range(1,9,3)", "IntDistribution", [1, 7]),
        ("1e-3,1e-4", "CategoricalDistribution", ["0.001", "0.0001"]),
        ("[8],[8,9]", "CategoricalDistribution", ["[8]", "[8,9]"]),
    ],
)
def test_the_space_is_what_hydra_reads(text: str, kind: str, bounds: list[Any]) -> None:
    parsed = OverridesParser.create().parse_overrides([f"key={text}", "other=3"])
    space = space_of(parsed)
    assert list(space) == ["key"]
    assert (type(space["key"]).__name__, ends(space["key"])) == (kind, bounds)
    assert getattr(space["key"], "log", False) == ("log" in text)


REFUSED = {
    "method.lr=interval(-1,1)": "method.lr=-1.0: must be a number > 0",
    "method.lr=1e-3 method=ste": "hydra.sweeper.params=: the search space is empty",
    "hydra.sweeper.sampler=TPESample": "did you mean 'TPESampler'?",
    "hydra.sweeper.n_jobs=2": "hydra/launcher=local",
    "method.lrr=interval(0,1)": "method.lrr=0.0: no such key",
    "method.lr=interval(1,0)": "method.lr=interval(1,0): cannot be searched",
    "hydra.sweeper.sampler_args={sed:1}": "hydra.sweeper.sampler_args.sed=1: no such key",
    "hydra.sweeper.pruner=Nope": "hydra.sweeper.pruner=Nope: must be one of",
    "hydra.sweeper.objective=accuracy": "hydra.sweeper.objective=accuracy: must be",
    "hydra.sweeper.objective=best": "hydra.sweeper.objective=best: must be",
    "hydra.sweeper.objective=test.nll": "hydra.sweeper.direction=null: must be",
    "dataset.validation_split=0": "hydra.sweeper.objective=null: dataset=digits has no",
    "dataset.validation_split=0 hydra.sweeper.objective=validation.nll": "validation.nll: dataset",
    "hydra.sweeper.objective=ood.auroc": "hydra.sweeper.objective=ood.auroc: needs out-of",
    "--detach": "a search must go on asking",
}


def refusals() -> Any:
    for number, (words, message) in enumerate(REFUSED.items()):
        yield pytest.param(words.split(), message, marks=[pytest.mark.slow] * (number > 3))


@pytest.mark.parametrize(("words", "message"), list(refusals()))
def test_refusals_come_first_and_leave_nothing(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(line(*words)) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) <= 2
    assert not list(tmp_path.iterdir())


def test_a_grid_names_the_search_and_a_search_needs_optuna(
    monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    assert main(["-m", "method.lr=interval(0,1)"]) == 2
    assert "needs a search: hydra/sweeper=optuna" in capsys.readouterr().err
    plugin = import_module("hydra_plugins.bnnrepro_launchers.searching")
    monkeypatch.setattr(plugin, "find_spec", lambda name: None)
    assert main(line()) == 2
    assert "pip install 'bnnrepro[search]'" in capsys.readouterr().err


def test_the_objective_is_a_figure_of_the_results_table() -> None:
    (run,) = [each for each in find([OLD], {})[0] if each.state.name == "done"][:1]
    objective = Objective("", None, "test", "mode", "accuracy", True)
    assert 0 < objective.value(run) <= 100
    with pytest.raises(UserError, match="no such figure"):
        Objective("test.accuracies", None, "test", "mode", "accuracies", True).value(run)


class Here(LocalJobs):
    """Runs each trial in this process."""

    def tick(self) -> bool:
        for _, batch in self._waiting:
            for spec in batch.runs:
                run_spec(spec)
        self._waiting = []
        return False


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    make = module.make_submitter
    monkeypatch.setattr(module, "make_submitter", lambda keys: Here(make(keys).values))
    monkeypatch.setattr(module.time, "sleep", lambda seconds: None)
    return tmp_path


def storage(folder: Path) -> str:
    (file,) = folder.glob("multirun/.hydra/search-*/study.db")
    return f"sqlite:///{file}"


def trials(folder: Path) -> list[Any]:
    return optuna.load_study(study_name=None, storage=storage(folder)).trials


@pytest.mark.slow
def test_the_same_command_continues_and_the_last_line_reruns_the_best(
    here: Path, capsys: Any
) -> None:
    assert main(line("hydra.sweeper.n_trials=2")) == 0
    study = optuna.load_study(study_name=None, storage=storage(here))
    study.ask()  # as a kill leaves it, before its first key was drawn
    assert main(line("hydra.sweeper.n_trials=3")) == 0
    out = capsys.readouterr().out
    *first, broken, last = trials(here)
    assert broken.state.name == "FAIL"
    found = [*first, last]
    assert [trial.state.name for trial in found] == ["COMPLETE"] * 3
    assert len({trial.params["method.lr"] for trial in found}) == 3, "no trial twice"
    objective = Objective("", None, "validation", "mode", "accuracy", True)
    values = [objective.value(run(trial)) for trial in found]
    assert [trial.value for trial in found] == values
    best = max(range(3), key=lambda number: values[number])
    assert f"best: trial {found[best].number}, validation.accuracy {values[best]:.6g}" in out
    again = out.splitlines()[-1].replace("'", "").split()
    assert again[:3] == ["python", "run.py", "-m"]
    assert main([*again[2:], "seed=0"]) == 0
    assert f"done before: {found[best].user_attrs['run']}" in capsys.readouterr().out


def run(trial: Any) -> Run:
    return find([Path(trial.user_attrs["run"])], {})[0][0]


def search(folder: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(RUN_PY), *line("hydra/launcher=local", *words)],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_two_at_a_time_killed_and_continued(tmp_path: Path) -> None:
    words = ("hydra.sweeper.n_trials=6", "hydra.sweeper.n_jobs=2")
    started = search(tmp_path, *words)
    assert started.stdout is not None
    told = 0
    for text in started.stdout:
        told += "validation.accuracy" in text
        if told == 2:
            os.kill(started.pid, signal.SIGKILL)
            break
    started.communicate()
    out, err = search(tmp_path, *words).communicate(timeout=200)
    assert "best: trial" in out, f"{out}\n{err}"
    found = trials(tmp_path)
    assert [trial.state.name for trial in found] == ["COMPLETE"] * 6
    runs = find([tmp_path / "multirun"], {})[0]
    assert {each.state.name for each in runs} == {"done"}
    assert {each.status.attempt for each in runs} == {1}, "none was started twice"


@pytest.mark.slow
def test_a_pruned_trial_is_stopped_with_its_state_kept(tmp_path: Path, capsys: Any) -> None:
    words = ("preset=paper", "epochs=100000", "hydra.sweeper.n_trials=2")
    pruner = ("hydra.sweeper.pruner=ThresholdPruner", "hydra.sweeper.pruner_args={lower:100.5}")
    _, err = search(tmp_path, *words, *pruner).communicate(timeout=200)
    assert [trial.state.name for trial in trials(tmp_path)] == ["PRUNED"] * 2
    for each in find([tmp_path / "multirun"], {})[0]:
        assert each.state.name == "interrupted"
        assert each.state.note.startswith("pruned after epoch ")
        assert each.folder.checkpoint.exists()
    assert "no trial has a value (2 pruned)" in err
    capsys.readouterr()
    assert runs_command(["retry", str(tmp_path / "multirun")]) == 0
    assert capsys.readouterr().err.count("not retried: ") == 2
