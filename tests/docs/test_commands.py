"""Every command and every Python block that the pages print is run, in a shortened form.

The rules, by the language of a fence:

- ``text``, ``json``: output, or commands that need a network, a server or another program; not run.
- ``diff``: a training loop; both sides of it are run on a small network.
- ``python``: run as printed, one after the other with the names of those before, as a reader would.
  A block whose first line names a file is written to that file instead; so is ``yaml``.
- ``sh``, line by line:
  - ``python run.py``: through the front door in this process, with ``SHORT`` added. Composing and
    checking are those of the line as printed, at each point of a sweep. Then a run is trained, in
    the size that ``shortened`` gives it; one that needs a network, for data or wandb, ends here.
  - ``make TARGET``: ``make -n``; what this prints of ``python run.py`` and ``python -m
    bnnrepro.report`` goes by the other rules.
  - ``bnnrepro``: its words are read and its cells composed; nothing is run.
  - ``python FILE.py``, ``python -m MODULE``: with ``--help``.
  - anything else is an error: such a fence must be ``text``.

A finished run's folder in a page (``multirun/…/<signature>``) stands for that of a small run, and
``DIR`` for a folder of a few images.
"""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from operator import attrgetter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import bnnrepro.optim
from bnnrepro.cli import run as cli
from bnnrepro.cli.report import request_of
from bnnrepro.config import check
from bnnrepro.config.compose import compose
from bnnrepro.config.schema import Preset
from bnnrepro.experiment import run
from bnnrepro.launch import sweep
from bnnrepro.report import reproduce
from bnnrepro.runs.signature import signature

from .pages import DOCS, PAGES, README, ROOT, blocks

SHORT = ["threads=1", "device=cpu"]
SMALL = Preset("small", epochs=3, train_limit=120, test_limit=40)
FETCHED = ("mnist", "permuted_mnist", "cifar10", "cifar100", "kmnist")
KNOWN = {"sh", "python", "yaml", "text", "json", "diff"}
SIGNATURE = re.compile(r"multirun(?:/\w+){3}/[0-9a-f]{10}")
EXTENDING = DOCS / "extending.md"


def shortened(config):
    """The same run, short, on little data, an MLP with few units."""
    stop = config.stop_after and min(config.stop_after, SMALL.epochs - 1)
    model = config.model
    if hasattr(model, "hidden"):
        model = replace(model, hidden=[16 for _ in model.hidden])
    return replace(config, preset=SMALL, stop_after=stop, model=model)


def needs_network(config) -> bool:
    online = getattr(config.logger, "mode", None) == "online"
    return online or bool({config.dataset.name, config.evaluate.ood} & set(FETCHED))


@pytest.fixture
def reader(tmp_path, monkeypatch):
    """A reader's folder, a checkout without its code; gives the configs that were started in it."""
    started = []

    def task(cfg):
        config = check(cfg)
        started.append(config)
        if not needs_network(config):
            run(shortened(config))

    monkeypatch.setattr(cli, "run_composed", task)
    monkeypatch.setattr(sweep, "run_composed", task)
    monkeypatch.chdir(tmp_path)
    for name in os.environ:
        if name.startswith(("WANDB_", "BNNREPRO_DATA", "HYDRA_FULL_ERROR")):
            monkeypatch.delenv(name)
    monkeypatch.setattr(sys, "path", [*sys.path])
    shutil.copytree(ROOT / "conf", "conf")
    added = tmp_path / "src" / "bnnrepro" / "optim"
    monkeypatch.setattr(bnnrepro.optim, "__path__", [*bnnrepro.optim.__path__, str(added)])
    image_folder(tmp_path / "DIR")
    modules, threads = set(sys.modules), torch.get_num_threads()
    torch.set_num_threads(1)
    yield started
    torch.set_num_threads(threads)
    for name in set(sys.modules) - modules:
        if name.startswith(("mybnn", "bnnrepro.optim.")):
            del sys.modules[name]


