"""``init_from``: a run that starts from the weights of another, its name, and what it refuses."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tests.composing import composed
from tests.experiment.test_run import assert_same

from bnnrepro.errors import UserError
from bnnrepro.experiment import Result, build
from bnnrepro.runs.signature import signature
from bnnrepro.training import checkpoint

RunSmall = Callable[..., Result]
SIZE = "model.hidden=[9,8]"


@pytest.fixture
def source(run_small: RunSmall) -> Path:
    return run_small("method=full_precision", "epochs=2", SIZE).folder.path


def warm(folder: Path, *words: str) -> str:
    return signature(composed(*words, f"init_from={folder}").identity())


def weights(file: Path) -> dict[str, torch.Tensor]:
    return checkpoint.load(file)["model"]


def test_weights_enter_the_runs_name_by_their_content(source: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(source, tmp_path / "copied")
    names = {warm(source), warm(copied), warm(source / "best.pt")}
    assert len(names) == 1
    assert len(names | {warm(source / "checkpoint.pt"), signature(composed().identity())}) == 3
    old = {k: v for k, v in composed().identity().items() if k != "init_from"}
    assert signature(old) == signature(composed().identity())


@pytest.mark.parametrize("method", ["ste", "bayesbinn", "bop", "pmf", "bimu"])
def test_a_method_starts_from_the_weights_of_another(source: Path, method: str) -> None:
    parts = build(composed(f"method={method}", SIZE, f"init_from={source}", "device=cpu"))
    saved, own = weights(source / "best.pt"), parts.trainer.model.state_dict()
    for name, tensor in own.items():
        expected = saved[name].sign() if name.endswith("linear.weight") else saved[name]
        assert torch.equal(tensor, expected), name
    if method == "ste":
        first = next(iter(parts.trainer.optimizer.state.values()))
        assert torch.equal(first["latent"], saved["layers.0.linear.weight"].clamp(-1, 1))


def test_a_rule_goes_on_with_its_own_state_and_new_settings(run_small: RunSmall) -> None:
    words = ("method=bayesbinn", SIZE, "epochs=2")
    first = run_small(*words)
    file = first.folder.checkpoint
    parts = build(composed(*words, f"init_from={file}", "method.lr=0.5", "device=cpu"))
    saved, optimizer = checkpoint.load(file)["optimizer"], parts.trainer.optimizer
    for index, state in enumerate(optimizer.state.values()):
        for key, entry in saved["state"][index].items():
            assert torch.equal(state[key], entry), key
    assert [group["lr"] for group in optimizer.param_groups] == [0.5]
    other = build(composed(*words, f"init_from={file}", "real_layers=[first]", "device=cpu"))
    for parameter, state in other.trainer.optimizer.state.items():
        if "natural_parameter" in state:  # made of the weights
            assert torch.equal(state["natural_parameter"].sign(), parameter)
            assert len(state["natural_parameter"].abs().unique()) == 1


def test_a_warm_start_resumes_bit_for_bit(
    source: Path, run_small: RunSmall, tmp_path: Path
) -> None:
    words = ["method=ste", "epochs=3", SIZE, f"init_from={source}"]
    run_small(*words, "stop_after=1")
    resumed = run_small(*words)
    assert_same(resumed.folder, run_small(*words, out=f"{tmp_path}/undisturbed").folder)


def test_what_is_no_source_is_refused_in_one_line(source: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.pt"
    content = (source / "best.pt").read_bytes()
    damaged.write_bytes(content[:100] + b"x" + content[101:])
    plain = tmp_path / "plain.pt"
    torch.save({"weight": torch.zeros(2)}, plain)
    for path, reason in (
        (tmp_path / "nix", "is missing"),
        (tmp_path, "no finished run"),
        (source / "config.yaml", "checksum"),
        (plain, "is no checkpoint of bnnrepro|another program"),
        (damaged, "checksum"),
    ):
        with pytest.raises(UserError, match=rf"init_from=.*{reason}") as refused:
            build(composed(SIZE, f"init_from={path}", "device=cpu"))
        assert "\n" not in str(refused.value)


def test_other_shapes_and_names_are_named(source: Path) -> None:
    for words, reason in (
        ("model.hidden=[9,7]", r"layers\.1\.linear\.weight is \(8, 9\) there, \(7, 9\) here"),
        ("model.hidden=[9,8,8]", r"layers\.3\S* is missing there"),
        ("model.hidden=[9]", r"layers\.2\S* is not in this model"),
    ):
        with pytest.raises(UserError, match=f"init_from=.*is of another model: .*{reason}"):
            build(composed(words, f"init_from={source}", "device=cpu"))
