"""What is left to do, how it is frozen and announced, and what is refused; nothing is started."""

import itertools
import json
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from bnnrepro.cli.run import main
from bnnrepro.config.compose import compose, conf_dir, hydra_session, load
from bnnrepro.constraints import build, meanings
from bnnrepro.data import image_folder
from bnnrepro.errors import UserError
from bnnrepro.launch import job
from bnnrepro.launch.job import Batch, RunsFailedError
from bnnrepro.launch.payload import current_workdir, make_spec
from bnnrepro.launch.plan import make_plan
from bnnrepro.launch.retry import retry
from bnnrepro.launch.settings import Slurm
from bnnrepro.launch.submission import Reservation, Submission
from bnnrepro.runs import provenance, slurm_queue, status
from bnnrepro.runs.metrics import write_metrics
from bnnrepro.runs.query import find

TINY = ["model.hidden=[8]", "device=cpu", "threads=1", "preset=smoke", "batch_size=20"]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def _an_empty_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm_queue, "queue", lambda *_: {})


@pytest.fixture
def no_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_: None)


def planned(*points: list[str]) -> list:
    return make_plan([compose(*TINY, *point) for point in points], points)


def made(plan: list, **more: object) -> Submission:
    paths = [[str(run.run.folder.path.absolute())] for run in plan]
    return Submission.create("multirun", "test", {"kind": "local"}, paths)


def test_what_is_done_running_or_queued_is_not_to_do() -> None:
    (new,) = planned([])
    assert new.todo
    for state, todo in (("interrupted", True), ("failed", True), ("submitted", True)):
        new.run.folder.path.mkdir(parents=True, exist_ok=True)
        status.write(new.run.folder, state, submission="nobody knows it")
        assert planned([])[0].todo is todo, state
    status.write(new.run.folder, "submitted", here=True)
    assert not planned([])[0].todo
    status.write(new.run.folder, "running")
    assert not planned([])[0].todo
    status.write(new.run.folder, "failed")
    assert not planned(["on_failed=skip"])[0].todo


def test_a_finished_run_is_to_do_only_for_another_evaluation_or_on_demand(run_small) -> None:
    assert main(TINY) == 0
    assert [item.todo for item in planned([])] == [False]
    (one,) = planned([], ["evaluate.samples=3"])  # one folder, one run
    assert one.todo
    assert planned(["on_done=rerun"])[0].todo


def test_what_is_frozen_is_the_config_with_its_share_of_threads() -> None:
    (one,) = planned(["threads=null"], ["evaluate.samples=3", "threads=7"])
    first, second = make_spec(one, 5).typed()
    assert first == compose(*TINY, "threads=5")
    assert second == compose(*TINY, "threads=7", "evaluate.samples=3")


def test_a_reservation_is_undone_whole(tmp_path: Path) -> None:
    first, second = planned([], ["seed=1"])
    first.run.folder.path.mkdir(parents=True)
    status.write(first.run.folder, "failed", error="as before")
    before = first.run.folder.status.read_bytes()
    reservation = Reservation([first, second], "test-1")
    reservation.make()
    assert {run.state.name for run in find([Path("multirun")], {})[0]} == {"stale"}
    assert yaml.safe_load(second.run.folder.config.read_text()) == second.config.to_dict()
    reservation.undo()
    assert first.run.folder.status.read_bytes() == before
    assert [path.name for path in first.run.folder.path.iterdir()] == ["status.json"]
    assert not second.run.folder.path.exists()


def test_what_a_job_was_given_is_not_taken_back() -> None:
    first, second, third = planned([], ["seed=1"], ["seed=2"])
    reservation = Reservation([first, second, third], "test-1")
    reservation.make()
    reservation.assign({str(second.run.folder.path.absolute()): "17_1"})
    reservation.undo()
    state = status.read(second.run.folder)
    assert (state.state, state.submission, state.job) == ("submitted", "test-1", "17_1")
    assert second.run.folder.config.exists()
    assert not first.run.folder.path.exists()
    assert not third.run.folder.path.exists()


