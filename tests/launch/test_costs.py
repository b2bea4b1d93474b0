"""The cost of a run measured by a few steps, for each kind of task."""

import io
import json

import pytest
from tests.composing import composed

from bnnrepro.launch import measure_costs


@pytest.mark.parametrize("dataset", ["digits", "permuted_digits", "toy_regression", "shapes"])
def test_a_few_steps_of_every_task_are_measured(
    dataset: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cfg = composed(f"dataset={dataset}", "preset=smoke")
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps([cfg.to_dict()])))
    measure_costs.main()
    cost = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert cost.get("problem") is None
    assert 0 < cost["step"] < cost["epoch"] + cost["once"]
