"""Controls of training in a run: refused where they mean nothing, resumed to the same bits."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.composing import composed
from tests.experiment.test_run import assert_same

from bnnrepro.errors import UserError
from bnnrepro.experiment import Result, build
from bnnrepro.runs import status
from bnnrepro.runs.metrics import read_metrics
from bnnrepro.runs.signature import signature

RunSmall = Callable[..., Result]
ALL = [
    "training.early_stopping=9",
    "training.label_smoothing=0.1",
    "training.class_weight=balanced",
    "training.accumulate=3",
    "training.clip_norm=1",
    "scheduler.warmup=1",
]


def key(*words: str) -> str:
    return signature(composed(*words).identity())


def test_controls_that_do_nothing_are_no_part_of_a_runs_name() -> None:
    config = composed()
    plain = config.identity()
    scheduler = {k: v for k, v in plain["scheduler"].items() if k != "warmup"}
    before = {k: v for k, v in plain.items() if k != "training"} | {"scheduler": scheduler}
    assert signature(plain) == signature(before)
    assert len({signature(plain), *(key(word) for word in ALL)}) == 1 + len(ALL)


def test_an_interrupted_run_with_all_controls_goes_on_to_the_same_end(
    run_small: RunSmall, tmp_path: Path
) -> None:
    words = [*ALL, "training.ema=0.9", "method=full_precision", "epochs=3"]
    run_small(*words, "stop_after=1")
    resumed = run_small(*words)
    assert "resumed after epoch 1 of 3" in resumed.folder.log.read_text()
    assert_same(resumed.folder, run_small(*words, out=tmp_path / "undisturbed").folder)


def test_a_run_that_stops_early_is_done(run_small: RunSmall) -> None:
    words = ["epochs=9", "training.early_stopping=2", "method=full_precision", "method.lr=1e-9"]
    done = run_small(*words, "scheduler=constant", "model.dropout=0")
    rows = read_metrics(done.folder.metrics)
    assert done.values is not None
    assert done.values["best"]["epoch"] + 2 == done.values["final"]["epoch"] == len(rows) < 9
    assert status.read(done.folder).state == "done"
    assert "stopped early" in done.folder.log.read_text()


@pytest.mark.parametrize(
    ("words", "refusal"),
    [
        (
            ["training.early_stopping=3", "dataset.validation_split=0"],
            r"training\.early_stopping=3: needs validation data",
        ),
        (["training.early_stopping=3", "dataset=two_moons"], "needs validation data"),
        (["training.early_stopping=3", "dataset=permuted_digits"], "needs validation data"),
        (["training.early_stopping=0"], "must be a whole number >= 1 or null"),
        (
            ["training.label_smoothing=0.1", "dataset=toy_regression"],
            r"training\.label_smoothing=0\.1: is for classification and continual, not for regr",
        ),
        (["training.class_weight=balanced", "dataset=toy_regression"], "not for regression"),
        (["training.accumulate=26"], r"training\.accumulate=26: must be at most 25"),
        (["training.ema=1"], r"must be a number in \[0, 1\); or null"),
        (["training.patience=3"], r"training\.patience=3: no such key"),
    ],
)
def test_what_cannot_be_is_refused_before_the_start(words: list[str], refusal: str) -> None:
    with pytest.raises(UserError, match=refusal):
        composed(*words)


@pytest.mark.parametrize(
    ("words", "refusal"),
    [
        (["training.class_weight=[1,2]"], r"class_weight=\[1\.0, 2\.0\]: .*each of 10 classes"),
        (["training.ema=0.9"], r"training\.ema=0\.9: all parameters are binary"),
    ],
)
def test_what_only_the_data_or_the_network_tell_is_refused_too(words, refusal) -> None:
    with pytest.raises(UserError, match=refusal):
        build(composed("model.hidden=[8]", "threads=1", "device=cpu", *words))
