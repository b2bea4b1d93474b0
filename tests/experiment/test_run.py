"""One run and its folder: its files, what it does not repeat, and its failures."""

import csv
import json
import multiprocessing
import random
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.cases import first_fast

from bnnrepro.cli.run import main
from bnnrepro.config.compose import compose
from bnnrepro.errors import UserError
from bnnrepro.experiment import Result, RunFailedError, build
from bnnrepro.experiment import parts as building
from bnnrepro.runs import status
from bnnrepro.runs.layout import RunFolder
from bnnrepro.runs.metrics import COLUMNS, read_metrics
from bnnrepro.runs.query import find

RunSmall = Callable[..., Result]
SMALL = ["model.hidden=[32]", "checkpoint_seconds=0", "device=cpu", "threads=1"]
DIVERGES = ["method=full_precision", "method.lr=1e38", "scheduler=constant"]


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_times(part) for key, part in value.items() if key != "seconds"}
    return [without_times(part) for part in value] if isinstance(value, list) else value


def outcome(folder: RunFolder) -> tuple[Any, Any, dict[str, torch.Tensor]]:
    """Return a run's figures and weights, without durations."""
    result = json.loads(folder.result.read_text())
    weights = torch.load(folder.checkpoint)["model"]
    return without_times(result), without_times(read_metrics(folder.metrics)), weights


def assert_same(one: RunFolder, other: RunFolder) -> None:
    *figures, weights = outcome(one)
    *expected, expected_weights = outcome(other)
    assert figures == expected
    assert all(torch.equal(weights[name], value) for name, value in expected_weights.items())


def content(folder: RunFolder) -> dict[str, tuple[bytes, int]]:
    """Every file's bytes and the time it was written."""
    return {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.path.iterdir()}


# -- what is written ----------------------------------------------------------------------------


def test_the_result_has_every_key_of_the_contract(run_small: RunSmall) -> None:
    run = run_small("preset=smoke")
    result = run.values
    assert set(result) == {
        "signature", "preset", "seed", "task", "dataset", "model", "method", "epochs",
        "n_train", "n_validation", "n_test", "final", "best", "parameters", "seconds", "device",
        "precision", "noise", "stands_for", "fingerprint", "evaluate", "evaluations",
    }  # fmt: skip
    metrics = {"accuracy", "nll", "ece", "brier", "top5"}
    for moment in ("final", "best"):
        figures = result[moment]
        assert set(figures) == {"epoch", "train", "validation", "test", "uncertainty", "by_class"}
        assert set(figures["train"]) == {"accuracy", "loss"}
        for split in ("validation", "test"):
            assert set(figures[split]) == {"mode", "mean"}
            assert all(set(each) == metrics for each in figures[split].values())
    assert result["parameters"] == {
        "binary": 64 * 32 + 32 * 10,
        "real": 0,
        "bits": 64 * 32 + 32 * 10,
    }
    assert (result["n_train"], result["n_validation"], result["n_test"]) == (160, 40, 100)
    assert result["noise"] == "numpy SFC64, 16 bits a weight"
    assert run.path.parent.name == result["signature"]


def test_metrics_begin_with_the_columns_of_the_contract(run_small: RunSmall) -> None:
    run = run_small("epochs=3")
    with run.folder.metrics.open() as handle:
        header, *rows = csv.reader(handle)
    assert tuple(header[: len(COLUMNS)]) == COLUMNS
    assert "flipped" in header
    assert [row[0] for row in rows] == ["1", "2", "3"]


def test_best_is_the_first_epoch_of_the_best_validation_value(run_small: RunSmall) -> None:
    run = run_small("epochs=12")
    rows = read_metrics(run.folder.metrics)
    values = [row["validation_accuracy"] for row in rows]
    chosen = rows[values.index(max(values))]
    best = run.values["best"]
    assert best["epoch"] == chosen["epoch"]
    assert best["validation"]["mode"]["accuracy"] == pytest.approx(max(values), abs=1e-4)
    assert best["test"]["mode"]["accuracy"] == pytest.approx(chosen["test_accuracy"], abs=1e-4)
    assert best["train"]["loss"] == chosen["train_loss"]
    assert run.values["final"]["epoch"] == 12
    assert run.values["final"]["validation"]["mode"]["nll"] == pytest.approx(
        rows[-1]["validation_loss"], abs=1e-5
    )


