"""The tutorials are notebooks that run from beginning to end, and show what they say."""

import re
from pathlib import Path
from typing import Any

import jupytext
import nbformat
import pytest
from nbclient import NotebookClient

from .pages import DOCS

SECONDS = 60  # of CPU time, with one thread
CLOCK = "import time\nprint('CPU seconds:', time.process_time())"


def executed(name: str, folder: Path) -> Any:
    notebook = jupytext.read(DOCS / "tutorials" / name)
    notebook.cells.append(nbformat.v4.new_code_cell(CLOCK))
    resources = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, timeout=240, kernel_name="python3", resources=resources).execute()
    return notebook


def printed(notebook: Any) -> str:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return "\n".join(output.text for output in outputs if output.output_type == "stream")


def shown(cell: Any, kind: str) -> list[str]:
    return [output.data[kind] for output in cell.outputs if kind in output.get("data", {})]


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.mark.slow
def test_rules_are_trained_compared_and_exported(tmp_path):
    notebook = executed("train_compare_export.py", tmp_path)
    text = printed(notebook)
    assert float(re.search(r"CPU seconds: (\S+)", text)[1]) < SECONDS
    assert re.search(r"bayesbinn - ste .* paired by seed", text)
    assert "bits equal" in text
    assert len(list(tmp_path.glob("multirun/digits/mlp/*/*/result.json"))) == 9
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert any(shown(cell, "image/png") for cell in code)

    (bar,) = shown(code[0], "text/html")  # one bar, however many epochs
    assert re.search(r'<progress value="(\d+)" max="\1".*epoch 15/15 .* left 0:00:00', bar)
    assert "epoch 14/15" not in text
    assert len(shown(code[1], "text/html")) == 9 - 1  # one run is there already


@pytest.mark.slow
def test_own_images_are_learned_and_strange_ones_are_uncertain(tmp_path):
    text = printed(executed("own_images.py", tmp_path))
    assert float(re.search(r"CPU seconds: (\S+)", text)[1]) < SECONDS
    assert float(re.search(r"test images, (\S+) % right", text)[1]) > 95
    kept = [float(share) for share in re.findall(r"person: (\S+) % right", text)]
    assert len(kept) == 4
    assert kept[-1] >= kept[0]
    assert float(re.search(r"known digit in (\S+) % of all", text)[1]) > 80
