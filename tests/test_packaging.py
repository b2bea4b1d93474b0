"""The pinned set, the ranges and the conda environment say the same."""

import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from functools import partial
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import bnnrepro

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
    assert SpecifierSet(project()["requires-python"]).contains(version)


def test_make_help_lists_all_targets_in_groups():
    text = (ROOT / "Makefile").read_text()
    described = re.findall(r"^([a-z-]+):.*## ", text, flags=re.M)
    phony = re.search(r"^\.PHONY: (.*)$", text, flags=re.M)
    assert set(described) == set(phony[1].split())
    quiet = ["make", "--no-print-directory", "help"]  # an outer make's level would print more
    shown = subprocess.run(quiet, cwd=ROOT, capture_output=True, text=True, check=True)
    groups = shown.stdout.strip().split("\n\n")
    assert len(groups) > 4
    assert all(re.match(r"[A-Z].*\n(  [a-z-]+ +\S.*\n?)+$", group) for group in groups)
    assert re.findall(r"^  ([a-z-]+) ", shown.stdout, flags=re.M) == described


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """A folder with the sdist, and the wheel that is built from it."""
    folder = tmp_path_factory.mktemp("dist")
    run = partial(subprocess.run, cwd=ROOT, check=True, capture_output=True, text=True)
    run([sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", str(folder)])
    (sdist,) = folder.glob("*.tar.gz")
    build = ["--no-build-isolation", "--no-deps", "--no-index", "-w", str(folder)]
    run([sys.executable, "-m", "pip", "wheel", *build, str(sdist)])
    return folder


@pytest.mark.slow
def test_the_wheel_from_the_sdist_has_all_that_the_checkout_has(built):
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (metadata,) = [name for name in names if name.endswith("/METADATA")]
        described = archive.read(metadata).decode()
    tracked = subprocess.run(
        ["git", "ls-files", "src", "conf"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    wanted = {re.sub("^conf/", "bnnrepro/conf/", name.removeprefix("src/")) for name in tracked}
    assert {"bnnrepro/py.typed", "bnnrepro/conf/config.yaml"} <= wanted <= names
    assert re.findall("^Provides-Extra: (.*)$", described, re.MULTILINE) == [*extras()]
    with tarfile.open(*built.glob("*.tar.gz")) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    assert {
        "README.md",
        "LICENSE",
        "CITATION.cff",
        "constraints.txt",
        "tests/conftest.py",
    } <= inside


@pytest.mark.slow
def test_the_wheel_works_outside_the_checkout_and_without_the_extras(built, tmp_path):
    """Installed in an environment of its own, which borrows the base's dependencies alone."""
    run = partial(subprocess.run, cwd=tmp_path, check=True, capture_output=True, text=True)
    run([sys.executable, "-m", "venv", "clean"])
    python = tmp_path / "clean" / "bin" / "python"
    (wheel,) = built.glob("*.whl")
    run([python, "-m", "pip", "install", "--no-deps", "--no-index", wheel])
    borrow(tmp_path)
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}

    def bnnrepro(*words):
        return run([python.with_name("bnnrepro"), *words], env=env).stdout

    where = run([python, "-c", "import bnnrepro; print(bnnrepro.__file__)"], env=env).stdout
    assert where.startswith(str(tmp_path))
    small = ["preset=smoke", "model.hidden=[8]", "device=cpu", "threads=1"]
    result = bnnrepro("run", *small)
    assert "result: multirun/" in result
    folder = str(Path(result.splitlines()[-1].removeprefix("result: ")).parent)
    bnnrepro("sweep", *small, "method=ste,bop", "seed=range(2)")
    assert bnnrepro("results", "--csv").count("/bayesbinn/")
    assert "paired by seed" in bnnrepro("compare", "method=ste,bop", "--by", "method")
    assert "model.safetensors" in bnnrepro("export", folder)
    for words, extra in {
        ("run", *small, "seed=1", "logger=tensorboard"): "tensorboard",
        ("export", folder, "--format", "onnx"): "export",
        ("sweep", *small, "hydra/sweeper=optuna", "seed=0,1"): "search",
    }.items():
        refused = run([python.with_name("bnnrepro"), *words], env=env, check=False)
        assert refused.returncode == 2, words
        (line,) = refused.stderr.splitlines()
        assert line.endswith(f"pip install 'bnnrepro[{extra}]'")


def test_the_citation_is_of_this_version_and_has_every_rules_paper():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == bnnrepro.__version__
    cited = {work["url"].removeprefix("https://arxiv.org/abs/") for work in citation["references"]}
    others = {"BinaryOptimizer", "FullPrecision", "param_groups"}
    rules = [getattr(bnnrepro.optim, name) for name in set(bnnrepro.optim.__all__) - others]
    assert len(rules) == 10
    for text in [sys.modules[rule.__module__].__doc__ for rule in rules]:
        assert cited & set(re.findall(r"arXiv (\d{4}\.\d{5})", text)), text.splitlines()[0]


def test_a_release_needs_its_tag_and_its_section_of_the_changelog():
    script = [sys.executable, ROOT / ".github" / "release_notes.py"]
    run = partial(subprocess.run, capture_output=True, text=True, check=False)
    done = run([*script, f"v{bnnrepro.__version__}"])
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("The first version.")
    assert "## [" not in done.stdout
    refused = run([*script, "v9.9.9"])
    assert refused.returncode == 1
    assert "the tag is v9.9.9" in refused.stderr


@pytest.mark.slow
def test_workflows_forms_and_citation_are_well_formed():
    workflows = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
    forms = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("[!c]*.yml"))
    for schema, files in {
        "github-workflows": workflows,
        "github-actions": sorted((ROOT / ".github" / "actions").glob("*/action.yml")),
        "github-issue-forms": forms,
        "citation-file-format": [ROOT / "CITATION.cff"],
    }.items():
        check = ["check_jsonschema", "--builtin-schema", f"vendor.{schema}", *files]
        subprocess.run([sys.executable, "-m", *check], check=True)
    assert len(forms) == 2
    assert len(workflows) == 3
    targets = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.M))
    for file in workflows:
        for line in re.findall(r"run: make (.*)", file.read_text()):
            assert set(line.split(" ARGS")[0].split()) <= targets, line


