"""MkDocs hook: pages and files from outside ``docs/``, and the links to them.

The pages are written to be read in the repository, so they link to files by their places in it.
On the site a file of ``docs/`` is at the top; any other file that a page links to has its own path.
The README is the home page, and ``docs/README.md``, the list of all pages, is ``pages.md``.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

RENAMED = {"README.md": "index.md", "docs/README.md": "pages.md"}
LINK = re.compile(r"(\]\()([^)\s#]+)(#[^)\s]*)?(\))")
FENCE = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the README, the changelog, and every file that a page links to, page by page."""
    root = _root(config)
    files.remove(files.get_file_from_path("README.md"))
    inside = {f"docs/{file.src_uri}" for file in files}
    waiting = ["README.md", "docs/README.md", *(path for path in inside if path.endswith(".md"))]
    seen: set[str] = set()
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        if path not in inside:
            file = File.generated(config, _site_path(path), abs_src_path=str(root / path))
            files.append(file)
        if path.endswith(".md"):
            text = FENCE.sub("", (root / path).read_text(encoding="utf-8"))
            linked = [_linked(root, path, match[2]) for match in LINK.finditer(text)]
            waiting += [found for found in linked if found is not None]
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let the links of a page lead to the places on the site."""
    root = _root(config)
    if page.file.abs_src_path is None:
        return markdown  # made from the code, for the site
    source = Path(page.file.abs_src_path).relative_to(root).as_posix()

    def replaced(match: re.Match[str]) -> str:
        target = _linked(root, source, match[2])
        if target is None:
            return match[0]
        path = posixpath.relpath(_site_path(target), posixpath.dirname(page.file.src_uri))
        return f"{match[1]}{path}{match[3] or ''}{match[4]}"

    parts = FENCE.split(markdown)
    return "".join(part if part.startswith("```") else LINK.sub(replaced, part) for part in parts)


def _root(config: MkDocsConfig) -> Path:
    return Path(config.config_file_path).parent.resolve()


def _linked(root: Path, page: str, link: str) -> str | None:
    """Return the file of the repository that a page's link leads to; None if there is none."""
    path = posixpath.normpath(posixpath.join(posixpath.dirname(page), link))
    if "://" in link or path.startswith(".."):
        return None
    if (root / path / "README.md").is_file():
        path = posixpath.join(path, "README.md").removeprefix("./")
    return path if (root / path).is_file() else None


def _site_path(path: str) -> str:
    path = re.sub(r"^(docs/tutorials/\w+)\.py$", r"\1.md", path)  # the notebook's page
    return RENAMED.get(path, path.removeprefix("docs/"))
