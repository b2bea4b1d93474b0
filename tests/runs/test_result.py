import json
import math
from pathlib import Path
from typing import Any

import pytest

from bnnrepro.errors import UserError
from bnnrepro.runs.result import DamagedResultError, read_result, settings_of, write_result

FIGURES = {"accuracy": 98.5, "nll": 0.05, "ece": 0.01}
MOMENT = {
    "epoch": 500,
    "train": {"accuracy": 99.9, "loss": 0.01},
    "validation": {"mode": FIGURES, "mean": FIGURES},
    "test": {"mode": FIGURES, "mean": FIGURES},
}
RESULT: dict[str, Any] = {
    "signature": "0123456789",
    "preset": "paper",
    "seed": 0,
    "task": "classification",
    "dataset": "mnist",
    "model": "mlp",
    "method": "bayesbinn",
    "epochs": 500,
    "n_train": 54000,
    "n_validation": 6000,
    "n_test": 10000,
    "final": MOMENT,
    "best": {**MOMENT, "epoch": 321},
    "parameters": {"binary": 100, "real": 0, "bits": 100},
    "seconds": 12.5,
    "device": "cpu",
    "stands_for": None,
}
NEEDED = [
    *(key for key in RESULT if key != "best"),
    *("parameters.binary", "parameters.real", "parameters.bits"),
    *(f"{moment}.{key}" for moment in ("final", "best") for key in ("epoch", "train")),
    *(f"{moment}.{s}.mode" for moment in ("final", "best") for s in ("validation", "test")),
]


def changed(key: str, *value: Any) -> dict[str, Any]:
    """Return the result with another value at a dotted key, or without it."""
    result = json.loads(json.dumps(RESULT))
    *words, last = key.split(".")
    place = result
    for word in words:
        place = place[word]
    if value:
        place[last] = value[0]
    else:
        del place[last]
    return result


def test_a_result_reads_back_the_same(tmp_path: Path) -> None:
    write_result(tmp_path / "result.json", RESULT)
    assert read_result(tmp_path / "result.json") == RESULT


@pytest.mark.parametrize("key", ["best", "final.validation", "final.test", "best.test.mean"])
def test_what_a_run_need_not_have_may_be_absent(tmp_path: Path, key: str) -> None:
    write_result(tmp_path / "result.json", changed(key))
    assert read_result(tmp_path / "result.json") == changed(key)


def test_a_run_that_diverged_has_a_result(tmp_path: Path) -> None:
    write_result(tmp_path / "result.json", changed("final.train.loss", math.nan))
    read: Any = read_result(tmp_path / "result.json")
    assert math.isnan(read["final"]["train"]["loss"])


@pytest.mark.parametrize("key", NEEDED)
def test_a_missing_key_is_named_with_its_file(tmp_path: Path, key: str) -> None:
    path = tmp_path / "result.json"
    path.write_text(json.dumps(changed(key)))
    with pytest.raises(UserError) as caught:
        read_result(path)
    assert str(path) in str(caught.value)
    assert f"'{key}' is missing" in str(caught.value)
    with pytest.raises(ValueError, match=key):
        write_result(tmp_path / "new.json", changed(key))
    assert not (tmp_path / "new.json").exists()


@pytest.mark.parametrize("key", [key for key in NEEDED if key != "stands_for"])
@pytest.mark.parametrize("value", [None, True, [1]])
def test_a_value_of_another_type_is_named_with_its_file(
    tmp_path: Path, key: str, value: Any
) -> None:
    path = tmp_path / "result.json"
    path.write_text(json.dumps(changed(key, value)))
    with pytest.raises(UserError, match=f"result.json: damaged: '{key}' is "):
        read_result(path)


AGAIN = {"evaluate": {"samples": 3, "average": "logits"}, "final": MOMENT, "best": MOMENT}


@pytest.mark.parametrize(
    ("again", "named"),
    [
        ({"0": AGAIN}, "'evaluations' is"),
        (["x"], "evaluations[0]: 'evaluate' is missing"),
        ([AGAIN, {**AGAIN, "evaluate": None}], "evaluations[1]: 'evaluate' is None"),
        ([{**AGAIN, "evaluate": {"samples": 3}}], "'evaluate.average' is missing"),
        ([{**AGAIN, "evaluate": {**AGAIN["evaluate"], "samples": "3"}}], "'evaluate.samples' is"),
        ([{"evaluate": AGAIN["evaluate"], "best": MOMENT}], "'final' is missing"),
        ([{"evaluate": AGAIN["evaluate"], "final": MOMENT}], "'best' is missing"),
        ([{**AGAIN, "final": {**MOMENT, "test": "x"}}], "'final.test' is"),
        (
            [{**AGAIN, "best": {**MOMENT, "test": {"mode": {"nll": "1"}}}}],
            "'best.test.mode.nll'",
        ),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_later_evaluation_is_checked_as_the_first_is(
    tmp_path: Path, again: Any, named: str
) -> None:
    path = tmp_path / "result.json"
    path.write_text(json.dumps(RESULT | {"evaluations": [AGAIN]}))
    read_result(path)
    path.write_text(json.dumps(RESULT | {"evaluations": again}))
    with pytest.raises(DamagedResultError) as caught:
        read_result(path)
    assert named in str(caught.value)


@pytest.mark.parametrize("key", ["final.test.mode.accuracy", "best.train.loss", "final.ood"])
@pytest.mark.parametrize("value", ["98.5", True, {"mode": {"entropy": "0.9"}}])
def test_a_figure_that_is_no_number_is_damage(tmp_path: Path, key: str, value: Any) -> None:
    path = tmp_path / "result.json"
    path.write_text(json.dumps(changed(key, value)))
    with pytest.raises(DamagedResultError, match="not a number"):
        read_result(path)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 200_000])
def test_a_file_that_is_no_result_is_the_users_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "result.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"result\.json: damaged"):
        read_result(path)


def test_a_file_that_the_system_does_not_give_is_not_called_damaged(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.symlink_to(path)
    with pytest.raises(UserError, match="cannot be read") as caught:
        read_result(path)
    assert not isinstance(caught.value, DamagedResultError)


def test_a_missing_file_is_the_users_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.json: cannot be read"):
        read_result(tmp_path / "nowhere.json")


def test_settings_of_an_older_evaluation_have_the_newer_keys() -> None:
    old, new = {"evaluate": {"samples": 3}}, {"evaluate": {"samples": 3, "ood": "mnist"}}
    defaults = {"samples": 3, "ood": None, "batch_statistics": False}
    assert settings_of(old) == defaults
    assert settings_of(new) == defaults | {"ood": "mnist"}