@pytest.mark.parametrize(("preset", "epochs", "n_train"), [("quick", 3, 1150), ("smoke", 1, 160)])
def test_a_shortened_run_says_so(
    run_small: RunSmall, preset: str, epochs: int, n_train: int
) -> None:
    result = run_small(f"preset={preset}").values
    assert (result["preset"], result["epochs"], result["n_train"]) == (preset, epochs, n_train)


def test_without_a_validation_split_there_is_no_best(run_small: RunSmall) -> None:
    run = run_small("preset=smoke", "dataset.validation_split=0")
    assert "best" not in run.values
    assert "validation" not in run.values["final"]
    assert (run.values["n_train"], run.values["n_validation"]) == (200, 0)
    assert not run.folder.best.exists()
    assert not any(key.startswith("validation") for key in read_metrics(run.folder.metrics)[0])


@pytest.mark.parametrize("batch_size", [3, 53, 159, 160])
def test_a_last_batch_of_one_is_no_obstacle(run_small: RunSmall, batch_size: int) -> None:
    result = run_small("preset=smoke", f"batch_size={batch_size}").values
    assert result["n_train"] == 160  # 53 x 3 + 1, 3 x 53 + 1, 159 + 1
    assert np.isfinite(result["final"]["train"]["loss"])


# -- what is not done twice ---------------------------------------------------------------------


def test_a_finished_run_is_left_alone(run_small: RunSmall) -> None:
    first = run_small("preset=smoke")
    before = content(first.folder)
    again = run_small("preset=smoke")
    assert content(again.folder) == before
    assert again.values == first.values


def _cut_short(path: Path) -> None:
    path.write_text('{"signature": ')


def _without(key: str) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        content = json.loads(path.read_text())
        del content[key]
        path.write_text(json.dumps(content))

    return damage


def _of_another_run(path: Path) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | {"signature": "changed"}))


@pytest.mark.parametrize(
    "damage",
    first_fast([_cut_short, _without("n_train"), _without("evaluations"), _of_another_run]),
)
def test_a_damaged_result_is_made_anew_and_nothing_is_trained(
    damage: Callable[[Path], None], run_small: RunSmall, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = run_small().folder
    whole, trained = folder.result.read_text(), folder.metrics.read_bytes()
    damage(folder.result)
    spoilt = folder.result.read_bytes()
    run_small()
    assert without_times(json.loads(folder.result.read_text())) == without_times(json.loads(whole))
    assert folder.metrics.read_bytes() == trained
    assert (folder.path / "result.damaged.json").read_bytes() == spoilt
    assert "rebuilt from the checkpoint" in capsys.readouterr().err
    assert status.read(folder).state == "done"


def test_a_damaged_result_without_a_checkpoint_is_an_error(run_small: RunSmall) -> None:
    folder = run_small().folder
    _cut_short(folder.result)
    folder.checkpoint.unlink()
    with pytest.raises(UserError, match="not JSON"):
        run_small()
    assert folder.result.exists()


def test_another_evaluation_trains_nothing_and_is_added_once(run_small: RunSmall) -> None:
    first = run_small("preset=smoke", "method.temperature=1", "method.init=1", "method.lr=1e-6")
    before = content(first.folder)
    for _ in range(2):
        more = run_small(
            "preset=smoke",
            "method.temperature=1",
            "method.init=1",
            "method.lr=1e-6",
            "evaluate.samples=100",
        )
    after = content(more.folder)
    result = json.loads(more.folder.result.read_text())
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"result.json"}
    (added,) = result["evaluations"]
    assert added["evaluate"]["samples"] == 100
    assert added["final"]["test"]["mode"] == result["final"]["test"]["mode"]
    assert added["final"]["test"]["mean"] != result["final"]["test"]["mean"]
    assert {**result, "evaluations": []} == {**first.values, "evaluations": []}


def test_a_stopped_run_goes_on_to_the_same_end(run_small: RunSmall, tmp_path: Path) -> None:
    stopped = run_small("epochs=4", "stop_after=2")
    assert stopped.values is None
    assert status.read(stopped.folder).state == "interrupted"
    assert len(read_metrics(stopped.folder.metrics)) == 2
    run_small("epochs=4", "stop_after=2")
    assert len(read_metrics(stopped.folder.metrics)) == 2
    resumed = run_small("epochs=4")
    assert resumed.folder == stopped.folder
    assert "resumed after epoch 2 of 4" in resumed.folder.log.read_text()
    assert_same(resumed.folder, run_small("epochs=4", out=tmp_path / "undisturbed").folder)


