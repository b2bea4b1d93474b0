"""The command line: help, --cfg, sweeps, exit codes."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from tests.composing import composed

from bnnrepro.cli.run import main
from bnnrepro.config import check

TINY = ["preset=smoke", "model.hidden=[8]", "batch_size=20", "device=cpu", "threads=1"]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def results(folder: Path) -> list[Path]:
    return sorted(folder.glob("multirun/**/result.json"))


@pytest.mark.parametrize("overrides", [[], ["method=pmf", "dataset=cifar100", "method.lr=0.5"]])
def test_cfg_job_is_the_config(overrides: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*overrides, "--cfg", "job"]) == 0
    text = capsys.readouterr().out
    assert check(OmegaConf.create(text)) == composed(*overrides)
    assert "# " in text


def test_cfg_of_a_part(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--cfg", "job", "--package", "evaluate"]) == 0
    assert OmegaConf.create(capsys.readouterr().out) == composed().to_dict()["evaluate"]


def test_help_lists_every_option_and_key(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["method=pmf", "--help"]) == 0
    text = capsys.readouterr().out
    for word in ("cifar100", "lrnet_big", "short_mnist_bayesbinn", "rho:", "beta_max:", "seed:"):
        assert word in text
    assert "temperature:" not in text
    groups = re.findall(r"(?m)^(\S+)=", text)
    assert (groups[:3], groups[-1]) == (["method", "dataset", "model"], "protocol")
    assert max(map(len, text.splitlines())) <= 110


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("lr=0.1", "did you mean method.lr?"),
        ("-m lr=1,2", "did you mean method.lr?"),
        ("--method ste", "a setting has no dashes: method=ste"),
        ("seed=1 --method=ste", "a setting has no dashes: method=ste"),
    ],
)
def test_a_setting_that_is_nearly_right_is_told(
    words: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words.split()) == 2
    assert hint in capsys.readouterr().err


@pytest.mark.parametrize("flags", [["--version"], ["--hydra-help"], ["--info", "defaults"]])
def test_flags_of_hydra(flags: list[str]) -> None:
    assert main(flags) == 0


def test_flags_may_stand_anywhere(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["seed=1", "--cfg", "job", "epochs=7"]) == 0
    config = OmegaConf.create(capsys.readouterr().out)
    assert (config.seed, config.epochs) == (1, 7)


def test_help_and_refusals_import_little() -> None:
    code = (
        "import sys; from bnnrepro.cli.run import main; "
        "codes = [main(line.split()) for line in ('--help', '--cfg job', 'method=nope')]; "
        "loaded = {'torchvision', 'sklearn', 'pandas', 'wandb', 'matplotlib'} & set(sys.modules); "
        "sys.exit(f'{codes}, loaded: {loaded}' if loaded or codes != [0, 0, 2] else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_a_default_run_imports_little(tmp_path: Path) -> None:
    """Of what takes a second: torch's compiler, scikit-learn, torchvision, pandas."""
    code = (
        "import sys; from bnnrepro.cli.run import main; "
        "codes = [main(['epochs=1', f'method={name}']) for name in ('bayesbinn', 'ste', 'pmf')]; "
        "heavy = {'torch._dynamo', 'sympy', 'sklearn', 'torchvision', 'pandas', 'matplotlib'}; "
        "sys.exit(f'{codes}, {heavy}' if (heavy := heavy & set(sys.modules)) or any(codes) else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_run_py_from_another_folder(tmp_path: Path) -> None:
    script = Path(__file__).parents[2] / "run.py"
    environment = {key: value for key, value in os.environ.items() if key != "HYDRA_FULL_ERROR"}
    done = subprocess.run(
        [sys.executable, str(script), "method=bayesbin"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: method=bayesbin")
    assert len(done.stderr.splitlines()) == 1


def test_a_single_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(TINY) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    (result,) = results(tmp_path)
    assert last.startswith("result: ")
    assert Path(last.removeprefix("result: ")).resolve() == result
    assert {each.name for each in tmp_path.iterdir()} == {"multirun"}
    assert not (tmp_path / "multirun" / ".hydra").exists()


def test_a_sweep_runs_every_combination(tmp_path: Path) -> None:
    assert main(["-m", "method=ste,bop", "seed=range(2)", *TINY]) == 0
    assert len(results(tmp_path)) == 4
    assert {each.name for each in (tmp_path / "multirun").iterdir()} == {"digits"}


def test_a_sweep_of_one_run(tmp_path: Path) -> None:
    assert main(["-m", *TINY]) == 0
    assert len(results(tmp_path)) == 1


def test_a_failing_run_does_not_stop_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models = tmp_path / "multirun" / "digits" / "mlp"
    models.mkdir(parents=True)
    (models / "bop").write_text("in the way of Bop's runs")
    assert main(["-m", "method=ste,bop,pmf", *TINY]) == 1
    assert len(results(tmp_path)) == 2
    failures = [each for each in capsys.readouterr().err.splitlines() if each.startswith("failed:")]
    assert len(failures) == 1
    assert "method=bop" in failures[0]
