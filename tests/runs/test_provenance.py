import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bnnrepro.runs.provenance import PACKAGES, describe, git_state


def git(folder: Path, *arguments: str) -> None:
    who = ["-c", "user.name=n", "-c", "user.email=e@x.invalid", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", str(folder), *who, *arguments], check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    try:
        git(tmp_path, "init")
    except OSError:
        pytest.skip("no git here")
    (tmp_path / "code.py").write_text("1")
    return tmp_path


def test_it_is_json_and_names_what_ran() -> None:
    found = json.loads(json.dumps(describe(["run.py", "seed=1"])))
    assert found["command"] == "run.py seed=1"
    assert set(found["versions"]) == {"python", *PACKAGES}
    assert all(found["versions"].values())
    assert found["date"].endswith("+00:00")
    assert found["cores"] >= 1
    assert found["memory"] > 2**20


def test_the_thread_count_is_that_of_torch() -> None:
    import torch

    assert describe([])["threads"] == torch.get_num_threads()


def test_no_environment_variable_and_no_home_folder_enters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "somebody"
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("WANDB_API_KEY", "hidden-word")
    found = describe([f"{home}/run.py", f"out={home}/x y", f"root={home}", f"a={home}ly"])
    assert found["command"] == f"'~/run.py' 'out=~/x y' 'root=~' a={home}ly"
    assert "hidden-word" not in json.dumps(found)
    monkeypatch.setenv("HOME", "/")
    assert describe(["/a/b"])["command"] == "/a/b"


def test_git_tells_the_commit_and_whether_the_tree_is_changed(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(repository, "add", "code.py")
    assert git_state(repository) is None  # no commit yet
    git(repository, "commit", "-m", "first")
    monkeypatch.setenv("GIT_DIR", "/nowhere")  # as within a hook
    clean = git_state(repository)
    assert clean is not None
    assert len(str(clean["commit"])) == 40
    assert clean["dirty"] is False
    (repository / "new.py").write_text("")
    assert git_state(repository) == {**clean, "dirty": True}
    (repository / "new.py").unlink()
    (repository / "code.py").write_text("2")
    assert git_state(repository) == {**clean, "dirty": True}


def test_a_package_installed_within_a_repository_is_not_that_repository(repository: Path) -> None:
    git(repository, "add", "code.py")
    git(repository, "commit", "-m", "first")
    installed = repository / ".venv" / "package"
    installed.mkdir(parents=True)
    (installed / "__init__.py").touch()
    assert git_state(installed) is None
    assert git_state(Path(os.devnull).parent) is None


def test_without_git_there_is_no_state(monkeypatch: pytest.MonkeyPatch, repository: Path) -> None:
    monkeypatch.setenv("PATH", "")
    assert git_state(repository) is None


def test_the_store_imports_nothing_heavy() -> None:
    code = """
import importlib, pkgutil, sys
import bnnrepro.runs
for module in pkgutil.iter_modules(bnnrepro.runs.__path__, "bnnrepro.runs."):
    if module.name != "bnnrepro.runs.results":  # DataFrames; no other module imports it
        importlib.import_module(module.name)
from bnnrepro.runs.provenance import describe
assert describe([])["threads"] is None
print(sorted({"torch", "numpy", "sklearn", "wandb", "matplotlib"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
