"""The README is short, and its numbers and its picture are those of committed results."""

import json
import re

import pytest
from benchmarks.readme_figure import PICTURE, accuracies
from PIL import Image

import bnnrepro

from .pages import README, ROOT

TEXT = README.read_text(encoding="utf-8")
QUICK = (ROOT / "results" / "table2_quick" / "table.md").read_text(encoding="utf-8")
FIGURE5 = re.findall(
    r"^\| (the last.*?|fixed|STE.*?) \| (\d) \| (\S.*?) \| (\S.*?) \|$", TEXT, re.MULTILINE
)


def test_it_is_short():
    assert len(TEXT.splitlines()) <= 150


def test_the_full_protocols_cells_are_those_of_the_runs():
    table = bnnrepro.results(ROOT / "results" / "figure5_paper", "state=done")
    figures = table.query("selection == 'final' and split == 'test' and metric == 'accuracy'")
    assert set(figures["preset"]) == {"paper"}
    assert f"{figures['folder'].nunique()} of 15 runs" in TEXT
    assert len(FIGURE5) == 3
    for name, count, *cells in FIGURE5:
        rule = "ste" if name.startswith("STE") else "bayesbinn"  # STE has one network: its mode
        prior = "fixed" if name == "fixed" else "posterior"
        runs = figures[(figures["method"] == rule) & (figures["dataset.prior"] == prior)]
        predictions = ("mode", "mean") if rule == "bayesbinn" else ("mode",)
        for prediction, cell in zip(predictions, cells, strict=False):
            values = runs[runs["prediction"] == prediction]["value"]
            spread = f" ± {values.std():.2f}" if len(values) > 1 else ""
            assert (count, cell) == (str(len(values)), f"{values.mean():.2f}{spread}"), name


@pytest.mark.parametrize(
    ("accuracy", "rule"), re.findall(r"(\S+) % for (BayesBiNN|STE|full\s+precision)", TEXT)
)
def test_the_quick_tables_numbers_are_measured(accuracy, rule):
    label = {"BayesBiNN": r"BayesBiNN \(mode\)"}.get(rule, rule)
    assert re.search(rf"^\| {label} \| {accuracy} ± ", QUICK, re.MULTILINE | re.IGNORECASE)


def test_the_picture_shows_the_committed_results():
    with Image.open(PICTURE) as picture:
        shown = json.loads(picture.text["Description"])
    assert shown == accuracies()
    assert len(shown) == 12
