"""``bnnrepro show`` and ``bnnrepro clean`` on a finished and an unfinished run."""

import io
import json
import shutil

import pytest

import bnnrepro
from bnnrepro.cli import main

SMALL = ["method=ste", "model.hidden=[16]", "epochs=3", "threads=1", "device=cpu"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a finished run and one that was stopped."""
    out = tmp_path_factory.mktemp("made")
    bnnrepro.run(*SMALL, f"out={out}", "seed=1", "stop_after=2")
    bnnrepro.run(*SMALL, f"out={out}")
    return out


@pytest.fixture
def runs(made, tmp_path, capsys):
    """The words of the finished run, and its result."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    words = [*SMALL, f"out={tmp_path}"]
    result = bnnrepro.run(*words)
    capsys.readouterr()
    return words, result


def test_clean_asks_and_keeps_what_evaluation_and_loading_need(runs, tmp_path, capsys, monkeypatch):
    words, result = runs
    files = lambda: {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}  # noqa: E731
    before = files()
    monkeypatch.setattr("builtins.input", lambda question: "")
    assert main(["clean", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "MB  digits/mlp/ste/" in out
    assert "checkpoint.pt, best.pt" in out
    assert "nothing was removed" in out
    monkeypatch.undo()
    monkeypatch.setattr("sys.stdin", io.StringIO())  # at its end
    assert main(["clean", str(tmp_path)]) == 0
    assert "nothing was removed" in capsys.readouterr().out
    assert files() == before
    assert main(["clean", "--yes", str(tmp_path)]) == 0
    changed = {path for path in before if not path.exists() or path.read_bytes() != before[path]}
    folder = result.folder
    assert changed == {folder.checkpoint, folder.best}
    moments = 2 * 4 * (64 + 10) * 16  # bytes
    assert folder.checkpoint.stat().st_size <= len(before[folder.checkpoint]) - moments
    again = bnnrepro.run(*words, "evaluate.ece_bins=5")
    figures = again.values["evaluations"][0]["final"]["test"]["mode"]
    assert figures["accuracy"] == result.values["final"]["test"]["mode"]["accuracy"]
    assert bnnrepro.load(folder.path).trainer.predict(an_image()).shape == (1, 10)
    assert bnnrepro.run(*words, "seed=1").values is not None  # the other one goes on
    capsys.readouterr()
    assert main(["clean", str(folder.path)]) == 0
    assert "0 finished runs" in capsys.readouterr().out


def an_image():
    import torch

    return torch.zeros(1, 1, 8, 8)


def test_show_prints_settings_figures_and_confusions(runs, tmp_path, capsys):
    _, result = runs
    assert main(["show", str(result.folder.path)]) == 0
    out = capsys.readouterr().out
    assert "method     _target_ bnnrepro.optim.STE" in out
    accuracy = result.values["best"]["test"]["mode"]["accuracy"]
    assert f"accuracy {accuracy:.2f} %" in out
    matrix = json.loads(result.path.read_text())["best"]["by_class"]["mode"]["confusion"]
    assert any(line.split() == ["0", *map(str, matrix[0])] for line in out.splitlines())
    assert main(["show", str(tmp_path), "state=interrupted"]) == 0
    assert "interrupted" in capsys.readouterr().out
    assert main(["show"]) == 2
