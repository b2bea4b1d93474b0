"""The README's table has the measured numbers, and no others."""

import json
import re

import pytest

from .pages import README, ROOT

ROWS = re.findall(
    r"^\| (.+?) \| (\d.+? ± .+?) \| ([^|]+) \|", README.read_text("utf-8"), re.MULTILINE
)
MEASURED = (ROOT / "results" / "table2_quick" / "table.md").read_text(encoding="utf-8")
STEPS = {
    row["row"]: row["value"]
    for row in json.loads((ROOT / "results/bench/2026-11-27-steps.json").read_text())["rows"]
}


def test_all_rules_are_in_the_table():
    assert len(ROWS) == 6


@pytest.mark.parametrize(("rule", "accuracy", "ratio"), ROWS, ids=[row[0] for row in ROWS])
def test_a_row_is_measured(rule, accuracy, ratio):
    name = rule.split(",")[0].lower()
    label = re.escape(rule.replace(", mode", " (mode)").replace(", mean of 10 draws", " (mean)"))
    mean, std = accuracy.split(" ± ")
    row = rf"^\| {label}.*\| {mean} ± .* \\\[quick.*\| 2 of 2 \| {std} \|"  # std: the sample's
    assert re.search(row, MEASURED, re.MULTILINE | re.IGNORECASE)
    measured = STEPS.get(f"step: {name} / fused Adam", STEPS["step: fused Adam"])
    assert float(ratio.split()[0]) == pytest.approx(measured, abs=0.0051)
