"""A run's folder is data: whoever wrote it, nothing in it is executed, imported or resolved."""

import json
import shlex
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

import bnnrepro
from bnnrepro.cli import run as cli
from bnnrepro.cli.runs import main as store
from bnnrepro.config.compose import compose
from bnnrepro.config.parts import conf_dir
from bnnrepro.errors import UserError
from bnnrepro.launch import sweep
from bnnrepro.launch.submitter import Submitter
from bnnrepro.report.cells import Cell, Expected
from bnnrepro.report.collect import collect
from bnnrepro.runs import status
from bnnrepro.runs.layout import RunFolder
from bnnrepro.runs.query import Run, find

SMALL = ["model.hidden=[8]", "device=cpu", "threads=1", "preset=smoke", "batch_size=20"]
SECRET = "s3cr3t"
GROUPS = ("dataset", "model", "method", "scheduler", "logger")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with one finished run."""
    out = tmp_path_factory.mktemp("trust") / "multirun"
    assert cli.main([*SMALL, f"out={out}"]) == 0
    return out


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, with bait: a module that leaves ``canary`` when it is imported.

    Its ``hub`` is a folder for ``torch.hub`` that does the same.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SECRET", SECRET)
    canary = f"from pathlib import Path\nPath({str(tmp_path / 'canary')!r}).touch()\n"
    (tmp_path / "modules" / "hub").mkdir(parents=True)
    (tmp_path / "modules" / "bait.py").write_text(f"{canary}def build(**kwargs): ...\n")
    (tmp_path / "modules" / "hub" / "hubconf.py").write_text(f"{canary}def net(**kwargs): ...\n")
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    return tmp_path


@pytest.fixture
def run(finished: Path, place: Path) -> RunFolder:
    """A copy of the finished run, of this test alone."""
    shutil.copytree(finished, place / "multirun")
    return find([place / "multirun"], {})[0][0].folder


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The runs that would have been started."""
    planned: list[Any] = []
    monkeypatch.setattr(Submitter, "start", lambda self, runs: planned.extend(runs))
    monkeypatch.setattr(Submitter, "unfinished", lambda self, runs: [])
    return planned


def bait(group: str) -> Callable[[dict[str, Any]], Any]:
    return lambda config: {**config, group: {"_target_": "bait.build", "name": "x"}}


def system(config: dict[str, Any]) -> dict[str, Any]:
    called = {"_target_": "os.system", "name": "x", "command": "touch canary"}
    return {**config, "dataset": called}


def hub(config: dict[str, Any]) -> dict[str, Any]:
    called = {"_target_": "torch.hub.load", "name": "x", "source": "local", "model": "net"}
    return {**config, "model": {**called, "repo_or_dir": "modules/hub"}}


def of(key: str, value: object) -> Callable[[dict[str, Any]], Any]:
    """The config with one key changed."""

    def change(config: dict[str, Any]) -> dict[str, Any]:
        config = json.loads(json.dumps(config))
        node = config
        *path, last = key.split(".")
        for part in path:
            node = node[part]
        node[last] = value
        return config

    return change


def text(written: str) -> Callable[[dict[str, Any]], str]:
    return lambda config: f"{yaml.safe_dump(config)}{written}\n"


BOMB = "a: &a [x, x]\nb: &b [*a, *a]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n"
    for before, name in zip("bcdefghijkl", "cdefghijklm", strict=True)
)
HOSTILE: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    **{f"bait-{group}": (bait(group), f"{group}._target_=bait.build") for group in GROUPS},
    "os.system": (system, "dataset._target_=os.system"),
    "torch.hub": (hub, "model._target_=torch.hub.load"),
    "nested": (of("method.lr", {"_target_": "bait.build"}), "method.lr._target_=bait.build"),
    "in-a-list": (
        of("model.hidden", [8, {"_target_": "bait.build"}]),
        "model.hidden.1._target_=bait.build",
    ),
    "top": (of("_target_", "bait.build"), "_target_=bait.build"),
    "no-text": (of("method._target_", ["bait.build"]), "method._target_=["),
    "another-group": (
        of("model._target_", "bnnrepro.data.digits.load"),
        "model._target_=bnnrepro.data.digits.load",
    ),
    "environment": (of("seed", "${oc.env:SECRET}"), "seed=${oc.env:SECRET}"),
    "inside-text": (of("out", "x/${oc.env:SECRET}"), "out=x/${oc.env:SECRET}"),
    "interpolation": (of("method.lr", "${method.init}"), "method.lr=${method.init}"),
    "tag": (text("x: !!python/object/apply:os.system ['touch canary']"), "not plain YAML"),
    "name-tag": (text("x: !!python/name:bait.build"), "not plain YAML"),
    "bomb": (text(BOMB), "is an alias"),
    "alias-of-itself": (text("x: &x [*x]"), "is an alias"),
    "deep": (text("x: " + "[" * 400 + "]" * 400), "is nested more than 20 deep"),
    "deeper": (text("x: " + "[" * 10**5 + "]" * 10**5), "is nested more than 20 deep"),
    "digits": (text("x: " + "9" * 5000), "not plain YAML"),
    "no-date": (text("x: 2020-02-31"), "not plain YAML"),
    "date": (text("x: 2020-02-01"), "x=2020-02-01"),
    "number-key": (text("1: 2"), "keys must be strings"),
    "no-mapping": (lambda config: "- 1\n", "must be a mapping"),
}


