"""The packed file: its bits, its round trip, and what is no such file."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from bnnrepro.errors import UserError
from bnnrepro.export import packed
from bnnrepro.export.packed import pack, unpack

LITERAL = "+--++++- +-"  # read from the first weight on


def signs(*shape: int) -> torch.Tensor:
    return torch.randint(0, 2, shape).float() * 2 - 1


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 3, bias=False), nn.BatchNorm1d(3, affine=False))


def binary_network() -> nn.Module:
    model = network()
    model[0].weight.data.copy_(signs(3, 5))
    return model.eval()


def test_the_bytes_are_these() -> None:
    weights = torch.tensor([1.0 if c == "+" else -1.0 for c in LITERAL.replace(" ", "")])
    assert pack(weights).tolist() == [0b01111001, 0b01]
    assert bytes(pack(torch.ones(2, 2, 3)).tolist()) == b"\xff\x0f"
    assert bytes(pack(-torch.ones(9)).tolist()) == b"\x00\x00"


SHAPES = st.one_of(
    st.lists(st.integers(1, 9), min_size=1, max_size=4),
    st.integers(1, 65).map(lambda n: [n]),  # n mod 8 = 0 ... 7
)


@given(SHAPES, st.integers(0, 2**31), st.sampled_from([torch.float32, torch.float64, torch.half]))
def test_packing_keeps_every_weight(shape: list[int], seed: int, dtype: torch.dtype) -> None:
    torch.manual_seed(seed)
    weights = signs(*shape).to(dtype)
    bits = pack(weights)
    expected = np.packbits(weights.numpy().flatten() > 0, bitorder="little")
    assert bits.dtype == torch.uint8
    assert np.array_equal(bits.numpy(), expected)
    assert torch.equal(unpack(bits, shape), weights.float())


@pytest.mark.parametrize(
    "weights",
    [
        signs(6, 10).t(),
        signs(4, 6, 5, 5).to(memory_format=torch.channels_last),
        signs(20, 3)[::2],
        signs(1, 7).expand(3, 7),
        nn.Parameter(signs(3, 3)),
    ],
    ids=["transposed", "channels last", "strided", "expanded", "a parameter"],
)
def test_the_order_is_that_of_the_indices_whatever_the_memory(weights: torch.Tensor) -> None:
    assert torch.equal(unpack(pack(weights), weights.shape), weights.detach())
    assert torch.equal(pack(weights), pack(weights.detach().clone().contiguous()))


@pytest.mark.parametrize("value", [0.0, 0.5, float("nan"), float("inf"), -2.0])
def test_other_values_are_refused(value: float) -> None:
    weights = signs(4, 4)
    weights[2, 1] = value
    with pytest.raises(ValueError, match=rf"^{value:g}: must be \+1 or -1"):
        pack(weights)


def saved(folder: Path, **more: object) -> Path:
    model, path = binary_network(), folder / "model.safetensors"
    packed.save(path, model.state_dict(), ["0.weight"], model=None, **more)
    return path


def test_a_file_gives_its_state_back(tmp_path: Path) -> None:
    model = binary_network()
    model[1].running_mean.normal_()
    path = tmp_path / "model.safetensors"
    packed.save(path, model.state_dict(), ["0.weight"], note=[1, "a"])
    state, metadata = packed.read(path)
    assert state.keys() == model.state_dict().keys()
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert all(value.dtype == state[name].dtype for name, value in model.state_dict().items())
    assert metadata == {"binary": {"0.weight": [3, 5]}, "note": [1, "a"], "draws": {}}


def test_draws_come_back_in_their_rows(tmp_path: Path) -> None:
    rows, path = torch.stack([pack(signs(3, 5)) for _ in range(4)]), tmp_path / "model.safetensors"
    packed.save(path, binary_network().state_dict(), ["0.weight"], {"0.weight": rows})
    assert torch.equal(packed.read(path)[1]["draws"]["0.weight"], rows)


@pytest.mark.slow
def test_the_same_network_is_the_same_bytes(tmp_path: Path) -> None:
    """Also in another process, whose hashes differ."""
    code = (
        "import sys, torch; from pathlib import Path; from bnnrepro.export import packed;"
        "packed.save(Path(sys.argv[1]), {'w': torch.ones(3, 5), 'b': torch.zeros(2)}, ['w'],"
        "**{name: name for name in 'abcdefgh'})"
    )
    contents = []
    for number in (1, 2):
        path = tmp_path / str(number)
        environment = {**os.environ, "PYTHONHASHSEED": str(number)}
        subprocess.run([sys.executable, "-c", code, str(path)], check=True, env=environment)
        contents.append(path.read_bytes())
    assert contents[0] == contents[1]


# -- what is refused ----------------------------------------------------------------------------


def soft(model: nn.Module) -> None:
    model[0].weight.data[1, 2] = 0.25


def tied(model: nn.Module) -> None:
    model.append(nn.Linear(5, 3, bias=False))
    model[2].weight = model[0].weight


def not_finite(model: nn.Module) -> None:
    model[1].running_mean[1] = float("nan")


def untracked(model: nn.Module) -> None:
    model[1] = nn.BatchNorm1d(3, track_running_stats=False)


def negative(model: nn.Module) -> None:
    model[1].running_var[2] = -1


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (soft, r"^0\.weight=0\.25: must be \+1 or -1"),
        (tied, r"^2\.weight=shared: is 0\.weight too"),
        (not_finite, r"^1\.running_mean=nan: must be finite"),
        (untracked, r"^1=track_running_stats=False: needs running statistics"),
        (negative, r"^1\.running_var=-1: a variance must be >= 0"),
        (nn.Module.bfloat16, r"^0\.weight=torch\.bfloat16: must be float32; model\.float\(\)"),
        (nn.Module.double, r"^0\.weight=torch\.float64: must be float32"),
    ],
)
def test_a_network_that_cannot_be_packed_is_refused(spoil, message: str) -> None:
    model = binary_network()
    spoil(model)
    with pytest.raises(UserError, match=message):
        packed.check(model, ["0.weight"])


def test_a_batchnorm_that_saw_nothing_is_pointed_out() -> None:
    model = binary_network()
    assert packed.check(model, ["0.weight"]) == [
        "warning: 1 has never seen a batch (mean 0, variance 1)"
    ]
    model[1].running_mean.normal_()
    assert packed.check(model, ["0.weight"]) == []


def test_a_network_of_real_weights_is_refused() -> None:
    with pytest.raises(UserError, match="nothing is binary: save the state dict"):
        packed.check(network(), [])


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


def a_float_file(path: Path) -> None:
    save_file({"0.weight": signs(3, 5)}, path)


def rewritten(change) -> object:
    """Return what changes a file's tensors and metadata, and writes it again."""

    def spoil(path: Path) -> None:
        from safetensors import safe_open

        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            metadata = dict(file.metadata())
        change(tensors, metadata)
        save_file(tensors, path, metadata)

    return spoil


