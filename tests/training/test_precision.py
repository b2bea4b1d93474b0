"""Arithmetic of the training steps, which evaluation and state do not share."""

import pytest
import torch
from torch import nn

from bnnrepro import Trainer
from bnnrepro.cli.run import main
from bnnrepro.training import precision as module
from bnnrepro.training.precision import arithmetic, bf16_factor, unsupported


def trained(precision):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 64, bias=False), nn.ReLU(), nn.Linear(64, 2, bias=False))
    seen = []
    model[0].register_forward_hook(
        lambda module, inputs, output: seen.append((module.training, output.dtype))
    )
    trainer = Trainer(model, device="cpu", precision=precision).compile("ste", lr=1e-2)
    source = torch.Generator().manual_seed(0)
    inputs = torch.randn(200, 6, generator=source)
    targets = (inputs[:, 0] > 0).long()
    rows = trainer.fit(
        (inputs, targets), validation_data=(inputs, targets), epochs=60, batch_size=200
    ).rows
    return trainer, rows, set(seen)


def test_bf16_is_of_the_training_steps_alone():
    trainer, rows, seen = trained("bf16")
    assert seen == {(True, torch.bfloat16), (False, torch.float32)}
    assert all(p.dtype == torch.float32 for p in trainer.model.parameters())
    assert all((p.abs() == 1).all() for p in trainer.model.parameters())
    _, exact, seen = trained("float32")
    assert {dtype for _, dtype in seen} == {torch.float32}
    # One batch an epoch: the first loss is at the same weights.
    assert rows[0]["train_loss"] == pytest.approx(exact[0]["train_loss"], rel=0.02)
    assert rows[0]["train_loss"] != exact[0]["train_loss"]
    assert rows[-1]["validation_accuracy"] > 90


def test_tf32_needs_a_gpu():
    assert "needs a GPU" in unsupported("tf32", torch.device("cpu"))
    with pytest.raises(ValueError, match="precision=tf32: needs a GPU"):
        trained("tf32")
    with pytest.raises(
        ValueError, match="precision=half: must be one of float32, tf32, bf16, auto"
    ):
        trained("half")


@pytest.mark.parametrize(("factor", "chosen"), [(0.5, "bf16"), (1.0, "float32"), (45.0, "float32")])
def test_auto_takes_bf16_where_it_is_faster_alone(factor, chosen, monkeypatch):
    monkeypatch.setattr(module, "bf16_factor", lambda device: factor)
    trainer, _, seen = trained("auto")
    assert trainer.precision == chosen
    assert ((True, torch.bfloat16) in seen) == (chosen == "bf16")


def test_a_trained_state_keeps_what_auto_chose(monkeypatch, tmp_path, caplog):
    """Also where it is slower: the bits of a resumed run are those of an undisturbed one."""
    monkeypatch.setattr(module, "bf16_factor", lambda device: 0.5)
    trained("auto")[0].save(tmp_path / "state.pt")
    monkeypatch.setattr(module, "bf16_factor", lambda device: 45.0)
    model = nn.Sequential(nn.Linear(6, 64, bias=False), nn.ReLU(), nn.Linear(64, 2, bias=False))
    again = Trainer(model, device="cpu", precision="auto").compile("ste", lr=1e-2)
    again.load(tmp_path / "state.pt")
    again.fit((torch.randn(20, 6), torch.zeros(20, dtype=torch.int64)), epochs=61)
    assert again.precision == "bf16"
    assert "take 45.0 times as long" in caplog.text


def test_a_resumed_run_keeps_what_auto_chose(monkeypatch, run_small, tmp_path):
    line = ("precision=auto", "epochs=4")
    monkeypatch.setattr(module, "bf16_factor", lambda device: 0.5)
    undisturbed = run_small(*line, out=tmp_path / "undisturbed").values
    run_small(*line, "stop_after=2")
    monkeypatch.setattr(module, "bf16_factor", lambda device: 45.0)
    resumed = run_small(*line).values
    assert resumed["precision"] == undisturbed["precision"] == "bf16"
    assert resumed["final"] == undisturbed["final"]


@pytest.mark.parametrize(("factor", "warned"), [(0.5, False), (45.0, True)])
def test_bf16_asked_for_where_it_is_slower_is_a_warning_with_the_factor(
    factor, warned, monkeypatch, caplog
):
    monkeypatch.setattr(module, "bf16_factor", lambda device: factor)
    trainer, _, seen = trained("bf16")
    assert (True, torch.bfloat16) in seen
    assert trainer.precision == "bf16"
    assert ("precision=bf16: matrix products take 45.0 times as long" in caplog.text) == warned


@pytest.mark.parametrize("disturbed", [(), range(5, 12)])
def test_the_factor_is_that_of_the_undisturbed_products(disturbed, monkeypatch):
    """Each takes 1 s in float32 and 3 s in bfloat16, and 100 s more beside other programs."""
    clock, product = [0.0], torch.nn.functional.linear
    calls = []

    def linear(inputs, weights):
        outputs = product(inputs, weights)
        bf16 = outputs.dtype == torch.bfloat16
        clock[0] += (3.0 if bf16 else 1.0) + 100.0 * (len(calls) in disturbed)
        calls.append(bf16)
        return outputs

    monkeypatch.setattr(module.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(torch.nn.functional, "linear", linear)
    assert bf16_factor.__wrapped__(torch.device("cpu")) == 3.0
    assert set(calls) == {False, True}


def test_the_command_line_refuses_it_before_anything_is_written(tmp_path, capsys):
    out = tmp_path / "runs"
    assert main(["precision=tf32", "device=cpu", "preset=smoke", f"out={out}"]) == 2
    assert "error: precision=tf32: needs a GPU" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize(("precision", "allowed"), [("float32", False), ("tf32", True)])
def test_on_a_gpu_the_choice_holds_within_the_context_alone(precision, allowed):
    """The switches exist without a GPU too; what they do there is not tested here."""
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    with arithmetic(precision, torch.device("cuda")):
        assert torch.backends.cudnn.allow_tf32 == allowed
        expected = "high" if allowed else "highest"
        assert torch.get_float32_matmul_precision() == expected
    assert before == (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32)
