"""The documentation's site: strict, complete, and without the network."""

import re
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

import bnnrepro
from bnnrepro.cli import COMMANDS
from bnnrepro.constraints import meanings

from .pages import DOCS, ROOT

REMOTE = re.compile(r"""<(?:script|link|img|iframe)[^>]*?(?:src|href)="?https?:|import\("https?:""")
PUBLIC = [getattr(bnnrepro, name) for name in bnnrepro.__all__ if name not in ("export", "optim")]
PUBLIC += [bnnrepro.export.export]
PUBLIC += [getattr(bnnrepro.optim, name) for name in bnnrepro.optim.__all__]


def build(config: Path, site: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", config, "-d", site]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = build(ROOT / "mkdocs.yml", folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_the_navigation_has_every_page():
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    listed = set(re.findall(r"^ +- (?:.*: )?(\S+\.md)$", text, re.MULTILINE)) | {"README.md"}
    pages = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    assert pages <= listed
    assert {f"{path.parent.name}/{path.stem}.md" for path in DOCS.glob("tutorials/*.py")} <= listed


@pytest.mark.slow
def test_every_page_is_on_the_site_and_loads_nothing_from_the_network(site):
    pages = {path.relative_to(site).as_posix() for path in site.rglob("*.html")}
    written = {
        path.relative_to(DOCS).with_suffix(".html").as_posix() for path in DOCS.rglob("*.md")
    }
    assert {name.replace("README", "index") for name in written} <= pages
    assert {"results/index.html", "pages.html", "tutorials/own_images.html"} <= pages
    for page in pages:
        assert not REMOTE.search((site / page).read_text(encoding="utf-8")), page


@pytest.mark.slow
def test_the_reference_has_all_public_names_commands_and_settings(site):
    inventory = (site / "objects.inv").read_bytes().split(b"\n", 4)[4]
    names = {line.split()[0] for line in zlib.decompress(inventory).decode().splitlines()}
    assert {f"{each.__module__}.{each.__name__}" for each in PUBLIC} <= names
    commands = (site / "reference" / "cli.html").read_text(encoding="utf-8")
    assert all(f'<h2 id="{name}">' in commands for name in COMMANDS)
    settings = (site / "reference" / "configuration.html").read_text(encoding="utf-8")
    for key in ("method.lr", "training.early_stopping", "dataset.augment.pad", "model.hidden"):
        assert f"<code>{key}</code>" in settings, key


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[x](../results/one/README.md#one)", None),
        ("[x](../src)", "src"),
        ("[x](../results/two/README.md)", "two"),
        ("[x](../results/one/README.md#two)", "two"),
        ("[x](nowhere.md)", "nowhere"),
    ],
)
def test_a_link_that_leads_nowhere_ends_the_build(text, reason, tmp_path):
    for name in ("docs", "results/one"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("README.md", "docs/README.md", "results/one/README.md"):
        (tmp_path / name).write_text("# One\n\n[page](page.md)\n" if name[0] == "d" else "# One\n")
    (tmp_path / "docs" / "page.md").write_text(f"# Page\n\n{text}\n")
    settings = (ROOT / "mkdocs.yml").read_text().partition("validation:")[2].partition("nav:\n  - ")
    hook = DOCS / "hooks" / "pages.py"
    (tmp_path / "mkdocs.yml").write_text(
        f"site_name: x\nhooks: [{hook}]\nplugins: []\nvalidation:{settings[0]}"
    )
    done = build(tmp_path / "mkdocs.yml", tmp_path / "site")
    assert (done.returncode == 0) == (reason is None), done.stderr
    assert reason is None or re.search(f"WARNING.*{reason}", done.stderr)


@pytest.mark.parametrize("public", PUBLIC, ids=lambda each: each.__name__)
def test_public_names_say_what_they_are_and_take(public):
    assert public.__doc__
    named = meanings(public)
    target = public.__init__ if isinstance(public, type) else public
    taken = set(target.__annotations__) - {"return"}
    assert taken <= set(named), taken - set(named)
    if isinstance(public, type):
        methods = {name: each for name, each in vars(public).items() if name[0] != "_"}
        assert [name for name, each in methods.items() if callable(each) and not each.__doc__] == []
