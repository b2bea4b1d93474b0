"""Sweeps on a cluster: nothing twice, nothing lost, failures told, others' jobs untouched."""

import json
import shutil
import time
from pathlib import Path

import pytest

from .cluster import wait_for
from .conftest import TINY, Desk

pytestmark = [pytest.mark.slow, pytest.mark.slurm]

SECONDS = ("epochs=15", "model.hidden=[64]")
MINUTES = ("epochs=100000",)
FAULTY = ("model._target_=faulty.Faulty", "epochs=15")


def stamps(desk: Desk) -> dict[str, tuple[int, int]]:
    """Return for each run when its result was written and how often it was started."""
    return {
        run.name: (run.folder.result.stat().st_mtime_ns, run.status.attempt) for run in desk.runs()
    }


def state_in_slurm(desk: Desk, job: str) -> str:
    text = desk.cluster.call("scontrol", "-o", "show", "job", job)
    (state,) = [word for word in text.split() if word.startswith("JobState=")]
    return state.removeprefix("JobState=")


def test_six_runs_then_the_same_line_then_two_more_seeds(desk: Desk) -> None:
    out, _ = desk.finish(desk.sweep(*SECONDS, "seed=range(6)"))
    assert "6 runs submitted in 6 jobs" in out
    assert desk.states() == ["done"] * 6
    first = stamps(desk)
    began = time.monotonic()
    out, _ = desk.finish(desk.sweep(*SECONDS, "seed=range(6)"))
    assert time.monotonic() - began < 20
    assert "nothing to start: done 6" in out
    assert (stamps(desk), len(desk.sweeps())) == (first, 1)
    out, _ = desk.finish(desk.sweep(*SECONDS, "seed=range(8)"))
    assert "2 runs submitted in 2 jobs" in out
    assert desk.states() == ["done"] * 8
    assert {name: stamp for name, stamp in stamps(desk).items() if name in first} == first


def test_one_raises_one_eats_its_memory_and_retry_completes_them(desk: Desk) -> None:
    shutil.copy(Path(__file__).with_name("faulty.py"), desk.folder)
    for name in ("raise-17", "eat-18"):
        (desk.folder / name).touch()
    units = "model.hidden=[16],[17],[18],[19]"
    started = desk.sweep(*FAULTY, units, "hydra.launcher.max_deaths=1")
    _, err = desk.finish(started, code=1)
    assert "2 of the runs failed; to retry them: bnnrepro retry" in err
    assert "RuntimeError" not in err, "a line, not a traceback"
    assert desk.states() == ["done", "done", "failed", "stale"]
    raised, eater = desk.run("state=failed"), desk.run("state=stale")
    assert raised.value("model.hidden") == [17]
    assert raised.status.error == "the file says so"
    assert "Traceback" in raised.folder.log.read_text()
    assert raised.folder.log.read_text().rstrip().endswith("RuntimeError: the file says so")
    assert eater.value("model.hidden") == [18]
    assert eater.status.attempt == 2, "once more after its death, and no more than that"
    assert "killed, or out of memory?" in err
    assert "; SLURM says " in err
    states = {state_in_slurm(desk, run.status.job) for run in (raised, eater)}
    assert states <= {"FAILED", "OUT_OF_MEMORY", "CANCELLED"}, states
    for run in desk.runs("state=done"):
        assert state_in_slurm(desk, run.status.job) == "COMPLETED"

    done = {run.name: run.status.attempt for run in desk.runs("state=done")}
    for name in ("raise-17", "eat-18"):
        (desk.folder / name).unlink()
    assert "nothing to retry" in desk.word("retry"), "a part of one's own is to be offered again"
    assert FAULTY[0] in err, "as the line that was printed does"
    assert "2 runs submitted in 2 jobs" in desk.word("retry", FAULTY[0])
    assert desk.states() == ["done"] * 4
    assert {run.name: run.status.attempt for run in desk.runs() if run.name in done} == done