def test_a_job_that_was_faster_keeps_its_own_word() -> None:
    (one,) = planned([])
    reservation = Reservation([one], "test-1")
    reservation.make()
    status.write(one.run.folder, "running", job="17")
    reservation.assign({str(one.run.folder.path.absolute()): "99"})
    assert (status.read(one.run.folder).state, status.read(one.run.folder).job) == ("running", "17")


def test_a_job_runs_all_of_its_runs_and_records_what_fails_before_training() -> None:
    runs = planned(["seed=0"], ["seed=1", "dataset.shape=[1,9,9]"], ["seed=2"])
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR2)}
    batch = Batch([make_spec(item, 1) for item in runs], made(runs), current_workdir())
    Reservation(runs, batch.submission.name).make()
    try:
        with pytest.raises(RunsFailedError, match="1 of 3 runs failed"):
            batch()
        batch.runs.pop(1)
        batch()  # a job that is started again after its end has nothing to do
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    states = [status.read(item.run.folder) for item in runs]
    assert [state.state for state in states] == ["done", "failed", "done"]
    assert "dataset.shape" in (states[1].error or "")
    assert "Traceback" in runs[1].run.folder.log.read_text()


def test_a_damaged_result_is_not_done_and_a_sweep_makes_it_anew() -> None:
    line = ["-m", *TINY, "seed=0"]
    assert main(line) == 0
    result = planned(["seed=0"])[0].run.folder.result
    whole = json.loads(result.read_text())
    result.write_text(result.read_text()[:100])
    (again,) = planned(["seed=0"])
    assert (again.run.state.name, again.todo) == ("damaged", True)
    assert main(line) == 0
    assert json.loads(result.read_text())["final"] == whole["final"]
    assert planned(["seed=0"])[0].run.state.name == "done"


def test_a_stopped_sweep_starts_nothing_more() -> None:
    runs = planned(["seed=0"])
    sweep = made(runs)
    Reservation(runs, sweep.name).make()
    sweep.stopped.touch()
    before = signal.getsignal(signal.SIGTERM)
    Batch([make_spec(item, 1) for item in runs], sweep, current_workdir(), fail_fast=True)()
    signal.signal(signal.SIGTERM, before)
    state = status.read(runs[0].run.folder)
    assert (state.state, state.error) == ("interrupted", job._STOPPED)


def test_sequential_fail_fast_starts_nothing_after_a_failure(
    capsys: pytest.CaptureFixture[str],
) -> None:
    line = ["-m", *TINY, "seed=0,1,2", "dataset.shape=[1,9,9]"]
    assert main(line) == 1
    assert capsys.readouterr().err.count("failed: ") == 3
    assert main([*line, "fail_fast=true"]) == 1
    shown = capsys.readouterr()
    assert shown.err.count("failed: ") == 1
    assert "2 more runs are not started" in shown.out
    assert "to retry them: python run.py -m" in shown.err


@pytest.mark.parametrize(
    ("line", "fragments"),
    [
        (["hydra/launcher=slurm"], ["hydra/launcher=slurm", "add -m:", "run.py -m hydra/launcher"]),
        (["cluster=example_gpu"], ["cluster=example_gpu", "add -m:", "run.py -m cluster"]),
        (["--detach"], ["--detach", "-m hydra/launcher=slurm"]),
        (["-m", "--detach", "seed=0"], ["--detach", "needs a launcher", "--detach hydra/launcher"]),
        (["-m", "hydra/launcher=slurm"], ["hydra/launcher=slurm", "sbatch is not on PATH"]),
        (["-m", "cluster=example_cpu"], ["hydra/launcher=slurm", "sbatch is not on PATH"]),
        (["-m", "cluster=mine"], ["cluster=mine", "example_cpu, example_gpu"]),
        (
            ["-m", "hydra/launcher=slurm", "hydra.launcher.timeout_min=0"],
            ["hydra.launcher.timeout_min=0", "a whole number >= 1"],
        ),
        (
            ["-m", "hydra/launcher=slurm", "+hydra.launcher.walltime=3"],
            ["hydra.launcher.walltime=3", "timeout_min"],
        ),
        (
            ["-m", "hydra/launcher=local", "hydra.launcher.runs_per_job=0"],
            ["hydra.launcher.runs_per_job=0", "[1, 10000]"],
        ),
        (["on_code_change=strikt"], ["on_code_change=strikt", "warn, error"]),
        (["fail_fast=2"], ["fail_fast=2", "true or false"]),
    ],
    ids=lambda words: " ".join(words),
)
@pytest.mark.usefixtures("no_slurm")
def test_refused_in_one_or_two_lines(
    line: list[str], fragments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*line, *TINY]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") <= 2
    assert all(text in error for text in fragments), error
    assert not list(Path.cwd().iterdir())


