"""MkDocs hook: a page for each tutorial, which is a notebook in jupytext's percent format.

With ``DOCS_EXECUTE=1`` the notebooks are executed, and their pages show what the cells print.
"""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jupytext
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from nbclient import NotebookClient

FOLDER = "tutorials"
SECONDS = 120  # of a cell, at most


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages; the notebooks themselves are there to be downloaded."""
    for path in sorted(Path(config.docs_dir, FOLDER).glob("*.py")):
        text = page(path, execute=os.environ.get("DOCS_EXECUTE") == "1")
        files.append(File.generated(config, f"{FOLDER}/{path.stem}.md", content=text))
    return files


def page(path: Path, *, execute: bool) -> str:
    """Return a notebook as Markdown."""
    notebook = jupytext.read(path)
    if execute:
        run(notebook)
    first, *cells = notebook.cells
    download = f"This page is a notebook: [{path.name}]({path.name})."
    title, _, text = first.source.partition("\n")
    parts = [title, download, text.strip()]
    for cell in cells:
        if cell.cell_type == "markdown":
            parts.append(cell.source)
        else:
            parts += [f"```python\n{cell.source}\n```", *_outputs(cell)]
    return "\n\n".join(parts) + "\n"


def run(notebook: Any) -> None:
    """Execute a notebook in a folder of its own, which is removed; an error in a cell raises."""
    with tempfile.TemporaryDirectory() as folder:
        resources = {"metadata": {"path": folder}}
        settings = {"timeout": SECONDS, "kernel_name": "python3", "resources": resources}
        NotebookClient(notebook, **settings).execute()


def _outputs(cell: Any) -> Iterator[str]:
    for output in cell.outputs:
        if output.output_type == "stream":
            yield f"```text\n{output.text.rstrip()}\n```"
        elif "image/png" in output.get("data", {}):
            yield f"![Output](data:image/png;base64,{output.data['image/png'].strip()})"
        elif "text/html" in output.get("data", {}):
            yield "\n".join(line.strip() for line in output.data["text/html"].splitlines())
        elif "text/plain" in output.get("data", {}):
            yield f"```text\n{output.data['text/plain']}\n```"