def image_folder(root: Path) -> None:
    source = np.random.default_rng(0)
    for split, count in (("train", 60), ("test", 4)):
        for label in ("cat", "dog"):
            (root / split / label).mkdir(parents=True)
            for number in range(count):
                pixels = source.integers(0, 256, (40, 40, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / split / label / f"{number}.png")


def run_line(words: list[str], started: list) -> None:
    before = len(started)
    flags = {"--help", "--cfg"} & set(words)
    code = cli.main(["--config-path", "conf", *words, *([] if flags else SHORT)])
    assert code == 0, " ".join(words)
    searched = any(word.startswith("sweep=search_") for word in words)  # by other processes
    assert flags or searched or len(started) > before, "nothing was started"


def make(words: list[str]) -> list[str]:
    outer = {"MAKEFLAGS", "MAKEOVERRIDES", "MFLAGS", "ARGS"}  # of a `make test ARGS=...`
    env = {name: value for name, value in os.environ.items() if name not in outer}
    done = subprocess.run(
        ["make", "-n", *words], cwd=ROOT, capture_output=True, text=True, check=False, env=env
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
                _, command, arguments = line.partition("-m bnnrepro ")
                if command:
                    run_subcommand(arguments.split(), started)
        case ["bnnrepro", *rest]:
            run_subcommand(rest, started)
        case ["python", "-m", module, *_]:
            helped("-m", module)
        case ["python", script, *_] if (ROOT / script).is_file():
            helped(str(ROOT / script))
        case _:
            pytest.fail(f"no rule for this command; mark the fence as text: {' '.join(words)}")


def run_subcommand(words: list[str], started: list) -> None:
    command, *rest = words
    if command in ("table", "figure", "reproduce-table", "reproduce-figure"):
        composed(words)
    elif command in ("run", "sweep"):
        run_line([*(["-m"] if command == "sweep" else []), *rest], started)
    else:
        helped("-m", "bnnrepro", command)


def composed(words: list[str]) -> None:
    """Every cell of a table or figure composes with what the line says."""
    assert reproduce.requested_cells(request_of(words))


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


NAME = attrgetter("name")
FAST = ("README.md", "quickstart.md", "python.md")  # some take half a minute


def pages():
    for page in PAGES:
        marks = [] if page.name in FAST else [pytest.mark.slow]
        yield pytest.param(page, id=page.name, marks=marks)


@pytest.mark.parametrize("page", list(pages()))
def test_what_a_page_prints_works(page, reader, tmp_path, monkeypatch):
    found = blocks(page)
    stand_in("".join(b.text for b in found if b.language == "python" or "init_from=" in b.text))
    names: dict = {}
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


def test_the_readmes_diff_turns_a_real_valued_loop_into_a_binary_one():
    (block,) = [block for block in blocks(README) if block.language == "diff"]
    lines = block.text.splitlines()
    weights = []
    for side in "-+":
        torch.manual_seed(0)
        model = torch.nn.Linear(8, 2, bias=False)
        loader = [(torch.randn(4, 8), torch.tensor([0, 1, 0, 1]))] * 3
        code = "\n".join(line[1:] for line in lines if line[:1] in ("", " ", side))
        exec(compile(code, f"{block}, {side}", "exec"), {"model": model, "loader": loader})
        weights.append(model.weight.detach().abs())
    before, after = weights
    assert torch.equal(after, torch.ones(2, 8))
    assert not torch.equal(before, torch.ones(2, 8))


@pytest.mark.parametrize("page", [README, DOCS / "runs.md", DOCS / "python.md"], ids=NAME)
def test_the_run_that_a_page_shows_is_the_one_that_make_run_starts(page):
    shown = {Path(path).name for path in SIGNATURE.findall(page.read_text(encoding="utf-8"))}
    assert shown == {signature(compose().identity())}


def test_the_own_method_takes_its_own_protocol(reader, tmp_path, capsys):
    for block in blocks(EXTENDING):
        if block.file:
            block.write(tmp_path)
    line = ["method=signum", "--cfg", "job", "--package", "method.lr"]
    assert cli.main(["--config-path", "conf", *line]) == 0
    assert float(capsys.readouterr().out) == 3e-3


def test_the_own_method_works_in_a_project_of_its_own(reader, tmp_path, monkeypatch):
    """As the page says: only ``_target_`` changes."""
    monkeypatch.syspath_prepend(str(tmp_path))
    code, settings = (
        next(each for each in blocks(EXTENDING) if each.file == name)
        for name in ("src/bnnrepro/optim/signum.py", "conf/method/signum.yaml")
    )
    for folder in ("mybnn", "myconf/method"):
        Path(folder).mkdir(parents=True)
    Path("mybnn/signum.py").write_text(code.text)
    moved = settings.text.replace("bnnrepro.optim.signum", "mybnn.signum")
    Path("myconf/method/signum.yaml").write_text(moved)
    assert cli.main(["--config-dir", "myconf", "method=signum", *SHORT]) == 0
    assert reader[0].method._target_ == "mybnn.signum.Signum"


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_the_own_method_passes_the_fast_suite(tmp_path):
    """All tests made for the new method, and all others that know which methods there are."""
    copy = tmp_path / "copy"
    listed = ["git", "-C", str(ROOT), "ls-files", "-co", "--exclude-standard"]
    for name in subprocess.check_output(listed, text=True).splitlines():
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name)
    for words in (["init", "-q"], ["add", "."], [*AUTHOR, "commit", "-qm", "a copy"]):
        subprocess.run(["git", *words], cwd=copy, check=True)
    changed = [
        block.file
        for block in blocks(EXTENDING)
        if block.file in ("src/bnnrepro/optim/signum.py", "conf/method/signum.yaml")
        and block.write(copy) is None
    ]
    changed += [name for block in blocks(EXTENDING) for name in block.apply(copy)]
    assert len(changed) <= 7
    for command in (NEW_TESTS, METHODS_KNOWN, TABLE_2):
        done = subprocess.run(
            [sys.executable, *command],
            cwd=copy,
            env={**os.environ, "PYTHONPATH": str(copy / "src")},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-1000:]
    assert re.search(r"(?m)^Signum +[\d.]+ \(1\)", done.stdout), done.stdout


AUTHOR = ["-c", "user.name=tests", "-c", "user.email=tests@localhost"]
SUITE = [*("-m", "pytest", "-q", "-n", "2"), *("-p", "no:cacheprovider")]
NEW_TESTS = [*SUITE, "-m", "not slow", "-k", "signum"]
METHODS_KNOWN = [
    *(*SUITE, "-m", "not slow", "-k", "not signum"),
    *("tests/config", "tests/docs", "tests/report", "tests/test_top_level.py"),
]
TABLE_2 = ["-m", "bnnrepro", "reproduce-table", "2", "--preset", "smoke"]