def poisoned(run: RunFolder, change: Callable[[dict[str, Any]], Any]) -> None:
    made = change(yaml.safe_load(run.config.read_text()))
    run.config.write_text(made if isinstance(made, str) else yaml.safe_dump(made))


def nothing_happened(place: Path, said: str, started: Sequence[Any] = ()) -> None:
    assert not (place / "canary").exists()
    assert SECRET not in said
    assert not started


@pytest.mark.parametrize(("change", "word"), HOSTILE.values(), ids=HOSTILE)
def test_load_builds_nothing_that_a_folder_names(
    run: RunFolder, place: Path, change: Callable[[dict[str, Any]], Any], word: str
) -> None:
    poisoned(run, change)
    with pytest.raises(UserError) as refused:
        bnnrepro.load(run.path, device="cpu")
    said = str(refused.value)
    assert word in said
    assert said.count("\n") <= 1
    assert len(said) < 400
    nothing_happened(place, said)


@pytest.mark.parametrize(("change", "word"), HOSTILE.values(), ids=HOSTILE)
def test_retry_leaves_alone_what_names_something_else(
    run: RunFolder,
    place: Path,
    started: list[Any],
    capsys: pytest.CaptureFixture[str],
    change: Callable[[dict[str, Any]], Any],
    word: str,
) -> None:
    poisoned(run, change)
    run.result.unlink()
    status.write(run, "failed")
    assert store(["retry"]) == 0
    out, err = capsys.readouterr()
    assert err.startswith("not retried: digits/mlp/bayesbinn/")
    assert err.count("\n") == 1
    assert word in err
    assert "nothing to retry among 1 run" in out
    nothing_happened(place, out + err, started)


@pytest.mark.parametrize(("change", "word"), HOSTILE.values(), ids=HOSTILE)
def test_whatever_lists_runs_reads_data_alone(
    run: RunFolder,
    place: Path,
    started: list[Any],
    capsys: pytest.CaptureFixture[str],
    change: Callable[[dict[str, Any]], Any],
    word: str,
) -> None:
    poisoned(run, change)
    config = compose(*SMALL)
    cell = Cell("mine", {}, "smoke", "digits", "mlp", "bayesbinn", (Expected(0, run, config),))
    assert collect([cell])[0].used
    for words in (["status", "--all"], ["status", "epochs=7", "seed=x"], ["cancel"]):
        assert store(words) == 0
    assert len(bnnrepro.results("multirun", "epochs=7").groupby("folder")) <= 1
    state = "done" if Run(run).config else "damaged"
    assert set(bnnrepro.results("multirun")["state"]) == {state}
    assert cli.main([*SMALL, "--dry-run"]) == 0
    out, err = capsys.readouterr()
    assert not err
    nothing_happened(place, out, started)


def test_a_folder_that_nobody_touched_is_loaded_and_retried(
    run: RunFolder, started: list[Any]
) -> None:
    """Else the tests above would pass by refusing all."""
    loaded = bnnrepro.load(run.path, device="cpu").config
    assert loaded == compose(*SMALL, f"out={loaded.out}")
    run.result.unlink()
    status.write(run, "failed")
    assert store(["retry"]) == 0
    assert [planned.run.folder.path.name for planned in started] == [run.path.name]


# -- records of sweeps ------------------------------------------------------------------------


def recorded(run: RunFolder, folder: Path, *, runs: object = None, **launcher: object) -> None:
    folder.mkdir(parents=True)
    content = {
        "name": folder.name,
        "launcher": {**{"kind": "local"}, **launcher},
        "jobs": [{"job": None, "runs": runs or [str(run.path.absolute())]}],
    }
    (folder / "submission.json").write_text(json.dumps(content))
    run.result.unlink(missing_ok=True)
    status.write(run, "submitted", submission="sweep")
    status.write(run, "interrupted")


LOCAL = {"name": "local", "processes": 1, "threads": None, "gpus": None, "runs_per_gpu": 1}


