"""Every link between the pages leads somewhere, and every page can be reached."""

import re
from pathlib import Path

import pytest

from .pages import DOCS, README, ROOT

LINK = re.compile(r"\]\(([^)\s]+)\)")
PAGES = [
    README,
    ROOT / "CHANGELOG.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "multirun" / "README.md",
    *sorted(DOCS.rglob("*.md")),
    *sorted((ROOT / "results").glob("**/README.md")),
]


def links(page: Path) -> list[tuple[Path, str]]:
    """The files that a page links to, each with the anchor or an empty string."""
    targets = LINK.findall(page.read_text(encoding="utf-8"))
    parts = [target.partition("#") for target in targets if "://" not in target]
    return [((page.parent / path).resolve() if path else page, anchor) for path, _, anchor in parts]


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def check(page: Path) -> None:
    targets = links(page)
    assert targets, "no link was checked"
    for path, anchor in targets:
        assert path.exists(), path
        assert not anchor or anchor in anchors(path), f"{path}#{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_page_links_to_others_and_all_its_links_lead_somewhere(page):
    check(page)


@pytest.mark.parametrize(
    "text", ["[x](nowhere.md)", "[x](runs.md#nowhere)", "[x](#nowhere)", "![x](images/nowhere.png)"]
)
def test_a_link_that_leads_nowhere_is_found(text, tmp_path):
    (tmp_path / "runs.md").write_text("# Runs\n")
    page = tmp_path / "page.md"
    page.write_text(f"# Page\n\n[runs](runs.md#runs) {text}\n")
    with pytest.raises(AssertionError, match="nowhere"):
        check(page)


def test_a_page_without_links_is_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# Page\n")
    with pytest.raises(AssertionError, match="no link was checked"):
        check(page)


def reached(start: Path) -> set[Path]:
    pages, waiting = set(), [start]
    while waiting:
        page = waiting.pop()
        if page not in pages and page.suffix == ".md":
            pages.add(page)
            waiting += [path for path, _ in links(page)]
    return pages


def test_the_index_links_to_every_page_of_docs():
    index = DOCS / "README.md"
    assert set(DOCS.rglob("*.md")) <= {index, *(path for path, _ in links(index))}


def test_every_page_can_be_reached_from_the_readme():
    assert set(PAGES) - {ROOT / "multirun" / "README.md"} <= reached(README)
