"""Every command and every Python block that the pages print is run, in a shortened form.

The rules, by the language of a fence:

- ``text``, ``json``: output, or commands that need a network, a server or another program; not run.
- ``python``: run as printed, one after the other with the names of those before, as a reader would.
  A block whose first line names a file is written to that file instead; so is ``yaml``.
- ``sh``, line by line:
  - ``python run.py``: through the front door in this process, with ``SHORT`` added. Composing and
    checking are those of the line as printed. A run on data that are here then is trained, with its
    preset replaced by ``SMALL``; one on data that would have to be fetched ends there, after every
    check, each point of a sweep.
  - ``make TARGET``: ``make -n``; a ``python run.py`` that this prints is run by the rule above.
  - ``python FILE.py``, ``python -m MODULE``: with ``--help``.
  - anything else is an error: such a fence must be ``text``.

A finished run's folder in a page (``multirun/…/<signature>``) stands for that of a small run, and
``DIR`` for a folder of a few images.
"""

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bnnrepro import cli
from bnnrepro.config import check
from bnnrepro.config.compose import compose
from bnnrepro.config.schema import Preset
from bnnrepro.run import run
from bnnrepro.store.signature import signature

from .pages import PAGES, ROOT, Block, blocks

SHORT = ["threads=1", "device=cpu"]
SMALL = Preset("small", epochs=2, train_limit=120, test_limit=40)
FETCHED = ("mnist", "cifar10", "cifar100")
KNOWN = {"sh", "python", "yaml", "text", "json"}
SIGNATURE = re.compile(r"multirun(?:/\w+){3}/[0-9a-f]{10}")
README = ROOT / "README.md"
LIMITED = {"epochs", "train_limit", "test_limit"}


def shortened(config):
    """The same run on little data; a preset that shortens it already stays."""
    if config.preset.epochs is None:
        config = replace(config, preset=SMALL)
    stop = config.stop_after
    return replace(config, stop_after=stop and min(stop, config.effective_epochs))


@pytest.fixture
def reader(tmp_path, monkeypatch):
    """A reader's folder: run lines work in it, with what the pages ask for."""
    started = []

    def task(cfg):
        config = check(cfg)
        started.append(config)
        if config.dataset.name not in FETCHED:
            run(shortened(config))

    monkeypatch.setattr(cli, "task", task)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BNNREPRO_DATA", raising=False)
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    monkeypatch.setattr(sys, "path", [*sys.path])
    modules, threads = set(sys.modules), torch.get_num_threads()
    torch.set_num_threads(1)
    image_folder(tmp_path / "DIR")
    yield started
    torch.set_num_threads(threads)
    for name in set(sys.modules) - modules:
        if name.partition(".")[0] == "mybnn":
            del sys.modules[name]


def image_folder(root: Path) -> None:
    source = np.random.default_rng(0)
    for split, count in (("train", 20), ("test", 4)):
        for label in ("cat", "dog"):
            (root / split / label).mkdir(parents=True)
            for number in range(count):
                pixels = source.integers(0, 256, (40, 40, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / split / label / f"{number}.png")


def run_line(words: list[str], started: list) -> None:
    before = len(started)
    flags = {"--help", "--cfg"} & set(words)
    code = cli.main(words if flags else [*words, *SHORT])
    assert code == 0, " ".join(words)
    assert flags or len(started) > before, "nothing was started"


def make(words: list[str]) -> list[str]:
    done = subprocess.run(
        ["make", "-n", *words], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def run_command(words: list[str], started: list, monkeypatch: pytest.MonkeyPatch) -> None:
    while "=" in words[0]:
        name, _, value = words.pop(0).partition("=")
        monkeypatch.setenv(name, value)
        if name == "PYTHONPATH":
            monkeypatch.syspath_prepend(str(Path(value).resolve()))
    match words:
        case ["python", "run.py", *rest]:
            run_line(rest, started)
        case ["make", *rest]:
            for line in make(rest):
                _, command, arguments = line.partition("python run.py")
                if command:
                    run_line(arguments.split(), started)
        case ["python", "-m", module, *_]:
            helped("-m", module)
        case ["python", script, *_] if (ROOT / script).is_file():
            helped(str(ROOT / script))
        case _:
            pytest.fail(f"no rule for this command; mark the fence as text: {' '.join(words)}")


def helped(*program: str) -> None:
    command = [sys.executable, *program, "--help"]
    subprocess.run(command, check=True, capture_output=True, cwd=ROOT)


def stand_in(text: str) -> None:
    """Make a small finished run, and let every run's folder that the page names be it."""
    named = set(SIGNATURE.findall(text))
    if not named:
        return
    folder = run(replace(shortened(compose(*SHORT)), out="small")).folder.path.resolve()
    for name in named:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).symlink_to(folder)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_prints_works(page, reader, tmp_path, monkeypatch):
    found = blocks(page)
    if page.name != "extending.md":  # its files go elsewhere as well: see test_extending.py
        assert not [block for block in found if block.file]
    stand_in("".join(block.text for block in found if block.language == "python"))
    names = {"__name__": "__page__"}
    for block in [each for each in found if each.file]:
        block.write(tmp_path)
    for block in found:
        assert block.language in KNOWN, f"{block}: language {block.language!r}"
        if block.language == "sh":
            for words in block.commands():
                with monkeypatch.context() as patch:
                    run_command(words, reader, patch)
        elif block.language == "python" and block.file is None:
            exec(compile(block.text, str(block), "exec"), names)
