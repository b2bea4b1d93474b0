"""What the SLURM launcher asks of SLURM's programs, and believes of them; no cluster is needed."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from bnnrepro.cli.run import main as sweep
from bnnrepro.cli.runs import main
from bnnrepro.config.compose import conf_dir
from bnnrepro.launch.settings import Slurm
from bnnrepro.launch.slurm_jobs import SlurmJobs, split_into_arrays
from bnnrepro.runs import slurm_queue, status
from bnnrepro.runs.layout import RunFolder


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Put a shell script of a name before all programs."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)

    def put(name: str, text: str) -> None:
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)

    return put


def submitted(number: int) -> RunFolder:
    folder = RunFolder(Path(f"multirun/digits/mlp/ste/{number:010x}"))
    folder.path.mkdir(parents=True)
    status.write(folder, "submitted", job=f"17_{number}", submission="bnnrepro-a")
    return folder


def launcher(**changes: object) -> SlurmJobs:
    values = yaml.safe_load((conf_dir() / "hydra" / "launcher" / "slurm.yaml").read_text())
    del values["_target_"]
    return SlurmJobs(Slurm(**{**values, **changes}))


REFUSED = "echo 'scancel: error: {}' >&2; exit 1"


@pytest.mark.parametrize(
    ("says", "cancelled"),
    [
        ("exit 0", {0, 1}),
        ("echo > queue; " + REFUSED.format("Invalid job id specified"), {0, 1}),
        ("sed -i /17_0/d queue; " + REFUSED.format("Kill job error on job id 17_1: denied"), {0}),
        ("sed -i s/PENDING/COMPLETING/ queue; exit 1", {0, 1}),
        ("rm queue; " + REFUSED.format("Unable to contact slurm controller"), set()),
    ],
    ids=["all", "they have just ended", "one is refused", "they are ending", "no answer"],
)
def test_what_scancel_does_not_do_is_not_called_cancelled(
    program: Callable[[str, str], None],
    capsys: pytest.CaptureFixture[str],
    says: str,
    cancelled: set[int],
) -> None:
    program("scancel", says)
    program("squeue", "cat queue")
    queue = "17_0|PENDING|None|bnnrepro-a\n17_1|PENDING|None|bnnrepro-a\n"
    Path("queue").write_text(queue)
    runs = [submitted(number) for number in range(2)]
    assert main(["cancel"]) == (0 if len(cancelled) == 2 else 1)
    said = capsys.readouterr().out
    assert f"cancelled {len(cancelled)} run" in said
    for number, folder in enumerate(runs):
        state = "interrupted" if number in cancelled else "submitted"
        assert status.read(folder).state == state
        assert (f"job 17_{number} could not be cancelled: " in said) is (number not in cancelled)


def test_a_number_that_is_another_jobs_by_now_is_neither_waited_for_nor_cancelled(
    program: Callable[[str, str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    program("scancel", "touch cancelled")
    program("squeue", 'echo "17_0|RUNNING|None|a-strangers"')
    submitted(0)
    assert main(["status"]) == 0
    assert "1 run, stale 1" in capsys.readouterr().out
    assert main(["cancel"]) == 0
    assert "cancelled 0 runs" in capsys.readouterr().out
    assert not Path("cancelled").exists()


@pytest.mark.parametrize(
    ("state", "code", "words"),
    [("FAILED", "3:0", "FAILED, exit code 3"), ("CANCELLED", "0:15", "CANCELLED, signal 15")],
)
def test_how_a_job_ended_is_slurms_word_on_that_job(
    program: Callable[[str, str], None], state: str, code: str, words: str
) -> None:
    program("scontrol", f"echo JobId=5 JobName=bnnrepro-a JobState={state} ExitCode={code}")
    assert slurm_queue.describe_exit("5", "bnnrepro-a") == words
    assert slurm_queue.describe_exit("5", "a-strangers") == ""
    program("scontrol", "exit 1")
    assert slurm_queue.describe_exit("5", "bnnrepro-a") == ""


def test_a_users_own_filters_hide_no_job(
    program: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    program("squeue", '[ -n "$SQUEUE_STATES" ] || echo "17_0|PENDING|None|bnnrepro-a"')
    monkeypatch.setenv("SQUEUE_STATES", "RUNNING")
    assert slurm_queue.queue(["17_0"])


@pytest.mark.parametrize(
    ("inside", "hidden"),
    [
        (False, {"SBATCH_JOB_NAME", "SBATCH_WAIT"}),
        (True, {"SBATCH_JOB_NAME", "SBATCH_WAIT", "SLURM_JOB_ID", "SLURM_MEM_PER_CPU", "SRUN_X"}),
    ],
)
def test_a_submission_does_not_inherit_the_job_around_it(
    monkeypatch: pytest.MonkeyPatch, inside: bool, hidden: set[str]
) -> None:
    names = {"SLURM_CONF", "SLURM_MEM_PER_CPU", "SLURM_CLUSTERS", "SRUN_X", "HOME", "SBATCH_WAIT",
             "SBATCH_JOB_NAME", "SBATCH_QOS"} | ({"SLURM_JOB_ID"} if inside else set())  # fmt: skip
    monkeypatch.setattr(os, "environ", dict.fromkeys(names, "x"))
    with slurm_queue.outside_job(keep=["SBATCH_QOS"]):
        assert set(os.environ) == names - hidden
    assert set(os.environ) == names


@pytest.mark.parametrize(
    ("variables", "name"),
    [
        ({"SLURM_JOB_ID": "20"}, "20"),
        ({"SLURM_JOB_ID": "20", "SLURM_ARRAY_JOB_ID": "20", "SLURM_ARRAY_TASK_ID": "2"}, "20_2"),
        ({"SLURM_JOB_ID": "22", "SLURM_ARRAY_JOB_ID": "20", "SLURM_ARRAY_TASK_ID": "0"}, "20_0"),
    ],
)
def test_a_jobs_death_requeues_that_job_alone(
    tmp_path: Path, program: Callable[[str, str], None], variables: dict[str, str], name: str
) -> None:
    """The last of an array's jobs to start has the array's own number."""
    program("scontrol", 'echo "$@" >> requeued')
    from bnnrepro.launch.submission import Submission

    trap = launcher(max_deaths=1)._trap(Submission("bnnrepro-a", tmp_path, {}, []))
    for _ in range(2):
        subprocess.run(["bash", "-c", f"{trap}; exit 137"], env={**os.environ, **variables})
    assert Path("requeued").read_text() == f"requeue {name}\n"


SWEEP = ["-m", "hydra/launcher=slurm", "--detach", "seed=range(4)"]


@pytest.fixture
def sbatch(program: Callable[[str, str], None]) -> Callable[[str], None]:
    """A cluster with arrays of two, whose sbatch does as told; its jobs have number 17."""
    program("srun", "exit 1")
    program("scontrol", "echo 'MaxArraySize = 2'")
    program("scancel", 'echo "$@" >> cancelled')
    program("squeue", 'case $4 in --name=*) echo "${4#--name=}" > name;; esac\n'
                      '[ -e given ] && echo "17_0|PENDING|None|$(cat name)"')  # fmt: skip
    return lambda text: program("sbatch", text)


def test_what_was_submitted_before_a_refusal_is_kept_and_told(
    sbatch: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    sbatch("[ -e once ] && { echo 'sbatch: error: enough' >&2; exit 1; }\n"
           "touch once; echo Submitted batch job 17")  # fmt: skip
    assert sweep(SWEEP) == 2
    (record,) = Path().glob("multirun/.hydra/*/submission.json")
    said = f"sbatch refuses: enough; 2 of 4 runs had been submitted by then, as {record.parent}\n"
    assert capsys.readouterr().err == f"error: hydra/launcher=slurm: {said}"
    jobs = {job["job"]: job["runs"] for job in json.loads(record.read_text())["jobs"]}
    assert list(jobs) == ["17_0", "17_1"]
    folders = [path.parent.absolute() for path in Path().glob("multirun/*/*/*/*/status.json")]
    assert {str(folder) for folder in folders} == {run for runs in jobs.values() for run in runs}
    assert {status.read(RunFolder(folder)).job for folder in folders} == set(jobs)


def test_a_job_of_which_sbatch_gives_no_number_is_cancelled_and_nothing_stays(
    sbatch: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    sbatch("touch given; echo 'sbatch: error: Socket timed out' >&2; exit 1")
    assert sweep(SWEEP) == 2
    assert "sbatch refuses: Socket timed out" in capsys.readouterr().err
    assert Path("cancelled").read_text() == "17_0\n"
    assert not Path("multirun").exists()


@pytest.mark.parametrize("jobs", [1, 2, 7, 1001, 1002, 2500])
@pytest.mark.parametrize("largest", [1, 3, 1001])
@pytest.mark.parametrize("at_once", [1, 2, 64, 5000])
def test_arrays_hold_every_job_once_and_all_together_run_so_many_at_a_time(
    jobs: int, largest: int, at_once: int
) -> None:
    made = split_into_arrays(jobs, largest, at_once)
    assert [job for array in made for job in array.jobs] == list(range(jobs))
    sizes = [len(array.jobs) for array in made]
    assert 1 <= min(sizes) <= max(sizes) <= min(min(sizes) + 1, largest)
    assert len(made) == -(-jobs // largest), "no more arrays than are needed"
    chains: list[int] = []  # each array in the place of the one that it waits for
    places: dict[int, int] = {}
    for number, array in enumerate(made):
        if array.after is None:
            places[number] = len(chains)
            chains.append(array.at_once)
        else:
            assert array.after < number
            places[number] = places[array.after]
            assert chains[places[number]] == array.at_once
    assert sum(chains) == at_once


@pytest.mark.parametrize(
    ("said", "changes", "blamed"),
    [
        ("invalid partition specified: x", {"partition": "x"}, "hydra.launcher.partition=x"),
        ("invalid partition specified: x", {}, "hydra/launcher=slurm"),
        ("Invalid account or account/partition combination specified",
         {"account": "a", "partition": "x"}, "hydra.launcher.account=a"),
        ("Invalid account or account/partition combination specified",
         {"partition": "x"}, "hydra.launcher.partition=x"),
        ("Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)",
         {"account": "a", "qos": "q"}, "hydra/launcher=slurm"),
        ("Batch job submission failed: Socket timed out on send/recv operation",
         {"partition": "x"}, "hydra/launcher=slurm"),
        ("Requested time limit is invalid (missing or exceeds some limit)",
         {}, "hydra.launcher.timeout_min=240"),
        ("Invalid time specification (pos=0): xx\nInvalid --begin specification",
         {"additional_parameters": {"begin": "xx"}},
         "hydra.launcher.additional_parameters.begin=xx"),
        ("sbatch: unrecognized option '--foo-bar=1'", {"additional_parameters": {"foo_bar": 1}},
         "hydra.launcher.additional_parameters.foo_bar=1"),
        ("Invalid generic resource (gres) specification", {"gpus_per_node": 9},
         "hydra.launcher.gpus_per_node=9"),
        ("Invalid generic resource (gres) specification", {"additional_parameters": {"gres": "g"}},
         "hydra.launcher.additional_parameters.gres=g"),
        ("Memory specification can not be satisfied", {}, "hydra.launcher.mem_gb=4"),
        ("CPU count per node can not be satisfied", {}, "hydra.launcher.cpus_per_task=2"),
        ("Invalid node name specified", {"exclude": "n9"}, "hydra.launcher.exclude=n9"),
    ],
)  # fmt: skip
def test_a_refusal_names_the_key_that_it_is_about(
    said: str, changes: dict[str, object], blamed: str
) -> None:
    text = "\n".join(f"sbatch: error: {line}" for line in said.splitlines())
    assert str(launcher(**changes)._refused(text)).startswith(f"{blamed}: sbatch refuses: ")
