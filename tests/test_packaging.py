"""The pinned set, the ranges and the conda environment say the same."""

import os
import re
import subprocess
import sys
import sysconfig
from functools import partial
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]


def project() -> dict:
    try:
        import tomllib
    except ModuleNotFoundError:  # Python 3.10
        pytest.skip("needs tomllib, Python 3.11")
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def pins() -> dict[str, Requirement]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    found = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {name(each): each for each in found}


def name(requirement: Requirement) -> str:
    return re.sub(r"[-_.]+", "-", requirement.name).lower()


def direct() -> list[Requirement]:
    described = project()
    wanted = [*described["dependencies"]]
    for extra in described["optional-dependencies"].values():
        wanted += extra
    return [each for each in map(Requirement, wanted) if each.name != described["name"]]


def test_every_dependency_is_pinned_within_its_range():
    pinned = pins()
    for requirement in direct():
        pin = pinned[name(requirement)]
        (exact,) = pin.specifier
        assert exact.operator == "=="
        assert requirement.specifier.contains(exact.version), requirement


def test_constraints_name_no_index_and_no_path():
    text = (ROOT / "constraints.txt").read_text()
    assert "://" not in text
    assert not re.search(r"^-", text, flags=re.M)


def test_conda_users_get_the_same_set():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    python, pip, nested = environment["dependencies"]
    assert pip == "pip"
    assert nested == {"pip": ["--constraint constraints.txt", "--editable .[dev]"]}
    version = python.removeprefix("python=")
    assert f"on Python {version}" in (ROOT / "constraints.txt").read_text()
    minimum = project()["requires-python"].removeprefix(">=")
    assert tuple(map(int, version.split("."))) >= tuple(map(int, minimum.split(".")))


def test_the_makefile_lists_its_targets(tmp_path):
    text = (ROOT / "Makefile").read_text()
    described = re.findall(r"^([a-z-]+):.*## ", text, flags=re.M)
    phony = re.search(r"^\.PHONY: (.*)$", text, flags=re.M)
    assert set(described) == set(phony[1].split())
    assert {"setup", "run", "test", "test-slow", "lint", "format", "types", "clean"} <= set(
        described
    )


@pytest.mark.slow
def test_the_wheel_works_outside_the_checkout(tmp_path):
    """Installed in an environment of its own, which borrows the dependencies alone."""
    run = partial(subprocess.run, cwd=tmp_path, check=True, capture_output=True, text=True)
    build = ["-m", "pip", "wheel", "--no-build-isolation", "--no-deps", "--no-index", "-w", "dist"]
    run([sys.executable, *build, str(ROOT)])
    (wheel,) = tmp_path.glob("dist/*.whl")
    run([sys.executable, "-m", "venv", "clean"])
    python = tmp_path / "clean" / "bin" / "python"
    run([python, "-m", "pip", "install", "--no-deps", "--no-index", wheel])
    (site,) = tmp_path.glob("clean/lib/python*/site-packages")
    site.joinpath("dependencies.pth").write_text(sysconfig.get_path("purelib"))

    def bnnrepro(*words):
        env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        return run([python.with_name("bnnrepro"), *words], env=env).stdout

    where = run([python, "-c", "import bnnrepro; print(bnnrepro.__file__)"]).stdout
    assert where.startswith(str(tmp_path))
    small = ["preset=smoke", "model.hidden=[8]", "device=cpu", "threads=1"]
    assert "result: multirun/" in bnnrepro("run", *small)
    bnnrepro("sweep", *small, "method=ste,bop", "seed=range(2)")
    assert bnnrepro("results", "--csv").count("/bayesbinn/")
    assert "paired by seed" in bnnrepro("compare", "method=ste,bop", "--by", "method")
