"""A finished run becomes a folder whose files compute what the run computed, or no folder."""

import errno
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch
import yaml
from onnx.reference import ReferenceEvaluator
from tests.cases import first_fast
from tests.composing import composed
from torch import nn

import bnnrepro
from bnnrepro.cli import main
from bnnrepro.errors import UserError
from bnnrepro.experiment import run
from bnnrepro.experiment.parts import load_data
from bnnrepro.export import gate, packed
from bnnrepro.models.lrnet import LRNetBig, LRNetSmall
from bnnrepro.models.mlp import MLP
from bnnrepro.models.toy_mlp import ToyMLP
from bnnrepro.models.unet import UNet
from bnnrepro.models.vgg import VGG
from bnnrepro.optim import param_groups

ROOT = Path(__file__).parents[2]
SMALL = ["device=cpu", "threads=1", "checkpoint_seconds=0"]
RUNS = {
    "digits": [
        *("model.hidden=[31]", "epochs=3", "scheduler=constant"),
        *("method.temperature=1", "method.init=1", "method.lr=1e-3"),  # a wide posterior
    ],
    "shapes": [
        *("dataset=shapes", "dataset.size=24", "dataset.images=8", "dataset.test_images=3"),
        *("dataset.crop=20", "model.channels=[3,4]", "epochs=2", "method=ste"),
    ],
    "toy_regression": ["dataset=toy_regression", "epochs=20"],
    "two_moons": ["dataset=two_moons", "epochs=20", "method=ste"],
    "continual": [
        *("dataset=permuted_digits", "model.hidden=[16]", "preset=smoke", "method=bayesbinn"),
    ],
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Returns the folder of a finished run of RUNS, trained when first asked for."""
    out, done = tmp_path_factory.mktemp("runs"), dict[str, Path]()

    def folder(name: str) -> Path:
        if name not in done:
            done[name] = run(composed(*SMALL, *RUNS[name], f"out={out}")).folder.path
        return done[name]

    return folder


@pytest.fixture
def a_run(runs: Callable[[str], Path], tmp_path: Path) -> Path:
    """A run of digits for this test alone."""
    return Path(shutil.copytree(runs("digits"), tmp_path / runs("digits").name))


def seen(model: nn.Module, shape: Sequence[int]) -> nn.Module:
    """The model with binary weights, after a few batches."""
    for group in param_groups(model):
        for _, parameter in group["params"]:
            if group["binary"]:
                parameter.data.copy_(torch.randint(0, 2, parameter.shape) * 2.0 - 1)
    for norm in norms(model):
        norm.momentum = None  # the statistics of all batches
    for _ in range(2):
        model(torch.randn(8, *shape))
    return model.eval()


class Own(nn.Module):
    """A user's network: real biases, BatchNorm with scales, a branch, no Sequential."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 7, 3, padding=1), nn.BatchNorm2d(7)
        self.last = nn.Linear(7, 4)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = torch.relu(self.norm(self.first(images)))
        return self.last((features + features.flip(2)).mean((2, 3)))


MODELS: dict[str, tuple[Callable[[], nn.Module], Sequence[int]]] = {
    "mlp": (lambda: MLP((1, 7, 9), 10, hidden=(13,)), (1, 7, 9)),
    "mlp, norm after": (
        lambda: MLP((1, 8, 8), 10, hidden=(9, 9), norm_position="after_activation"),
        (1, 8, 8),
    ),
    "vgg": (
        lambda: VGG((3, 16, 16), 10, channels=(3, 5, 4, 4), hidden=(11,)),
        (3, 16, 16),
    ),
    "lrnet small": (lambda: LRNetSmall((1, 12, 12), 10, channels=(3, 5), hidden=(7,)), (1, 12, 12)),
    "lrnet big": (
        lambda: LRNetBig((3, 8, 8), 10, channels=(3, 3, 2, 2), hidden=(9,)),
        (3, 8, 8),
    ),
    "unet": (lambda: UNet((1, 41, 44), 2, channels=(3, 5, 7)), (1, 81, 84)),
    "toy mlp, binary biases": (lambda: ToyMLP((2,), 1), (2,)),
    "toy mlp, real biases": (
        lambda: ToyMLP((1,), 1, binary_biases=False, output_norm=True),
        (1,),
    ),
    "a user's": (Own, (3, 6, 6)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_every_model_is_the_same_in_every_format(name: str, tmp_path: Path) -> None:
    make, shape = MODELS[name]
    model, out = seen(make(), shape), tmp_path / "out"
    inputs = torch.randn(3, *shape)
    exact = gate.computed(model.double(), inputs.double())
    model.float()
    bnnrepro.export(model, out, shape=shape)

    state, metadata = packed.read(out / "model.safetensors")
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    again = make()
    again.load_state_dict(state)
    assert torch.equal(gate.computed(again.eval(), inputs), gate.computed(model, inputs))

    proto = onnx.load(out / "model.onnx")
    onnx.checker.check_model(proto, full_check=True)
    bits = {t.name: t for t in proto.graph.initializer if t.name.endswith(".bits")}
    wanted = {n for g in param_groups(model) if g["binary"] for n, _ in g["params"]}
    assert {key.removesuffix(".bits") for key in bits} == wanted == metadata["binary"].keys()
    assert {t.data_type for t in bits.values()} == {onnx.TensorProto.UINT8}
    real = sum(t.numel() for k, t in model.state_dict().items() if k not in wanted)
    weights = sum(model.state_dict()[k].numel() for k in wanted)
    assert Path(out / "model.safetensors").stat().st_size <= weights / 8 + 4 * real + 8192
    # no weight is there a second time, in float32
    floats = sum(len(t.raw_data) for t in proto.graph.initializer if t.name not in bits)
    assert floats < 8192 + 16 * real + 4096
    assert "BatchNormalization" in {n.op_type for n in proto.graph.node} or not norms(model)
    assert {n.domain for n in proto.graph.node} == {""}
    session = onnxruntime.InferenceSession(out / "model.onnx")
    for batch in (1, 3):
        feed = {"input": inputs[:batch].numpy()}
        for compute in (session.run, ReferenceEvaluator(proto).run):
            (outputs,) = compute(None, feed)
            difference = (torch.tensor(outputs).double() - exact[:batch]).abs()
            assert (difference <= 1e-4 * exact[:batch].abs().clamp_min(1)).all()


def norms(model: nn.Module) -> list[nn.Module]:
    return [each for each in model.modules() if "BatchNorm" in type(each).__name__]


@pytest.mark.parametrize("name", first_fast(RUNS))
def test_a_run_is_exported_by_the_command(
    name: str, runs: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = runs(name), tmp_path / "out"
    capsys.readouterr()
    assert main(["export", str(folder), "--out", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == f"export: {out}"
    assert {path.name for path in out.iterdir()} == {
        *("model.safetensors", "model.onnx", "README.md", "export.json")
    }
    record = json.loads((out / "export.json").read_text())
    loaded = bnnrepro.load(folder, device="cpu")
    which = loaded.result["best" if "best" in loaded.result else "final"]
    split = "test" if "test" in which else "train"
    if name == "continual":
        assert "64 random inputs" in lines[-2]
        assert record["metrics"] == {}
    else:
        stored = which[split]["mode"]
        assert record["metrics"] == pytest.approx({k: stored[k] for k in record["metrics"]})
        assert record["metrics"]
        assert "as in result.json" in lines[-2]
    model = bnnrepro.load_packed(out / "model.safetensors")
    assert not model.training
    own, again = loaded.model.state_dict(), model.state_dict()
    assert own.keys() == again.keys()
    assert all(torch.equal(own[key], again[key]) for key in own)
    assert type(model) is type(loaded.model)
    card = (out / "README.md").read_text()
    front, text = card.removeprefix("---\n").split("\n---\n", 1)
    assert yaml.safe_load(front)["tags"] == ["binary-neural-network"]
    assert record["signature"] == folder.name
    assert folder.name in text
    for name_, file in record["files"].items():
        assert file["bytes"] == (out / name_).stat().st_size


def test_raw_pixels_go_in_and_the_runs_accuracy_comes_out(a_run: Path) -> None:
    bnnrepro.export(a_run)
    loaded = bnnrepro.load(a_run, device="cpu")
    split = load_data(loaded.config).test
    session = onnxruntime.InferenceSession(a_run / "export" / "model.onnx")
    (logits,) = session.run(None, {"input": split.inputs.numpy()})
    accuracy = 100 * float((torch.tensor(logits).argmax(1) == split.targets).double().mean())
    assert accuracy == loaded.result["best"]["test"]["mode"]["accuracy"]
    with pytest.raises(Exception, match=r"tensor\(uint8\)"):
        session.run(None, {"input": split.inputs.float().numpy()})
    with pytest.raises(Exception, match=r"Got: 9 Expected: 8"):
        session.run(None, {"input": torch.zeros(2, 1, 9, 8, dtype=torch.uint8).numpy()})
    bnnrepro.export(a_run, input="float")
    session = onnxruntime.InferenceSession(a_run / "export" / "model.onnx")
    (again,) = session.run(None, {"input": (split.inputs.float() / 255).numpy()})
    assert abs(again - logits).max() < 1e-4


@pytest.mark.slow
def test_an_export_is_the_same_bytes_again(a_run: Path) -> None:
    contents = []
    for _ in range(2):
        bnnrepro.export(a_run)
        contents.append({path.name: path.read_bytes() for path in (a_run / "export").iterdir()})
    assert contents[0] == contents[1]


def test_the_card_says_whether_it_was_the_protocol(
    runs: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    bnnrepro.export(runs("digits"), out, formats=[])
    assert (
        "**Not the paper's protocol**: preset `paper`, 3 epochs" in (out / "README.md").read_text()
    )
    own = bnnrepro.load(runs("digits")).config
    monkeypatch.setattr("bnnrepro.export.card.compose", lambda *_: own)
    bnnrepro.export(runs("digits"), out, formats=[])
    assert (
        "the whole protocol of bnnrepro for digits and bayesbinn" in (out / "README.md").read_text()
    )


def loaders() -> list[str]:
    from bnnrepro.export.card import USAGE

    page = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    (documented,) = re.findall(r"```python\n(import json, torch.*?)```", page, re.DOTALL)
    return [USAGE["model.safetensors"], documented]


@pytest.mark.slow
@pytest.mark.parametrize("place", ["card", "docs"])
def test_the_loader_needs_no_bnnrepro(place: str, a_run: Path, tmp_path: Path) -> None:
    bnnrepro.export(a_run, formats=[])
    (tmp_path / "bnnrepro.py").write_text("raise ImportError('not here')")
    if place == "card":
        text = (a_run / "export" / "README.md").read_text()
        (loader,) = re.findall(r"```python\n(import json, torch.*?)```", text, re.DOTALL)
    else:
        loader = loaders()[1]
    assert loader == loaders()[0]
    assert len([line for line in loader.splitlines() if line.strip()]) <= 12
    code = f"""{loader}
try:
    import bnnrepro
except ImportError:
    torch.save(unpack({str(a_run / "export" / "model.safetensors")!r}), "state.pt")
"""
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, env=environment)
    state, own = torch.load(tmp_path / "state.pt"), bnnrepro.load(a_run).model.state_dict()
    assert own.keys() == state.keys()
    assert all(torch.equal(own[key], state[key]) for key in own)


def test_a_trainer_is_exported(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
    trainer = bnnrepro.Trainer(network, device="cpu").compile("ste", lr=1e-2)
    trainer.fit((torch.randn(40, 4), torch.randint(3, (40,))), epochs=2, batch_size=10)
    network.train()
    done = bnnrepro.export(trainer, tmp_path / "out", shape=(4,))
    assert network.training, "the caller's network was changed"
    state, _ = packed.read(done.folder / "model.safetensors")
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())
    with pytest.raises(UserError, match=r"^file=.*names no model of a run"):
        bnnrepro.load_packed(done.folder / "model.safetensors")
    with pytest.raises(UserError, match=r"^shape=None: must be an input's"):
        bnnrepro.export(trainer, tmp_path / "other")
    with pytest.raises(UserError, match=r"^--out=None: must be in a folder"):
        bnnrepro.export(trainer, shape=(4,))
    with pytest.raises(UserError, match=r"^--out=.*has export.json"):
        bnnrepro.export(trainer, tmp_path / "out", shape=(4,))


def test_the_room_and_its_function_have_one_name() -> None:
    import bnnrepro.export

    assert bnnrepro.export.export.__doc__
    assert callable(bnnrepro.export)
    assert bnnrepro.export is sys.modules["bnnrepro.export"]


# -- the gate -----------------------------------------------------------------------------------


def tampered(monkeypatch: pytest.MonkeyPatch, change: Callable[[nn.Module], None]) -> None:
    """Let the written ONNX file be of a network that was changed."""
    from bnnrepro.export import onnx as room

    exported = room._exported

    def of_another(subject):
        import copy
        from dataclasses import replace

        model = copy.deepcopy(subject.model)
        change(model)
        return exported(replace(subject, model=model))

    monkeypatch.setattr(room, "_exported", of_another)


def wrong_eps(model: nn.Module) -> None:
    for norm in norms(model):
        norm.eps = 1e-2


def no_relu(model: nn.Module) -> None:
    for block in model.layers:
        if hasattr(block, "activation"):
            block.activation = nn.Identity()


@pytest.mark.parametrize("change", [wrong_eps, no_relu])
def test_a_file_that_computes_something_else_is_not_kept(
    a_run: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[nn.Module], None]
) -> None:
    tampered(monkeypatch, change)
    before = sorted(a_run.rglob("*"))
    with pytest.raises(UserError, match=r"^model\.onnx=off by .* of float64's; nothing was kept"):
        bnnrepro.export(a_run)
    assert sorted(a_run.rglob("*")) == before


def test_a_wrong_bit_is_not_kept(a_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save = packed.save

    def with_a_flipped_bit(path: Path, state: dict, *rest: object, **more: object) -> None:
        name = next(iter(state))
        changed = state[name].clone()
        changed.view(-1)[7] *= -1
        save(path, {**state, name: changed}, *rest, **more)

    monkeypatch.setattr(packed, "save", with_a_flipped_bit)
    with pytest.raises(UserError, match=r"^model\.safetensors=layers\.0\.linear\.weight: must be"):
        bnnrepro.export(a_run)
    assert not (a_run / "export").exists()


@pytest.mark.slow
def test_torchs_own_optimisation_would_be_refused(
    a_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It folds BatchNorm into the weights, which are not +-1 then."""
    export = torch.onnx.export

    def optimised(*arguments: object, **settings: object) -> object:
        return export(*arguments, **{**settings, "optimize": True})

    monkeypatch.setattr(torch.onnx, "export", optimised)
    with pytest.raises(UserError, match=r"^model\.onnx=off by|must be in the ONNX graph"):
        bnnrepro.export(a_run)


def test_metrics_that_are_not_the_runs_are_refused_on_its_machine(a_run: Path) -> None:
    result = json.loads((a_run / "result.json").read_text())
    result["best"]["test"]["mode"]["nll"] += 0.01
    (a_run / "result.json").write_text(json.dumps(result))
    with pytest.raises(UserError, match=r"^result\.json=nll .*the run's own machine"):
        bnnrepro.export(a_run)
    env = json.loads((a_run / "env.json").read_text())
    (a_run / "env.json").write_text(json.dumps({**env, "cpu": "another"}))
    done = bnnrepro.export(a_run, formats=[])
    assert "in result.json, from another machine, nll" in done.lines[-1]


def test_an_old_result_and_a_lost_environment_do_no_harm(a_run: Path) -> None:
    result = json.loads((a_run / "result.json").read_text())
    del result["best"]["test"]["mode"]["brier"]
    (a_run / "result.json").write_text(json.dumps(result))
    (a_run / "env.json").unlink()
    done = bnnrepro.export(a_run, formats=[])
    assert "as in result.json" in done.lines[-1]
    assert "command `unknown`" in (done.folder / "README.md").read_text()


def test_an_invalid_graph_is_not_kept(a_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bnnrepro.export import onnx as room

    def no_table(graph: object, name: str, *_: object) -> None:
        graph.node.append(onnx.helper.make_node("Gather", ["no", "such"], [name]))

    monkeypatch.setattr(room, "_add_unpacking", no_table)
    with pytest.raises(UserError, match=r"^model\.onnx=invalid: .*nothing was kept"):
        bnnrepro.export(a_run)
    assert not (a_run / "export").exists()


@pytest.mark.slow
def test_without_onnx_runtime_the_reference_evaluator_checks(
    a_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = gate.__spec__ and __import__("importlib.util").util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "onnxruntime" else find(name)
    )
    done = bnnrepro.export(a_run)
    assert f"by onnx {onnx.__version__} on 64 samples" in done.lines[2]


def test_without_onnx_the_line_to_type_is_said(
    a_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    done = bnnrepro.export(a_run)
    assert done.lines[-1] == (
        "no model.onnx: needs onnx and onnxscript: pip install 'bnnrepro[export]'"
    )
    with pytest.raises(UserError, match=r"^--format=onnx: .*pip install 'bnnrepro\[export\]'"):
        bnnrepro.export(a_run, formats=["onnx"])


def test_data_that_are_not_at_hand_are_replaced_by_random_inputs(
    a_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(_: object) -> None:
        raise UserError("dataset.root", "nowhere", "no data")

    monkeypatch.setattr("bnnrepro.export.subject.load_data", missing)
    done = bnnrepro.export(a_run, formats=[])
    assert "checked on 64 random inputs (the data are not at hand)" in done.lines[-1]
    assert json.loads((a_run / "export" / "export.json").read_text())["metrics"] == {}


@pytest.mark.slow
def test_a_network_that_float32_computes_badly_is_kept(tmp_path: Path) -> None:
    """Statistics of one batch at momentum 0.01: outputs are large, and cancel."""
    torch.manual_seed(0)
    model = seen(MODELS["unet"][0](), (1, 81, 84))
    for norm in norms(model):
        norm.running_var.fill_(1).mul_(0.01)
    assert gate.expected_of(gate_subject(model)).error > 1e-3
    bnnrepro.export(model, tmp_path / "out", shape=(1, 81, 84))


def gate_subject(model: nn.Module):
    from bnnrepro.export.subject import subject_of

    return subject_of(model, shape=(1, 81, 84))


# -- the folder ---------------------------------------------------------------------------------


@pytest.mark.parametrize("trouble", [OSError(errno.ENOSPC, "No space left"), KeyboardInterrupt()])
def test_an_export_that_is_cut_short_leaves_what_was_there(
    a_run: Path, monkeypatch: pytest.MonkeyPatch, trouble: BaseException
) -> None:
    bnnrepro.export(a_run, formats=[])
    before = {path: path.is_file() and path.read_bytes() for path in a_run.rglob("*")}

    def fail(*_: object) -> None:
        raise trouble

    monkeypatch.setattr("bnnrepro.export.atomic.write_json", fail)
    with pytest.raises((UserError, KeyboardInterrupt)):
        bnnrepro.export(a_run, formats=[])
    assert {path: path.is_file() and path.read_bytes() for path in a_run.rglob("*")} == before


def test_what_a_killed_export_left_is_removed_by_the_next(a_run: Path) -> None:
    from bnnrepro.runs import atomic

    name = re.sub(r"~\d+~[^~]*~", "~999999999~1~", atomic.temporary_name(a_run / "export"))
    (a_run / name).mkdir()
    (a_run / name / "model.onnx").write_bytes(b"half")
    bnnrepro.export(a_run, formats=[])
    assert not (a_run / name).exists()


# -- draws --------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_draws_of_a_file_predict_what_the_run_s_do(a_run: Path) -> None:
    done = bnnrepro.export(a_run, formats=["onnx"], draws=7)
    assert done.lines[-1] == "7 draws: their mean prediction is off the run's by 0.0e+00 at most"
    path, loaded = done.folder / "model.safetensors", bnnrepro.load(a_run, device="cpu")
    weights = sum(value.numel() for value in loaded.model.parameters())
    bits = 8 * sum(rows.nbytes for rows in packed.read(path)[1]["draws"].values())
    assert 7 * weights <= bits <= 7 * (weights + 8 * 4)
    inputs = loaded.preprocess(load_data(loaded.config).test.inputs)
    networks = [bnnrepro.load_packed(path, draw=k) for k in range(7)]
    assert all((value.abs() == 1).all() for net in networks for value in net.parameters())
    predicted = [gate.computed(network, inputs).softmax(1).double() for network in networks]
    mean = loaded.trainer.predict(inputs, samples=7).mean
    assert torch.allclose(sum(predicted) / 7, mean, atol=1e-6)
    assert not torch.equal(predicted[0], predicted[1])
    mode = bnnrepro.load_packed(path)
    own = loaded.model.state_dict()
    assert all(torch.equal(value, own[key]) for key, value in mode.state_dict().items())
    for draw in (-1, 7):
        with pytest.raises(UserError, match=rf"^draw={draw}: must be from 0 to 6"):
            bnnrepro.load_packed(path, draw=draw)
    loader = loaders()[0]
    names: dict = {}
    exec(loader, names)
    assert names["unpack"](path).keys() == own.keys()


def test_other_draws_are_not_kept(a_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bnnrepro.export import draws as room

    real = room.drawn
    monkeypatch.setattr(room, "drawn", lambda *given: {k: 255 - v for k, v in real(*given).items()})
    with pytest.raises(UserError, match=r"^model\.safetensors=off by .* the draws' mean must be"):
        bnnrepro.export(a_run, formats=[], draws=2)
    assert not (a_run / "export").exists()


def test_a_network_without_posterior_has_no_draws(
    runs: Callable[[str], Path], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"^--draws=3: needs a run of a method with a posterior"):
        bnnrepro.export(runs("two_moons"), tmp_path / "out", draws=3)
    bnnrepro.export(runs("two_moons"), tmp_path / "out", formats=[])
    with pytest.raises(UserError, match=r"^draw=0: has none"):
        bnnrepro.load_packed(tmp_path / "out" / "model.safetensors", draw=0)


# -- load_packed --------------------------------------------------------------------------------


def rewritten(path: Path, change: Callable[[dict, dict], None]) -> None:
    state, metadata = packed.read(path)
    binary = metadata.pop("binary")
    del metadata["draws"]
    change(state, metadata)
    packed.save(path, state, [name for name in binary if name in state], **metadata)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s, m: s.pop("layers.1.linear.weight"), 'Missing key.* "layers.1.linear.weight"'),
        (lambda s, m: s.update(extra=torch.ones(2)), 'Unexpected key.* "extra"'),
        (lambda s, m: m["model"].update(hidden=[30]), "size mismatch"),
        (lambda s, m: m["model"].update(hiden=[30]), "^model.hiden=.*did you mean 'hidden'"),
        (lambda s, m: m["model"].update(_target_="os.system"), "^model._target_=os.system: is not"),
        (lambda s, m: m.pop("model"), "names no model"),
        (lambda s, m: m["about"].pop("outputs"), "names no model"),
        (lambda s, m: m["about"].update(shape=3), "names no model"),
    ],
)
def test_a_file_of_another_network_is_refused(a_run: Path, change, message: str) -> None:
    path = bnnrepro.export(a_run, formats=[]).folder / "model.safetensors"
    rewritten(path, change)
    with pytest.raises(UserError, match=message) as caught:
        bnnrepro.load_packed(path)
    assert "\n" not in str(caught.value)