def shape(value: object) -> object:
    return rewritten(lambda tensors, meta: meta.update(binary=json.dumps({"0.weight": value})))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (Path.unlink, "no such file"),
        (cut, "damaged, or no safetensors"),
        (lambda path: path.write_bytes(b""), "damaged, or no safetensors"),
        (a_float_file, "^format=none: .* is no packed network"),
        (rewritten(lambda t, m: m.update(format="x-9")), "^format=x-9: .* bnnrepro-packed-1"),
        (rewritten(lambda t, m: m.update(binary="{")), "damaged, or no safetensors"),
        (rewritten(lambda t, m: m.pop("binary")), "damaged, or no safetensors"),
        (shape([4, 5]), r"^0\.weight=torch\.uint8 \(2,\): must be torch\.uint8 \(3,\)"),
        (shape([-1, -16]), r"^0\.weight="),
        (shape("ab"), "damaged, or no safetensors"),
        (
            rewritten(lambda t, m: t.update({"draws/0.weight": t["0.weight"].clone()})),
            r"^draws/0\.weight=\(2,\): must be S rows",
        ),
        (
            rewritten(lambda t, m: t.update({"draws/other": t["0.weight"].clone()})),
            "damaged, or no safetensors",
        ),
        (rewritten(lambda t, m: t.pop("0.weight")), r"^0\.weight=missing"),
        (rewritten(lambda t, m: t.update({"0.weight": t["0.weight"].float()})), "float32"),
    ],
)
def test_what_is_no_packed_file_is_refused(tmp_path: Path, spoil, message: str) -> None:
    path = saved(tmp_path)
    spoil(path)
    with pytest.raises(UserError, match=message) as caught:
        packed.read(path)
    assert "\n" not in str(caught.value)