def test_retry_takes_the_recorded_launcher_of_the_store(
    run: RunFolder, place: Path, started: list[Any]
) -> None:
    recorded(run, place / "multirun" / ".hydra" / "sweep", **LOCAL)
    assert store(["retry"]) == 0
    assert store(["retry", "multirun/.hydra/sweep"]) == 0
    assert len(started) == 2


@pytest.mark.parametrize("name", ["../../outside", "/tmp/outside", "..", ".", "a/b", ""])
def test_a_sweep_is_named_by_a_folder_in_the_store(
    run: RunFolder, place: Path, name: str, capsys: pytest.CaptureFixture[str], started: list[Any]
) -> None:
    recorded(run, place / "outside", **LOCAL)
    content = json.loads(run.status.read_text())
    run.status.write_text(json.dumps({**content, "submission": name}))
    assert status.read(run).state == "damaged"


def test_a_link_out_of_the_store_is_no_record(
    run: RunFolder, place: Path, capsys: pytest.CaptureFixture[str], started: list[Any]
) -> None:
    recorded(run, place / "other" / ".hydra" / "sweep", **LOCAL)
    (place / "multirun" / ".hydra").mkdir()
    (place / "multirun" / ".hydra" / "sweep").symlink_to(place / "other" / ".hydra" / "sweep")
    assert store(["retry"]) == 2
    assert "leads out of" in capsys.readouterr().err
    assert not started


@pytest.mark.parametrize(
    "path",
    [
        "{store}/../elsewhere/digits/mlp/ste/0123456789",
        "{place}/elsewhere/digits/mlp/ste/0123456789",
        "{store}/digits/mlp/ste/0123456789",  # a link
        "{store}/0123456789",
        "{store}/digits/mlp/ste/notes",
        "{store}",
        "/",
    ],
)
@pytest.mark.parametrize("action", ["status", "retry", "cancel"])
def test_a_record_names_runs_of_its_own_store_alone(
    run: RunFolder,
    place: Path,
    action: str,
    path: str,
    capsys: pytest.CaptureFixture[str],
    started: list[Any],
) -> None:
    outside = place / "elsewhere" / "digits" / "mlp" / "ste" / "0123456789"
    outside.mkdir(parents=True)
    (place / "multirun" / "digits" / "mlp" / "ste").mkdir()
    (place / "multirun" / "digits" / "mlp" / "ste" / "0123456789").symlink_to(outside)
    named = path.format(store=place / "multirun", place=place)
    recorded(run, place / "multirun" / ".hydra" / "sweep", runs=[named], **LOCAL)
    assert store([action, "multirun/.hydra/sweep"]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"error: sweep={named}: ")
    assert err.count("\n") == 1
    assert not started


@pytest.mark.parametrize("job", ["--user=me", "17 18", "-u", "x", ""])
def test_a_job_is_a_number(run: RunFolder, job: str) -> None:
    content = json.loads(run.status.read_text())
    run.status.write_text(json.dumps({**content, "job": job}))
    assert status.read(run).state == "damaged"


SLURM = {
    key: value
    for key, value in yaml.safe_load((conf_dir() / "hydra/launcher/slurm.yaml").read_text()).items()
    if key != "_target_"
} | {"kind": "slurm"}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("setup", ["touch canary"]),
        ("additional_parameters", {"export": "LD_PRELOAD=/tmp/x.so"}),
        ("partition", "normal\ntouch canary"),
        ("exclude", "n1'\ntouch canary #"),
    ],
)
def test_a_recorded_launcher_brings_no_shell_lines(
    run: RunFolder,
    place: Path,
    key: str,
    value: object,
    capsys: pytest.CaptureFixture[str],
    started: list[Any],
) -> None:
    recorded(run, place / "multirun" / ".hydra" / "sweep", **{**SLURM, key: value})
    assert store(["retry"]) == 2
    err = capsys.readouterr().err
    assert f"hydra.launcher.{key}=" in err
    assert err.count("\n") == 1
    assert not started
    assert store(["retry", "hydra/launcher=local"]) == 0
    assert len(started) == 1


@pytest.mark.slow
def test_the_shell_lines_of_a_cluster_that_is_still_there_are_taken(
    run: RunFolder, place: Path, started: list[Any]
) -> None:
    cluster = yaml.safe_load((conf_dir() / "cluster" / "example_cpu.yaml").read_text())
    setup = cluster["hydra"]["launcher"]["setup"]
    assert setup
    recorded(run, place / "multirun" / ".hydra" / "sweep", **{**SLURM, "setup": setup})
    assert store(["retry"]) == 0
    assert len(started) == 1


# -- own parts --------------------------------------------------------------------------------