def extras() -> list[str]:
    return sorted(project()["optional-dependencies"])


def borrow(folder: Path) -> None:
    """Let the environment below a folder import what this one has, but for us and the extras."""
    (site,) = folder.glob("clean/lib/python*/site-packages")
    (borrowed := folder / "borrowed").mkdir()
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if not entry.name.startswith(("onnx", "optuna", "tensorboard", "bnnrepro", "_editable")):
            (borrowed / entry.name).symlink_to(entry)
    site.joinpath("borrowed.pth").write_text(str(borrowed))


# Refuses every import but of the standard library, torch, NumPy and what these two import.
TORCH_ALONE = """
import sys
import numpy, torch, torch._dynamo
class TorchAlone:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in {"bnnrepro", "numpy", "torch", *sys.stdlib_module_names}:
            raise ModuleNotFoundError(f"{name} is not to be imported")
sys.meta_path.insert(0, TorchAlone())
"""
STEPS = """
import inspect
from bnnrepro import optim
names = set(optim.__all__) - {"BinaryOptimizer", "param_groups"}
for name in names:
    method, layer = getattr(optim, name), torch.nn.Linear(4, 2, bias=False)
    wanted = inspect.signature(method).parameters
    needed = {"train_set_size": 50, "total_steps": 40}.items()
    optimizer = method(
        layer.parameters(), train_samples=1, **{key: n for key, n in needed if key in wanted}
    )
    with optimizer.sampled_params(train=True):
        layer(torch.ones(3, 4)).square().mean().backward()
    optimizer.step()
print(len(names))
"""


@pytest.mark.slow
@pytest.mark.parametrize("first", ["", "import annotated_types\n"])
def test_the_optimizers_need_torch_and_numpy_alone(first):
    """They are imported and make a step where nothing else can be imported."""
    code = TORCH_ALONE + first + STEPS
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if first:  # the ban works
        assert "annotated_types is not to be imported" in done.stderr
    else:
        assert done.returncode == 0, done.stderr
        assert int(done.stdout) >= 11
