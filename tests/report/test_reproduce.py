"""``bnnrepro``: plan, question, sweep, report, and what interrupts them."""

import json
import os
import pty
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.cases import first_fast

from bnnrepro.cli.report import main, request_of
from bnnrepro.experiment import run
from bnnrepro.launch.costs import Cost
from bnnrepro.launch.dry_run import points_of
from bnnrepro.report.cells import Cell, Where, cells
from bnnrepro.report.plan import hours, plan_cells, plan_table
from bnnrepro.report.reproduce import _sweep, requested_cells
from bnnrepro.runs import status
from bnnrepro.runs.layout import RunFolder
from bnnrepro.runs.metrics import read_metrics

HERE = ("device=cpu", "threads=1")
METHODS = ("ste", "bop", "pmf", "bayesbinn", "full_precision")
COMMAND = [sys.executable, "-m", "bnnrepro"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BNNREPRO_DATA", str(tmp_path / "no_data"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


def start(*words: str, **more: object) -> subprocess.Popen[str]:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
    return subprocess.Popen([*COMMAND, *words], text=True, **{**pipes, **more})  # type: ignore[call-overload,no-any-return]


def finish(*words: str, code: int = 0) -> tuple[str, str]:
    started = start(*words)
    out, err = started.communicate(timeout=280)
    assert started.returncode == code, f"{out}\n{err}"
    return out, err


def of(sweep: str, seeds: int, where: Where | None = None) -> list[Cell]:
    out = "multirun"
    return cells(sweep, preset="smoke", seeds=seeds, out=out, overrides=HERE, where=where)


@pytest.mark.parametrize(
    ("only", "kept"),
    first_fast([("ste,mnist,bop", {("mnist", "ste"), ("mnist", "bop")}), ("mnist", set())]),
)
def test_a_part_of_a_table_is_its_cells_and_its_sweep(
    only: str, kept: set[tuple[str, str]]
) -> None:
    table = ["reproduce-table", "2", "--preset", "smoke"]
    request = request_of([*table, "--only", only])
    requested = requested_cells(request)
    shown = {(cell.dataset, cell.method) for cell in requested}
    if only == "mnist":  # and a method of one's own
        whole = requested_cells(request_of(table))
        kept = {(cell.dataset, cell.method) for cell in whole if cell.dataset == "mnist"}
    assert shown == kept
    swept = points_of(_sweep(request, requested, ["hydra/launcher=local"]))
    assert {(config.dataset.name, config.method.name) for _, config in swept} == kept


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "fragments"),
    [
        (["table", "2", "--only", "mnst"], ["--only=mnst", "did you mean 'mnist'?"]),
        (["table", "3"], ["table=3", "2, 6, 7, 10, 11"]),
        (["reproduce-table", "1"], ["table=1", "did you mean"]),
        (["figure", "flip"], ["figure=flip", "did you mean 'flips'?"]),
        (["table", "2", "--preset", "quik"], ["preset=quik", "did you mean 'quick'?"]),
        (["table", "2", "--seeds", "0"], ["seeds=0", "1 to 1000"]),
        (["table", "2", "--seeds", "1001"], ["seeds=1001", "1 to 1000"]),
        (["table", "2", "--seeds", "two"], ["seeds=two", "1 to 1000"]),
        (["reproduce-table", "2", "--launcher", "slrum"], ["launcher=slrum", "'slurm'?"]),
        (["reproduce-table", "2", "--launcher", "local", "cluster=example_cpu"], ["contradicts"]),
        (["reproduce-table", "2", "--preset", "smoke", "epochs=3"], ["epochs=3", "other runs"]),
        (["table", "2", "seed=1,2"], ["seed=1,2"]),
        (["table", "2", "nonsense"], ["nonsense", "key=value"]),
        (["tabel", "2"], ["tabel", "reproduce-table"]),
        (["table"], ["table=", "2, 6, 7, 10, 11"]),
        ([], ["command=", "reproduce-table"]),
    ],
    ids=" ".join,
)
def test_bad_input_is_a_line_and_leaves_nothing(
    words: list[str], fragments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert len(captured.err.splitlines()) <= 2
    assert captured.out == ""
    for fragment in fragments:
        assert fragment in captured.err
    assert not list(tmp_path.iterdir())


def test_slurm_is_refused_where_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert main(["reproduce-table", "11", "--preset", "smoke", "--launcher", "slurm"]) == 2
    assert "sbatch is not on PATH" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_plan_counts_what_is_done_and_prices_what_is_missing() -> None:
    two = {"dataset": ("mnist", "cifar10"), "method": ("ste",)}
    planned = of("table2", 2, two)
    run(planned[0].runs[0].config)
    plans = plan_cells(planned)
    assert [[each.todo for each in planned] for planned in plans.values()] == [
        [False, True],
        [True, True],
    ]
    costs = {
        planned[0].name: Cost(0.5, 1800.0, 0.0),
        planned[1].name: Cost(problem="no CIFAR10 there"),
    }
    total, counted, unknown = hours(plans, costs)
    assert (total, counted, unknown) == (1.0, 1, 2)  # one run of two epochs, half an hour each
    first, second, why = plan_table(plans, costs).splitlines()[1:]
    assert re.fullmatch(r"dataset=mnist method=ste +2 +1 +0 +1 +0\.5 +1\.8e\+03 +1", first)
    assert re.fullmatch(r"dataset=cifar10 method=ste +2 +0 +0 +2 +- +- +-", second)
    assert why == "no hours of dataset=cifar10 method=ste: no CIFAR10 there"


@pytest.mark.slow
def test_without_a_terminal_the_whole_protocol_needs_a_yes(tmp_path: Path) -> None:
    out, err = finish("reproduce-table", "11", *HERE, f"dataset.root={tmp_path}", code=2)
    assert "no MNIST there" in out
    assert "no CIFAR10 there" in out
    assert err.startswith("error: preset=paper: ")
    assert "YES=1" in err
    assert len(err.splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_plan_alone_starts_nothing_and_asks_nothing(tmp_path: Path) -> None:
    out, err = finish("reproduce-table", "11", "--plan", *HERE, f"dataset.root={tmp_path}")
    assert re.search(r"^experiment=table11_mnist_bayesbinn +5 +0 +0 +5 ", out, re.MULTILINE)
    assert "10 runs whose cost is not known" in out
    assert err == ""
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_figure_names_the_runs_that_it_lacks() -> None:
    out, _ = finish("figure", "6", "--preset", "smoke", *HERE)
    assert "not in the figure: dataset=mnist method=ste, " in out
    assert "seed 0: missing" in out


@pytest.mark.slow
def test_a_no_at_the_terminal_starts_nothing(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    started = start("reproduce-table", "11", *HERE, stdin=theirs)
    os.write(ours, b"n\n")
    out, err = started.communicate(timeout=120)
    os.close(ours)
    os.close(theirs)
    assert started.returncode == 0, err
    assert "Start the whole protocol? [y/N]" in out
    assert out.endswith("nothing was started\n")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_smoke_from_nothing_to_table_2_without_data(tmp_path: Path) -> None:
    out, _ = finish(
        "reproduce-table", "2", "--preset", "smoke", "device=cpu", "dataset.root=no_data"
    )
    results = [
        json.loads(path.read_text()) for path in Path("multirun").glob("*/*/*/*/result.json")
    ]
    assert len(results) == 15
    assert {(result["dataset"], result["stands_for"]) for result in results} == {
        ("digits", "mnist"),
        ("digits", "cifar10"),
        ("digits", "cifar100"),
    }
    assert {result["preset"] for result in results} == {"smoke"}
    assert not (tmp_path / "no_data").exists()
    folder = Path("reports/table2_smoke")
    for kind in ("md", "tex", "csv", "json", "html"):
        assert f"table: {folder}/table.{kind}" in out
        assert (folder / f"table.{kind}").stat().st_size > 0
    text = (folder / "table.md").read_text()
    assert "not the paper" in text
    for method in ("STE", "Bop", "PMF", "BayesBiNN (mode)", "BayesBiNN (mean)", "Full precision"):
        row = rf"^\| {re.escape(method)} [^|]*" + 3 * r"\| +\d+\.\d\d \(1\) " + r"\|$"
        assert re.search(row, text, re.MULTILINE), method
    again, _ = finish(
        "reproduce-table", "2", "--preset", "smoke", "device=cpu", "dataset.root=no_data"
    )
    assert "nothing is left to start" in again
    assert "measuring" not in again


@pytest.mark.slow
def test_half_of_the_cells_make_half_of_the_table(tmp_path: Path) -> None:
    for cell in of("table2", 1, {"dataset": ("mnist",)}):
        run(cell.runs[0].config)
    out, _ = finish("table", "2", "--preset", "smoke")
    data = json.loads(Path("reports/table2_smoke/table.json").read_text())
    assert "dataset=cifar10 method=ste" in json.dumps(data)
    assert "missing" in out


@pytest.mark.slow
def test_a_failing_run_is_named_and_the_rest_stands() -> None:
    first, second = (cell.runs[0] for cell in of("table11", 1))
    first.folder.create()
    first.folder.checkpoint.mkdir()  # a folder in the place of its checkpoint: it cannot be saved
    out, err = finish("reproduce-table", "11", "--preset", "smoke", *HERE, code=1)
    assert "dataset=" not in err
    assert "failed: " in err
    assert second.folder.result.exists()
    assert not first.folder.result.exists()
    assert Path("reports/table11_smoke/table.html").exists()
    assert "failed" in out


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_interrupted_ten_times_it_is_the_same_table_and_nothing_ran_twice() -> None:
    line = [
        "reproduce-table",
        "11",
        "--preset",
        "smoke",
        "--seeds",
        "3",
        *HERE,
        "checkpoint_seconds=0",
    ]
    chance = random.Random(0)
    done: dict[Path, int] = {}
    interruptions = 0
    while interruptions < 10:
        started = start(*line, start_new_session=True)
        time.sleep(chance.uniform(1, 14))
        _interrupt(started, chance.choice(["INT", "TERM", "KILL", "ALL"]))
        interruptions += 1
        for path in Path("multirun").glob("*/*/*/*/result.json"):
            done.setdefault(path, path.stat().st_mtime_ns)
    finish(*line)
    finish(*line, f"out={Path('undisturbed/multirun').absolute()}")
    for name in ("table.csv", "table.md"):
        ours, theirs = (Path(at) / "reports/table11_smoke" / name for at in (".", "undisturbed"))
        assert ours.read_text() == theirs.read_text()
    for path, written in done.items():
        assert path.stat().st_mtime_ns == written
    for cell in of("table11", 3):
        for expected in cell.runs:
            epochs = [int(row["epoch"] or 0) for row in read_metrics(expected.folder.metrics)]
            assert epochs == [1, 2]
            assert status.read(expected.folder).attempt <= 1 + interruptions


def _interrupt(started: subprocess.Popen[str], how: str) -> None:
    """Stop the command, with ``ALL`` its runs as well, all at once."""
    if started.poll() is None:
        if how == "ALL":
            for path in Path("multirun").glob("*/*/*/*/status.json"):
                state = status.read(RunFolder(path.parent))
                if state.state == "running" and status.alive(state):
                    os.kill(int(state.pid or 0), signal.SIGKILL)
            how = "KILL"
        started.send_signal(signal.Signals[f"SIG{how}"])
    started.communicate(timeout=120)
