"""Layers that stay real-valued in a run: its name, its summary, and what is kept of it."""

from collections.abc import Callable

import pytest
import torch
from tests.composing import composed
from tests.experiment.test_run import assert_same

import bnnrepro
from bnnrepro import Trainer
from bnnrepro.errors import UserError
from bnnrepro.experiment import Result, build
from bnnrepro.experiment.parts import load_data
from bnnrepro.runs.signature import signature

RunSmall = Callable[..., Result]
ENDS = "real_layers=[first,last]"


def key(*words: str) -> str:
    return signature(composed(*words).identity())


def test_an_empty_list_is_no_part_of_a_runs_name() -> None:
    config = composed()
    before = {k: v for k, v in config.identity().items() if k != "real_layers"}
    assert signature(before) == key() == signature({**before, "real_layers": ()})
    assert len({key(), key(ENDS), key("real_layers=[first]")}) == 3


def test_a_run_keeps_its_layers_real(run_small: RunSmall, tmp_path: object) -> None:
    words = [ENDS, "method=ste", "epochs=3", "model.hidden=[9,8]"]
    run_small(*words, "stop_after=1")
    resumed = run_small(*words)
    assert_same(resumed.folder, run_small(*words, out=f"{tmp_path}/undisturbed").folder)
    assert resumed.values is not None
    counts = {"binary": 9 * 8, "real": 64 * 9 + 8 * 10}
    assert resumed.values["parameters"] == counts | {"bits": 72 + 32 * 656}

    loaded = bnnrepro.load(resumed.folder.path)
    first, middle, last = (p for p in loaded.model.parameters())
    assert (middle.abs() == 1).all()
    assert not any((p.abs() == 1).all() for p in (first, last))
    summary = loaded.trainer.summary(shape=(1, 8, 8))
    assert (summary.binary, summary.real) == (counts["binary"], counts["real"])
    test = load_data(loaded.config).test
    figures = loaded.trainer.evaluate((loaded.preprocess(test.inputs), test.targets))
    assert figures == pytest.approx(resumed.values["best"]["test"]["mode"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["real_layers=[laste]"], r"real_layers=laste: matches no layer; the nearest are "),
        (["real_layers=first"], r"real_layers=first: must be a list"),
        (["real_layers=[3]", "model.hidden=[8]"], r"real_layers(\[0\])?=3"),
    ],
)
def test_what_matches_no_layer_is_refused(words: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        build(composed(*words, "device=cpu", "threads=1"))
    assert len(str(caught.value).splitlines()) <= 2


def test_the_trainer_says_what_will_be_real_before_it_trains() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.Linear(5, 2))
    trainer = Trainer(model, device="cpu").compile("ste", real_layers=["last"])
    summary = trainer.summary(shape=(4,))
    assert (summary.binary, summary.real) == (20, 5 + 10 + 2)
    trainer.fit((torch.randn(8, 4), torch.arange(8) % 2), epochs=1)
    after = trainer.summary(shape=(4,))
    assert (after.binary, after.real) == (summary.binary, summary.real)