def test_the_driver_is_killed_at_once(desk: Desk) -> None:
    line = (*SECONDS, "epochs=60", "seed=range(4)")
    first = desk.sweep(*line[:1], *line[2:], "model.hidden=[64]")
    wait_for(lambda: len(desk.cluster.queue()) == 4, 60, "four jobs")
    first.kill()  # it may just have had the time to note the jobs' numbers, or not
    first.communicate()
    text = desk.word("status")
    assert "4 runs, " in text
    assert set(desk.states()) <= {"queued", "running"}
    jobs = {job[0] for job in desk.cluster.queue()}
    out, _ = desk.finish(desk.sweep(*line[:1], *line[2:], "model.hidden=[64]"))
    assert "submitted" not in out
    assert {job[0] for job in desk.cluster.queue()} <= jobs
    assert desk.states() == ["done"] * 4
    assert {run.status.attempt for run in desk.runs()} == {1}
    assert {run.status.job for run in desk.runs()} == jobs
    assert len(desk.sweeps()) == 1


def test_sixty_runs_in_six_jobs(desk: Desk) -> None:
    line = ("preset=smoke", "batch_size=20", "seed=range(60)", "hydra.launcher.runs_per_job=10")
    out, _ = desk.finish(desk.sweep(*line))
    assert "60 runs submitted in 6 jobs" in out
    assert desk.states() == ["done"] * 60
    (record,) = [json.loads(file.read_text()) for file in desk.sweeps()]
    assert [len(job["runs"]) for job in record["jobs"]] == [10] * 6
    assert len({run.folder.path for run in desk.runs()}) == 60


def test_side_by_side_in_a_job_and_a_signal_to_all_of_them(desk: Desk) -> None:
    line = ("epochs=60", "model.hidden=[64]", "seed=range(3)", "hydra.launcher.runs_per_job=3")
    keys = ("runs_at_once=3", "cpus_per_task=2", "mem_gb=2.5")
    driver = desk.sweep(*line, *(f"hydra.launcher.{key}" for key in keys))
    wait_for(lambda: len(desk.runs("state=running")) == 3, 90, "three runs at a time")
    wait_for(lambda: all((run.status.epoch or 0) >= 1 for run in desk.runs()), 60, "an epoch")
    (job,) = desk.cluster.queue()
    desk.cluster.call("scancel", "--signal=USR2", job[0])
    desk.finish(driver)
    assert desk.states() == ["done"] * 3
    assert {(run.status.attempt, run.status.job) for run in desk.runs()} == {(2, job[0])}
    assert all("resumed after" in run.folder.log.read_text() for run in desk.runs())


def test_a_run_that_kills_its_job_does_not_keep_the_others_back(desk: Desk) -> None:
    """Three runs share a job; the first eats the memory of all, again and again."""
    shutil.copy(Path(__file__).with_name("faulty.py"), desk.folder)
    (desk.folder / "eat-16").touch()
    units = "model.hidden=[16],[17],[18]"
    started = desk.sweep(
        *FAULTY, units, "hydra.launcher.runs_per_job=3", "hydra.launcher.max_deaths=1"
    )
    desk.finish(started, code=1)
    assert desk.states() == ["done", "done", "stale"]


def test_cancel_touches_only_its_own(desk: Desk) -> None:
    desk.cluster.call("sbatch", "-o", "/dev/null", "--job-name=foreign", "--wrap", "sleep 300")
    for method in ("ste", "bop"):
        line = (*MINUTES, f"method={method}", "seed=0,1")
        out, _ = desk.finish(desk.sweep(*line, "--detach"))
        assert "2 runs submitted in 2 jobs" in out
    wait_for(lambda: len(desk.runs("state=running")) >= 4, 90, "four runs")
    assert "cancelled 2 runs in 2 jobs" in desk.word("cancel", "method=ste")
    wait_for(lambda: len(desk.runs("state=interrupted")) == 2, 30, "the cancelled ones to save")
    assert {run.value("method") for run in desk.runs("state=interrupted")} == {"ste"}
    assert {run.value("method") for run in desk.runs("state=running")} == {"bop"}
    assert all(run.folder.checkpoint.exists() for run in desk.runs("state=interrupted"))
    names = sorted(job[3].partition("-")[0] for job in desk.cluster.queue())
    assert names == ["bnnrepro", "bnnrepro", "foreign"]
    assert "cancelled 1 run in 1 job" in desk.word("cancel", "method=bop", "seed=0")
    assert "running" in desk.word("status", "method=bop")


