"""Print the changelog's section of a tag; fail unless the tag is the package's version.

python .github/release_notes.py v0.1.0
"""

import re
import sys
from pathlib import Path

import bnnrepro


def section(changelog: str, version: str) -> str:
    """Return what a changelog says of a version; an error if it says nothing."""
    found = re.search(
        rf"^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d\n(.*?)(?=^## \[|\Z)",
        changelog,
        re.MULTILINE | re.DOTALL,
    )
    if found is None or not found[1].strip():
        raise SystemExit(f"CHANGELOG.md has no section [{version}] with a date")
    return found[1].strip()


if __name__ == "__main__":
    tag = sys.argv[1]
    if tag != f"v{bnnrepro.__version__}":
        raise SystemExit(f"the tag is {tag}, the version {bnnrepro.__version__}")
    text = Path(__file__).parents[1].joinpath("CHANGELOG.md").read_text(encoding="utf-8")
    print(section(text, bnnrepro.__version__))