def test_on_done_rerun_trains_again(run_small: RunSmall) -> None:
    first = run_small("preset=smoke")
    before, was = content(first.folder), outcome(first.folder)
    again = run_small("preset=smoke", "on_done=rerun")
    after = content(again.folder)
    assert all(before[name][1] < after[name][1] for name in before)
    assert outcome(again.folder)[:2] == was[:2]


# -- chance -------------------------------------------------------------------------------------


def test_the_seed_decides_split_weights_and_order() -> None:
    def built(seed: int) -> tuple[torch.Tensor, ...]:
        parts = build(compose(*SMALL, f"seed={seed}"))
        source = parts.sources.train
        batch, _ = next(source.epoch(0))
        weights = torch.cat([p.detach().flatten() for p in parts.trainer.model.parameters()])
        held_out = torch.cat([y for _, y in parts.sources.validation.epoch(0)])
        return held_out, batch, weights

    for one, same, other in zip(built(0), built(0), built(1), strict=True):
        assert torch.equal(one, same)
        assert not torch.equal(one, other)


def test_parts_of_a_users_own_may_draw_from_any_generator(monkeypatch: pytest.MonkeyPatch) -> None:
    """The seed fixes what data set, model and method find in the global generators."""
    made, drawn = building.instantiate, []

    def drawing(*arguments: Any, **named: Any) -> Any:
        drawn.append((random.random(), np.random.rand(), float(torch.rand(()))))
        return made(*arguments, **named)

    def built(seed: int) -> list[Any]:
        drawn.clear()
        random.seed()
        np.random.seed()
        torch.seed()
        build(compose(*SMALL, f"seed={seed}"))
        return drawn[:]

    monkeypatch.setattr(building, "instantiate", drawing)
    first = built(0)
    assert len(first) >= 3
    assert first == built(0)
    assert not {number for each in first for number in each} & {
        number for each in built(1) for number in each
    }


def test_the_same_seed_gives_the_same_bits(run_small: RunSmall, tmp_path: Path) -> None:
    expected = run_small("epochs=3", "model.dropout=0.5")
    torch.rand(17)  # what else draws in this process changes nothing
    assert_same(
        run_small("epochs=3", "model.dropout=0.5", out=tmp_path / "b").folder, expected.folder
    )


# -- failures -----------------------------------------------------------------------------------


