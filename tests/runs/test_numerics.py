"""Which code makes a run's numbers, and when its hash changes."""

import ast
import shutil
from pathlib import Path

import pytest

import bnnrepro
from bnnrepro.config.compose import compose
from bnnrepro.runs import provenance
from bnnrepro.runs.provenance import NO_NUMBERS, NUMBERS, makes_numbers
from bnnrepro.runs.signature import signature

PACKAGE = Path(bnnrepro.__file__).parent
FILES = sorted(file.relative_to(PACKAGE).as_posix() for file in PACKAGE.rglob("*.py"))
# What number-making code may use of the rest: it records, checks and reports, and computes nothing.
USED = {
    "config",
    "constraints",
    "errors",
    "importing",
    "runs",
    "screen",
    "experiment/console",
    "experiment/logs",
}
USED |= {"experiment/console", "experiment/logs", "training/loggers", "training/progress"}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the package whose code is hashed."""
    copy = Path(shutil.copytree(PACKAGE, tmp_path / "bnnrepro"))
    monkeypatch.setattr(provenance, "__file__", str(copy / "runs" / "provenance.py"))
    monkeypatch.setattr(provenance, "git_state", lambda folder: None)
    return copy


def numerics() -> object:
    return provenance.code()["numerics"]


CHANGES = {
    "optim/bop.py": ("threshold", "threshold * 2"),
    "models/mlp.py": ("hidden", "hidden + 1"),
    "data/dataset.py": ("seed", "seed + 1"),
    "tasks/classification.py": ("targets", "targets + 1"),
    "training/loop.py": ("batch_size", "batch_size + 1"),
    "experiment/parts.py": ("device", "str(device)"),
    "config/instantiation.py": ("values", "values | extra"),
    "seeds.py": ("seed", "seed + 1"),
}


def test_every_room_is_on_one_of_the_lists() -> None:
    entries = (*NUMBERS, *NO_NUMBERS)
    assert len(entries) == len(set(entries))
    for entry in entries:
        assert (PACKAGE / entry).exists(), entry
    for file in FILES:
        parts = file.split("/")
        known = any("/".join(parts[:length]) in entries for length in range(1, len(parts) + 1))
        assert known, f"{file}: does it make numbers?"


def test_code_that_makes_numbers_uses_no_other_code_that_might() -> None:
    for file in filter(makes_numbers, FILES):
        for node in ast.walk(ast.parse((PACKAGE / file).read_text())):
            if not isinstance(node, ast.ImportFrom) or not node.module:
                continue
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                place = name.removeprefix("bnnrepro.").replace(".", "/")
                if not name.startswith("bnnrepro.") or place.startswith(tuple(USED)):
                    continue
                parents = [place, place.rpartition("/")[0]]
                known = [f"{parent}{end}" for parent in parents for end in (".py", "/__init__.py")]
                ours = [module for module in known if module in FILES]
                assert ours, name
                assert all(map(makes_numbers, ours)), f"{file} imports {name}"


@pytest.mark.parametrize("room", NUMBERS)
def test_a_changed_line_changes_the_hash_and_a_docstring_does_not(package: Path, room: str) -> None:
    (file,) = [file for file in CHANGES if file == room or file.startswith(f"{room}/")]
    before = numerics()
    path = package / file
    text = path.read_text()
    lines = text.splitlines(keepends=True)
    rest = "".join(lines[ast.parse(text).body[0].end_lineno or 0 :])
    path.write_text(f'"""Another docstring."""\n{rest}\n# a comment\n')
    assert numerics() == before
    name, changed = CHANGES[file]
    loads = [
        node
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Load)
    ]
    node = loads[-1]
    line = lines[node.lineno - 1]
    lines[node.lineno - 1] = f"{line[: node.col_offset]}({changed}){line[node.end_col_offset :]}"
    path.write_text("".join(lines))
    assert numerics() != before


def test_a_moved_file_and_a_report_leave_the_hash_alone(package: Path) -> None:
    before, source = numerics(), provenance.code()["source"]
    (package / "report" / "tables.py").write_text("1")
    (package / "optim" / "bop.py").rename(package / "optim" / "bop_optimizer.py")
    assert numerics() == before
    assert provenance.code()["source"] != source
    (package / "optim" / "new.py").write_text("1")
    assert numerics() != before


def test_what_a_preset_computes_is_part_of_the_signature(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, short = compose("epochs=9"), compose("epochs=9", "preset=smoke", "preset.width=0.5")
    assert "computed" not in whole.identity()
    assert short.identity()["computed"] == {
        "epochs": short.effective_epochs,
        "model": {**short.to_dict()["model"], "hidden": short.effective_model.hidden},
    }
    before = signature(short.identity())
    monkeypatch.setattr(type(short.model), "narrowed", lambda self, share: self)
    assert signature(short.identity()) != before
    assert signature(whole.identity()) == signature(whole.to_dict())
