"""The benchmarks' own arithmetic, and that each row can be measured."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from benchmarks.timing import Times, interleaved
from tests.cases import first_fast

ROOT = Path(__file__).parents[1]


def test_a_ratio_is_the_median_over_turns():
    ratio = Times((2.0, 3.0, 8.0)).over(Times((1.0, 1.0, 2.0)))
    assert ratio.value == 3.0
    assert ratio.low <= ratio.value <= ratio.high
    assert str(Times((1.0, 1.0)).over(Times((2.0, 2.0)))) == "0.5 (0.5 to 0.5)"


def test_tasks_run_in_turn_and_the_first_turns_do_not_count():
    order = []
    tasks = {"a": lambda: order.append("a"), "b": lambda: order.append("b")}
    times = interleaved(tasks, 3, torch.device("cpu"), warm_up=1)
    assert order == ["a", "b"] * 4
    assert all(len(each.seconds) == 3 for each in times.values())
    order.clear()
    interleaved(tasks, 1, torch.device("cpu"), warm_up=0, settle=True)
    assert order == ["a", "a", "b", "b"]


def bench(*words):
    command = [sys.executable, "benchmarks/bench.py", *words]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    "words",
    first_fast([["--rows", "stps"], ["--repetitions", "1"], ["--repetitions", "many"]]),
)
def test_bad_input_is_named(words):
    done = bench(*words)
    assert done.returncode == 2
    assert words[0] in done.stderr
    assert words[1] in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_rows_can_be_measured(tmp_path):
    file = tmp_path / "bench.json"
    rows = "steps,epoch,start"  # all of them take seven minutes
    done = bench("--rows", rows, "--repetitions", "2", "--write", str(file))
    assert done.returncode == 0, done.stderr
    content = json.loads(file.read_text())
    assert content["environment"]["versions"]["torch"]
    names = {row["row"] for row in content["rows"]}
    for method in ("bayesbinn", "ste", "bop", "pmf"):
        assert f"step: {method} / fused Adam" in names
        assert f"step: {method} compiled / fused Adam" in names
    assert "step: bayesbinn, 1.5 % of weights near / fused Adam" in names
    assert len(content["rows"]) == 16
    assert all(row["value"] > 0 for row in content["rows"])
    assert done.stdout.count("\n| ") == 17