def test_a_loss_that_is_not_finite(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    argv = [*SMALL, "epochs=3", *DIVERGES]
    assert main(argv) == 1
    err = capsys.readouterr().err
    assert err.startswith("error: the loss is")
    assert "at epoch 1, step" in err
    assert len(err.splitlines()) == 1
    (path,) = tmp_path.glob("multirun/digits/mlp/full_precision/*")
    folder = RunFolder(path)
    state = status.read(folder)
    assert state.state == "failed"
    assert "at epoch 1, step" in state.error
    assert "NonFiniteLossError" in folder.log.read_text()
    assert not folder.result.exists()

    assert main([*argv, "on_failed=skip"]) == 1
    assert "failed before (the loss is" in capsys.readouterr().err
    assert status.read(folder).attempt == 1
    assert main(argv) == 1
    assert status.read(folder).attempt == 2


def test_a_failed_run_that_can_go_on_is_tried_again(run_small: RunSmall) -> None:
    run = run_small("epochs=3", "stop_after=1")
    status.write(run.folder, "failed", error="for a reason that is gone")
    with pytest.raises(RunFailedError, match="for a reason that is gone"):
        run_small("epochs=3", "on_failed=skip")
    assert run_small("epochs=3").values is not None
    assert "resumed after epoch 1 of 3" in run.folder.log.read_text()
    assert status.read(run.folder).error is None


@pytest.mark.slow
def test_the_other_runs_of_a_sweep_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lrs = "method.lr=1e38,1e-3,2e-3"
    sweep = ["-m", *SMALL, "preset=smoke", "method=full_precision", "scheduler=constant", lrs]
    assert main(sweep) == 1
    assert len(list(tmp_path.glob("multirun/**/result.json"))) == 2
    (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("failed:")]
    assert "method.lr=1e+38" in line
    assert "at epoch 1, step" in line


@contextmanager
def no_file_above(size: int) -> Iterator[None]:
    """Let every write beyond so many bytes of a file fail."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_file_that_finds_no_room(
    run_small: RunSmall, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = [f"out={tmp_path / 'runs'}", *SMALL, "model.hidden=[256]", "epochs=4"]
    assert main([*argv, "stop_after=2"]) == 0
    capsys.readouterr()
    with no_file_above(100_000):
        assert main(argv) == 1
    assert_disk_is_full(capsys.readouterr().err)
    assert_goes_on(argv, tmp_path, run_small)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1.5 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1500k", "tmpfs", str(folder)]
    if (
        sys.platform != "linux"
        or subprocess.run(mount, capture_output=True, check=False).returncode
    ):
        pytest.skip("this user may not mount a small disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk(
    run_small: RunSmall, small_disk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = [f"out={small_disk / 'runs'}", *SMALL, "model.hidden=[256]", "epochs=4"]
    assert main([*argv, "stop_after=2"]) == 0
    capsys.readouterr()
    ballast = small_disk / "ballast"
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(4096)):
            pass
    assert main(argv) == 1
    assert_disk_is_full(capsys.readouterr().err)
    ballast.unlink()
    assert_goes_on(argv, tmp_path, run_small, small_disk / "runs")


def assert_disk_is_full(err: str) -> None:
    (line,) = [each for each in err.splitlines() if "resumed after" not in each]
    assert line.startswith("error: ")
    assert "No space left" in line or "File too large" in line
    assert "the same command resumes" in line


def assert_goes_on(
    argv: list[str], tmp_path: Path, run_small: RunSmall, runs: Path | None = None
) -> None:
    (path,) = (runs or tmp_path / "runs").glob("digits/mlp/bayesbinn/*")
    folder = RunFolder(path)
    assert not list(path.glob("*.tmp")) + list(path.glob(".*"))
    torch.load(folder.checkpoint)
    assert main(argv) == 0
    expected = run_small("model.hidden=[256]", "epochs=4", out=tmp_path / "undisturbed")
    assert_same(folder, expected.folder)


@pytest.mark.slow
def test_two_processes_in_one_folder(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Started at the same moment; the one that comes second refuses."""
    forks = multiprocessing.get_context("fork")
    gate = forks.Barrier(2)

    def work() -> None:
        gate.wait()
        sys.exit(main([f"out={tmp_path / 'runs'}", *SMALL, "epochs=60"]))

    both = [forks.Process(target=work) for _ in range(2)]
    for each in both:
        each.start()
    for each in both:
        each.join(120)
    assert sorted(each.exitcode for each in both) == [0, 2]
    (line,) = [x for x in capfd.readouterr().err.splitlines() if x.startswith("error:")]
    assert "is being run by" in line
    (path,) = tmp_path.glob("runs/digits/mlp/bayesbinn/*")
    assert status.read(RunFolder(path)).attempt == 1


@pytest.mark.parametrize("stop", [SystemExit(143), KeyboardInterrupt()])
def test_a_stop_before_the_first_step_is_an_interruption(
    run_small: RunSmall, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: BaseException
) -> None:
    from bnnrepro.experiment import execution

    def stopped(*_: object) -> None:
        raise stop

    with monkeypatch.context() as patch:
        patch.setattr(execution, "describe", stopped)
        with pytest.raises(type(stop)):
            run_small()
    (place,) = find([tmp_path / "runs"], {})[0]
    assert place.status.state == "interrupted"
    assert run_small().values is not None


def test_an_interrupted_notebook_cell_may_be_run_again(run_small: RunSmall) -> None:
    """A status that names this very process is no other one's."""
    run = run_small("epochs=2", "stop_after=1")
    status.write(run.folder, "running")
    assert run_small("epochs=2").values is not None


def test_every_start_of_a_run_leaves_its_environment(run_small: RunSmall) -> None:
    run_small("epochs=3", "stop_after=1")
    folder = run_small("epochs=3").folder
    recorded = json.loads(folder.env.read_text())
    assert len(recorded["earlier"]) == 1
    assert recorded["earlier"][0].keys() == recorded.keys() - {"earlier"}


def test_a_run_whose_evaluation_is_not_finite_fails(run_small: RunSmall) -> None:
    with pytest.raises(RunFailedError, match="validation loss is nan at epoch 1"):
        run_small("method=full_precision", "method.lr=1e30", "model.hidden=[512,512,512]")