@pytest.mark.parametrize("file", sorted((conf_dir() / "cluster").glob("example_*.yaml")))
def test_an_example_of_a_cluster_is_a_slurm_launcher(file: Path) -> None:
    with hydra_session() as hydra:
        cfg = load(hydra.config_loader, [f"cluster={file.stem}", "hydra.launcher.qos=best"])
    values = {**cfg.hydra.launcher}
    assert values.pop("_target_").endswith(".SlurmLauncher")
    settings = build("hydra.launcher", values, Slurm)
    assert (settings.qos, settings.partition) == ("best", file.stem.partition("_")[2])


def test_every_key_of_a_launcher_is_explained() -> None:
    for name in ("slurm", "local"):
        text = (conf_dir() / "hydra" / "launcher" / f"{name}.yaml").read_text()
        keys = set(yaml.safe_load(text)) - {"_target_"}
        from bnnrepro.launch import settings

        cls = getattr(settings, name.capitalize())
        assert set(meanings(cls)) == keys


def test_a_dry_run_estimates_from_measured_epochs(capsys: pytest.CaptureFixture[str]) -> None:
    other, first = planned(["seed=7"], ["seed=7", "preset=quick"])
    for each, seconds in ((other, 7.0), (first, 1800.0)):  # of another preset, of this one
        each.run.folder.path.mkdir(parents=True)
        each.run.folder.config.write_text(yaml.safe_dump(each.config.to_dict()))
        write_metrics(each.run.folder.metrics, [{"epoch": 1, "seconds": seconds}])
        status.write(each.run.folder, "interrupted", epoch=1, epochs=1)
    line = ["-m", *TINY, "preset=quick", "seed=0,1", "method=bayesbinn,ste", "--dry-run"]
    assert main(line) == 0
    text = capsys.readouterr().out
    assert text.count("start  new") == 4
    assert text.count("  1.5 h") == 2, "three epochs of half an hour each"
    assert "4 of 4 to start (new 4); about 3.0 h" in text
    assert "no epoch was measured of digits/mlp/ste at quick" in text
    assert [path.name for path in Path().iterdir()] == ["multirun"]


def test_a_dry_run_of_one_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TINY, "--dry-run"]) == 0
    assert "1 of 1 to start" in capsys.readouterr().out


def test_retry_leaves_what_is_no_longer_itself(capsys: pytest.CaptureFixture[str]) -> None:
    first, second = planned(["seed=0"], ["seed=1"])
    for item in (first, second):
        item.run.folder.path.mkdir(parents=True)
        status.write(item.run.folder, "failed")
    text = yaml.safe_dump(first.config.to_dict())
    second.run.folder.config.write_text(text)  # of another signature
    runs, _ = find([Path("multirun")], {"state": ["failed"]})
    assert retry(runs, []) == 0
    shown = capsys.readouterr()
    assert shown.err.count("not retried: digits/mlp/bayesbinn/") == 2
    assert "nothing to retry among 2 runs" in shown.out


def test_retry_says_that_a_run_stopped_where_it_should(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TINY, "preset=quick", "stop_after=1"]) == 0
    (run,) = find([Path("multirun")], {})[0]
    assert run.state.name == "interrupted"
    capsys.readouterr()
    assert retry([run], []) == 0
    shown = capsys.readouterr()
    wanted = f"not retried: {run.name}: stopped as configured, stop_after=1"
    assert shown.err.splitlines() == [wanted]
    assert "nothing to retry among 1 run," in shown.out