@pytest.fixture
def project(place: Path) -> list[str]:
    """A project of the user's with a method of its own; the words that begin its lines."""
    (place / "modules" / "mine.py").write_text(
        "from bnnrepro.optim import STE\nclass Own(STE): ...\n"
    )
    (place / "myconf" / "method").mkdir(parents=True)
    shipped = (conf_dir() / "method" / "ste.yaml").read_text()
    yaml_text = shipped.replace("bnnrepro.optim.STE", "mine.Own").replace("name: ste", "name: own")
    (place / "myconf" / "method" / "own.yaml").write_text(yaml_text)
    return ["--config-dir", "myconf", "method=own", *SMALL]


@pytest.fixture
def own(project: list[str]) -> RunFolder:
    """A finished run of the project's method."""
    assert cli.main(project) == 0
    return find([Path("multirun")], {})[0][0].folder


OFFERS = {
    "config-dir": (["--config-dir", "myconf"], {"config_dir": "myconf"}),
    "word": (["method._target_=mine.Own"], None),
    "nothing": ([], {}),
}


@pytest.mark.parametrize(("words", "given"), OFFERS.values(), ids=OFFERS)
def test_own_parts_are_built_where_they_are_offered_again(
    own: RunFolder,
    words: list[str],
    given: dict[str, str] | None,
    capsys: pytest.CaptureFixture[str],
    started: list[Any],
) -> None:
    if given:
        loaded = bnnrepro.load(own.path, device="cpu", **given)
        assert type(loaded.trainer.optimizer).__name__ == "Own"
    elif given is not None:
        with pytest.raises(UserError, match=r"method\._target_=mine\.Own: is not offered"):
            bnnrepro.load(own.path, device="cpu")
    own.result.unlink()
    status.write(own, "failed")
    assert store(["retry", *words]) == 0
    assert len(started) == bool(words)
    assert ("method._target_=mine.Own: is not offered" in capsys.readouterr().err) == (not words)


def test_own_parts_are_listed_and_evaluated_again(
    own: RunFolder, project: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    line = project
    capsys.readouterr()
    assert cli.main([*line, "--dry-run"]) == 0
    assert store(["status", "-m", *line, "seed=0", "--all"]) == 0
    assert cli.main([*line, "evaluate.ece_bins=3"]) == 0
    out = capsys.readouterr().out
    assert "0 of 1 to start (done 1)" in out
    assert "1 run, done 1" in out
    assert len(json.loads(own.result.read_text())["evaluations"]) == 1


def test_a_detached_launcher_is_told_where_the_config_files_are(
    project: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(sweep, "start_detached", lambda words, out: told.extend(words) or 0)
    assert cli.main(["-m", "--detach", "hydra/launcher=local", *project]) == 0
    assert told[:2] == ["--config-dir", "myconf"]
    assert "method=own" in told


@pytest.mark.parametrize("how", [["method=own"], ["method=ste", "method._target_=mine.Own"]])
def test_the_line_that_retries_a_sweep_offers_its_own_parts(
    how: list[str],
    project: list[str],
    started: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(Submitter, "unfinished", lambda self, runs: [(run, "x") for run in runs])
    monkeypatch.setattr(Submitter, "where", "multirun/.hydra/x")
    line = [*project[:2], *how, *project[3:]]
    assert cli.main(["-m", "hydra/launcher=local", *line]) == 1
    last = shlex.split(capsys.readouterr().err.splitlines()[-1].partition("retry them: ")[2])
    assert last[:3] == ["bnnrepro", "retry", "multirun/.hydra/x"]
    (planned,) = started
    planned.run.folder.path.mkdir(parents=True)
    planned.run.folder.config.write_text(yaml.safe_dump(planned.config.to_dict()))
    status.write(planned.run.folder, "failed")
    monkeypatch.setattr(Submitter, "unfinished", lambda self, runs: [])
    assert store(["retry", *last[3:]]) == 0
    assert len(started) == 2


def test_a_config_dir_that_is_none_is_refused(run: RunFolder) -> None:
    with pytest.raises(UserError, match="config-dir=nowhere"):
        bnnrepro.load(run.path, config_dir="nowhere")
    assert store(["retry", "--config-dir", "nowhere"]) == 2


def test_a_frozen_run_keeps_text_that_looks_like_an_interpolation(place: Path) -> None:
    """What was resolved once is never resolved again."""
    from bnnrepro.launch.payload import make_spec
    from bnnrepro.launch.plan import make_plan

    config = compose(*SMALL, r"dataset.name='d'", r"out='a\${oc.env:SECRET}'")
    assert config.out == "a${oc.env:SECRET}"
    (planned,) = make_plan([config], [[]])
    (again,) = make_spec(planned, None).typed()
    assert again.out == config.out
