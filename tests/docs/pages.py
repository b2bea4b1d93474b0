"""The fenced blocks of the pages that users read."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
README, DOCS = ROOT / "README.md", ROOT / "docs"
# tests/test_legacy.py runs that page, with the JSON file that it prints.
PAGES = [
    README,
    DOCS.parent / "CONTRIBUTING.md",
    *(page for page in sorted(DOCS.glob("*.md")) if page.name != "legacy.md"),
]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"(?:# @package _global_\n)?# ([\w./]+\.(?:py|yaml))\n")


@dataclass(frozen=True)
class Block:
    """A fenced block; ``file`` is the path in its first line, if that is a comment with one."""

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def file(self) -> str | None:
        named = FILE.match(self.text) if self.language in ("python", "yaml") else None
        return named[1] if named else None

    def write(self, folder: Path) -> None:
        """Write the block to its file below a folder, as a reader copies it."""
        path = folder / self.file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.text)

    def apply(self, folder: Path) -> list[str]:
        """Make a ``diff`` block's replacements in files below a folder; return their names."""
        files = re.findall(r"(?ms)^--- (\S+)\n(.*?)(?=^--- |\Z)", self.text)
        if self.language != "diff":
            return []
        for name, hunks in files:
            text = (folder / name).read_text()
            for hunk in hunks.split("@@\n")[1:]:
                lines = hunk.splitlines()
                old, new = ([x[1:] for x in lines if x[0] in f" {sign}"] for sign in "-+")
                assert "\n".join(old) in text, (name, old)
                text = text.replace("\n".join(old), "\n".join(new), 1)
            (folder / name).write_text(text)
        return [name for name, _ in files]

    def commands(self) -> list[list[str]]:
        """The words of each command; a backslash at a line's end continues it."""
        lines = self.text.replace("\\\n", " ").splitlines()
        return [words for line in lines if (words := shlex.split(line, comments=True))]


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    name = page.relative_to(ROOT).as_posix()
    return [
        Block(name, text.count("\n", 0, found.start()) + 1, found[1], found[2])
        for found in FENCE.finditer(text)
    ]