def test_retry_takes_nothing_but_a_launcher() -> None:
    (one,) = planned([])
    one.run.folder.path.mkdir(parents=True)
    status.write(one.run.folder, "failed")
    one.run.folder.config.write_text(yaml.safe_dump(one.config.to_dict()))
    runs, _ = find([Path("multirun")], {})
    with pytest.raises(UserError, match="only a launcher"):
        retry(runs, ["hydra.verbose=true"])


def folder_of_pictures(root: Path, seed: int) -> list[str]:
    """Two classes of uncompressed pictures, all files of one size; the words that choose them."""
    draw = np.random.default_rng(seed)
    for split, label, number in itertools.product(("train", "test"), "ab", range(15)):
        path = root / split / label / f"{number}.bmp"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(0, 256, (8, 8), dtype=np.uint8)).save(path)
    return ["dataset=image_folder", f"dataset.root={root}", "dataset.size=8"]


def test_pictures_replaced_by_others_of_the_same_size_are_another_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed, done_before in ((0, 0), (0, 1), (1, 0), (0, 1)):
        words = folder_of_pictures(tmp_path / "pictures", seed)
        assert main([*TINY, *words]) == 0
        assert capsys.readouterr().out.count("done before") == done_before
    results = [json.loads(path.read_text()) for path in Path("multirun").rglob("result.json")]
    assert len({result["fingerprint"] for result in results} - {None}) == len(results) == 2


def test_data_known_by_content_are_read_once_for_many_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = folder_of_pictures(tmp_path / "pictures", 0)
    read = []

    def counting(**options: object) -> object:
        read.append(options)
        return read_pictures(**options)

    read_pictures = image_folder.load.arrays
    monkeypatch.setattr(image_folder.load, "arrays", counting)
    runs = planned(*[[*words, f"seed={seed}"] for seed in range(4)])
    assert len(read) == 1
    for item in runs:
        item.run.folder.path.mkdir(parents=True)
        status.write(item.run.folder, "failed")
        item.run.folder.config.write_text(yaml.safe_dump(item.config.to_dict()))
    with pytest.raises(UserError, match="only a launcher"):
        retry(find([Path("multirun")], {})[0], ["hydra.verbose=true"])
    assert len(read) == 2


def test_other_code_is_said_or_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TINY, "preset=quick", "stop_after=1"]) == 0
    (run,) = find([Path("multirun")], {})[0]
    known = json.loads(run.folder.env.read_text())
    assert known["source"] == provenance.code()["source"]
    run.folder.env.write_text(json.dumps({**known, "source": "0123456789abcdef"}))
    assert main([*TINY, "preset=quick", "on_code_change=error"]) == 2
    error = capsys.readouterr().err
    assert "on_code_change=error: the code differs: " in error
    assert "(source 01234567) when it was started" in error
    assert main([*TINY, "preset=quick", "stop_after=2"]) == 0
    assert "WARNING the code differs" in run.folder.log.read_text()
    assert main([*TINY, "preset=quick", "on_code_change=error"]) == 0, (
        "the last start was by this code"
    )


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk with no room at all."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a small disk")
    with (folder / "ballast").open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(4096)):
            pass
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_submits_nothing_and_leaves_nothing(
    full_disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["-m", *TINY, "hydra/launcher=local", f"out={full_disk}/runs", "seed=0,1"]
    assert main(line) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"out={full_disk}/runs: " in error
    assert "No space left" in error
    assert [path.name for path in full_disk.iterdir()] == ["ballast"]


def test_where_there_is_room_for_some_of_the_reservations_none_stays(
    full_disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (full_disk / "ballast").open("r+b") as ballast:
        ballast.truncate(ballast.seek(0, 2) - 24 * 1024)
    line = ["-m", *TINY, "hydra/launcher=local", f"out={full_disk}/runs", "seed=range(9)"]
    assert main(line) == 2
    assert "nothing was submitted" in capsys.readouterr().err
    assert [path.name for path in full_disk.iterdir()] == ["ballast"]