def test_cancel_of_what_waits_and_of_a_part_of_a_shared_job(desk: Desk) -> None:
    line = (*MINUTES, "seed=0,1", "hydra.launcher.partition=normal")
    desk.finish(desk.sweep(*line, "+hydra.launcher.additional_parameters.begin=now+1hour",
                           "--detach"))  # fmt: skip
    assert desk.states() == ["queued", "queued"]
    wait_for(lambda: "BeginTime" in desk.word("status"), 30, "SLURM to say why they wait")
    assert "cancelled 1 run" in desk.word("cancel", "seed=0")
    assert desk.states() == ["interrupted", "queued"]
    assert desk.run("seed=0").status.error == "cancelled"
    desk.word("cancel")
    desk.finish(desk.sweep(*line, "hydra.launcher.runs_per_job=2", "--detach"))
    text = desk.word("cancel", "seed=1")
    assert "cancelled 0 runs" in text
    assert "is not cancelled: it has 1 more run" in text


def test_fail_fast_cancels_the_rest(desk: Desk) -> None:
    shutil.copy(Path(__file__).with_name("faulty.py"), desk.folder)
    (desk.folder / "raise-16").touch()
    line = (*FAULTY[:1], *MINUTES, "model.hidden=[16],[17],[18]", "fail_fast=true")
    desk.finish(desk.sweep(*line), code=1)
    assert desk.states() == ["failed", "interrupted", "interrupted"]
    assert not desk.cluster.queue()


def test_the_code_is_compared_at_start(desk: Desk) -> None:
    line = (*MINUTES, "on_code_change=error,warn", "stop_after=2")
    shifted = ("+hydra.launcher.additional_parameters.begin=now+1hour",)
    desk.finish(desk.sweep(*MINUTES, "seed=0", "on_code_change=error", *shifted, "--detach"))
    desk.finish(desk.sweep(*MINUTES, "seed=1", "stop_after=2", *shifted, "--detach"))
    for run in desk.runs():
        content = json.loads(run.folder.submitted.read_text())
        content["code"]["source"] = "0" * 16
        run.folder.submitted.write_text(json.dumps(content))
    for job in desk.cluster.queue():
        desk.cluster.call("scontrol", "update", f"JobId={job[0]}", "StartTime=now")
    wait_for(lambda: set(desk.states()) == {"failed", "interrupted"}, 90, line)
    assert "the code differs" in (desk.run("seed=0").status.error or "")
    assert desk.run("seed=0").status.epoch is None
    assert "WARNING the code differs" in desk.run("seed=1").folder.log.read_text()


def test_two_launchers_at_once_submit_once(desk: Desk) -> None:
    both = [desk.sweep(*SECONDS, "seed=range(3)") for _ in range(2)]
    outputs = [desk.finish(process)[0] for process in both]
    assert sum("3 runs submitted" in out for out in outputs) == 1, outputs
    assert len(desk.sweeps()) == 1
    assert {run.status.attempt for run in desk.runs()} == {1}


@pytest.mark.parametrize(
    ("words", "fragments"),
    [
        (["hydra.launcher.partition=nope"], ["hydra.launcher.partition=nope", "invalid partition"]),
        (["hydra.launcher.mem_gb=9999"], ["hydra.launcher.mem_gb=9999", "emory"]),
        (["out=taken"], ["out=taken", "must be a folder"]),
        (["out=pct%j"], ["out=pct%j", "without %", "/pct%j/"]),
        (
            ["+hydra.launcher.additional_parameters.job-name=x"],
            ["hydra.launcher.additional_parameters.job-name=x", "by the launcher itself"],
        ),
    ],
    ids=lambda case: case[0],
)
def test_what_cannot_be_submitted_leaves_nothing(
    desk: Desk, words: list[str], fragments: list[str]
) -> None:
    (desk.folder / "taken").touch()
    _, err = desk.finish(desk.sweep(*SECONDS, *words), code=2)
    assert err.count("\n") == 1
    assert all(text in err for text in ["error: ", *fragments])
    assert [path.name for path in desk.folder.iterdir()] == ["taken"]


def test_submit_from_a_machine_without_sbatch(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(desk.cluster.env, "PATH", "/nowhere")
    _, err = desk.finish(desk.sweep(*SECONDS), code=2)
    assert err == (
        "error: hydra/launcher=slurm: sbatch is not on PATH; run it on a login node, "
        "or hydra/launcher=local\n"
    )
    assert not list(desk.folder.iterdir())


def test_tiny_settings_are_those_of_the_sweep(desk: Desk) -> None:
    """``--dry-run`` lists what a submission would do, and does none of it."""
    text, _ = desk.finish(desk.sweep(*TINY, "seed=0,1", "--dry-run"))
    assert text.count("start  new") == 2
    assert not list(desk.folder.iterdir())
