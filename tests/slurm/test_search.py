"""A search on a cluster: two jobs at a time, the driver killed in the middle, and continued."""

import pytest

from .cluster import wait_for
from .conftest import Desk

optuna = pytest.importorskip("optuna")
pytestmark = [pytest.mark.slow, pytest.mark.slurm]

SEARCH = ("hydra/sweeper=optuna", "preset=smoke", "method.lr=tag(log,interval(1e-4,1e-1))")


def test_a_search_is_killed_and_continued(desk: Desk) -> None:
    line = (*SEARCH, "hydra.sweeper.n_trials=4", "hydra.sweeper.n_jobs=2")
    driver = desk.sweep(*line)
    wait_for(lambda: "done" in desk.states(), 180, "a trial")
    driver.kill()
    driver.communicate()
    out, _ = desk.finish(desk.sweep(*line))
    assert "best: trial" in out
    assert desk.states() == ["done"] * 4
    assert {run.status.attempt for run in desk.runs()} == {1}, "none was started twice"
    (record,) = desk.sweeps()
    assert record.parent.name.startswith("search-")
    study = optuna.load_study(study_name=None, storage=f"sqlite:///{record.parent / 'study.db'}")
    told = [trial for trial in study.trials if trial.params]
    assert [trial.state.name for trial in told] == ["COMPLETE"] * 4
