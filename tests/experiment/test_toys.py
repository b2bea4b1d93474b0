"""The toys and uncertainty as whole runs: resumed to the same bits, evaluated again, recorded."""

import json
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from bnnrepro import load
from bnnrepro.config.compose import compose
from bnnrepro.data import mnist, snelson
from bnnrepro.data.batches import Samples
from bnnrepro.data.dataset import Arrays
from bnnrepro.data.images import ImageSet, ood_batches, resized
from bnnrepro.errors import UserError
from bnnrepro.experiment import run
from bnnrepro.experiment.parts import load_data
from bnnrepro.runs.metrics import read_metrics
from bnnrepro.tasks.prediction_grid import STEPS
from bnnrepro.training import recorder

from .test_run import assert_same

TOY = ("model.hidden=[8,8]", "epochs=12", "device=cpu", "threads=1")


@pytest.fixture
def toy(tmp_path: Path):
    def started(*overrides: str, out: str = "runs"):
        return run(compose(*TOY, f"out={tmp_path / out}", *overrides))

    return started


def mapped(folder: Path) -> dict[str, np.ndarray]:
    with np.load(folder / "map.npz", allow_pickle=False) as file:
        return dict(file)


METHODS = [
    "bayesbinn",
    "ste",
    *(pytest.param(name, marks=pytest.mark.slow) for name in ("bop", "pmf", "full_precision")),
]


@pytest.mark.slow
@pytest.mark.parametrize("dataset", ["two_moons", "toy_regression"])
@pytest.mark.parametrize("method", METHODS)
def test_a_stopped_toy_goes_on_to_the_same_bits(toy, dataset: str, method: str) -> None:
    words = (f"dataset={dataset}", f"method={method}")
    whole = toy(*words, out="whole")
    toy(*words, "stop_after=5")
    assert_same(toy(*words).folder, whole.folder)


def test_biases_are_as_the_table_says(toy) -> None:
    biases = 8 + 8 + 1
    both = {m: toy("dataset=two_moons", f"method={m}") for m in ("bayesbinn", "ste")}
    assert both["bayesbinn"].values["parameters"]["real"] == 0
    assert both["ste"].values["parameters"]["real"] == biases
    state = torch.load(both["ste"].folder.checkpoint)["model"]
    real = torch.cat([value for name, value in state.items() if name.endswith("bias")])
    assert real.abs().max() <= 1
    assert len(real) == biases


@pytest.mark.parametrize("method", ["bayesbinn", "ste"])
def test_two_moons_leaves_a_map_of_probabilities(toy, method: str) -> None:
    actual = mapped(toy("dataset=two_moons", f"method={method}").folder.path)
    kinds = {"mode", "mean", "spread"} if method == "bayesbinn" else {"mode"}
    settings = {"samples", "average"} if method == "bayesbinn" else set()
    assert set(actual) == {"inputs", "targets", "grid"} | kinds | settings
    assert actual["grid"].shape == (STEPS[2] ** 2, 2)
    assert actual["inputs"].shape == (200, 2)
    assert set(actual["targets"]) == {0, 1}
    for kind in kinds - {"spread"}:
        assert actual[kind].shape == (STEPS[2] ** 2,)
        assert actual[kind].min() >= 0
        assert actual[kind].max() <= 1


def test_the_map_is_of_the_run_s_own_network(toy) -> None:
    done = toy("dataset=two_moons", "evaluate.samples=3")
    actual, loaded = mapped(done.folder.path), load(done.folder.path, device="cpu")
    grid = torch.from_numpy(actual["grid"])
    np.testing.assert_allclose(actual["mode"], loaded.trainer.predict(grid)[:, 1], rtol=1e-5)
    drawn = loaded.trainer.predict(grid, samples=3)
    np.testing.assert_allclose(actual["mean"], drawn.mean[:, 1], rtol=1e-5)
    np.testing.assert_allclose(actual["spread"], drawn.std[:, 1], rtol=1e-4, atol=1e-6)


def test_the_map_is_made_anew_with_the_draws_of_another_evaluation(toy) -> None:
    words = ("dataset=two_moons", "method=bayesbinn", "method.init=0.5")  # draws that differ
    folder = toy(*words).folder.path
    first = mapped(folder)
    for other, samples, average in (
        ("evaluate.samples=3", 3, "probabilities"),
        ("evaluate.average=logits", 10, "logits"),
    ):
        toy(*words, other)
        actual, loaded = mapped(folder), load(folder, device="cpu")
        assert (actual["samples"], actual["average"]) == (samples, average)
        grid = torch.from_numpy(actual["grid"])
        drawn = loaded.trainer.predict(grid, samples=samples, average=average)
        np.testing.assert_allclose(actual["mean"], drawn.mean[:, 1], rtol=1e-5)
        assert not np.array_equal(actual["mean"], first["mean"])
    toy(*words)  # evaluated before, but the map is of others by now
    assert all(np.array_equal(value, first[key]) for key, value in mapped(folder).items())
    before = (folder / "map.npz").stat().st_mtime_ns
    toy(*words)
    assert (folder / "map.npz").stat().st_mtime_ns == before


@pytest.mark.parametrize("method", ["bayesbinn", "ste"])
def test_a_missing_or_damaged_map_is_made_anew(toy, method: str) -> None:
    words = ("dataset=two_moons", f"method={method}")
    file = toy(*words).folder.path / "map.npz"
    whole = mapped(file.parent)
    for spoil in (Path.unlink, lambda path: path.write_bytes(b"no map")):
        spoil(file)
        toy(*words)
        assert all(np.array_equal(value, whole[key]) for key, value in mapped(file.parent).items())


def test_regression_names_its_metrics_and_is_evaluated_with_its_spread(toy) -> None:
    done = toy("dataset=toy_regression", "method=bayesbinn")
    rows = read_metrics(done.folder.metrics)
    assert list(rows[0])[:6] == [
        "epoch", "lr", "train_loss", "train_rmse", "test_loss", "test_rmse",
    ]  # fmt: skip
    assert rows[0]["train_rmse"] == pytest.approx(rows[0]["train_loss"] ** 0.5)
    figures = done.values["final"]["test"]
    assert all(set(each) == {"rmse", "nll", "ece"} for each in figures.values())
    assert set(mapped(done.folder.path)) >= {"mode", "mean", "spread"}


def test_without_test_points_the_training_points_are_evaluated_and_named_so(
    toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    numbers = [float(n * n % 17) for n in range(30)]
    for name in snelson.FILES:
        (tmp_path / name).write_text("\n".join(map(str, numbers)))
    monkeypatch.setattr(snelson, "DIGEST", snelson.digest(numbers, numbers))
    words = ("dataset=snelson", f"dataset.root={tmp_path}", "batch_size=30")
    whole = toy(*words, out="whole")
    assert "  train      mean of 10 draws   RMSE" in capsys.readouterr().out
    assert (whole.values["n_test"], whole.values["n_train"]) == (0, 30)
    assert set(whole.values["final"]) == {"epoch", "train"}
    assert set(whole.values["final"]["train"]) == {"loss", "rmse", "mode", "mean"}
    toy(*words, "stop_after=7")
    assert_same(toy(*words).folder, whole.folder)


# -- uncertainty --------------------------------------------------------------------------------


def images(side: int, channels: int = 1) -> Arrays:
    source = torch.Generator().manual_seed(side)
    pixels = torch.randint(0, 256, (20, channels, side, side), generator=source)
    samples = Samples(pixels.to(torch.uint8), torch.arange(20) % 10)
    return Arrays(samples, samples, tuple(map(str, range(10))))


def image_set(name: str, side: int, channels: int = 1) -> ImageSet:
    statistics = {"mean": (0.5,) * channels, "std": (0.2,) * channels}
    return ImageSet(images(side, channels), name=name, **statistics)


def test_a_finished_run_is_told_from_other_images_without_training(
    run_small, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(mnist.load, "arrays", lambda **_: images(28))
    done = run_small("preset=smoke")
    before = {path: path.stat().st_mtime_ns for path in done.folder.path.iterdir()}
    assert "ood" not in done.values["final"]
    capsys.readouterr()
    again = run_small("preset=smoke", "evaluate.ood=mnist")
    out = capsys.readouterr().out
    assert "vs mnist" in out
    assert "the test set itself" not in out
    assert again.signature == done.signature
    changed = {p.name for p in done.folder.path.iterdir() if before.get(p) != p.stat().st_mtime_ns}
    assert changed == {"result.json"}
    (added,) = json.loads(done.folder.result.read_text())["evaluations"]
    ood = added["final"]["ood"]
    assert (added["evaluate"]["ood"], ood["n"]) == ("mnist", 20)
    assert set(ood["mean"]) == {"entropy", "mutual_information"}
    assert all(0 <= value <= 1 for kind in ("mode", "mean") for value in ood[kind].values())
    run_small("preset=smoke", "evaluate.ood=mnist")
    assert len(json.loads(done.folder.result.read_text())["evaluations"]) == 1


def test_a_result_that_is_older_than_the_key_is_not_evaluated_again(run_small) -> None:
    done = run_small("preset=smoke")
    values = json.loads(done.folder.result.read_text())
    del values["evaluate"]["ood"]
    done.folder.result.write_text(json.dumps(values))
    assert run_small("preset=smoke").values["evaluations"] == []


def test_curves_stand_beside_the_test_figures(run_small) -> None:
    final = run_small("preset=smoke").values["final"]
    curves = final["uncertainty"]
    for kind in ("mode", "mean"):
        assert curves[kind]["rejection"]["accuracy"][0] == pytest.approx(
            final["test"][kind]["accuracy"]
        )
        assert sum(curves[kind]["reliability"]["count"]) == 100


def test_a_finished_run_may_be_evaluated_with_the_statistics_of_its_batches(toy) -> None:
    done = toy("dataset=toy_regression", "method=ste")
    again = toy("dataset=toy_regression", "method=ste", "evaluate.batch_statistics=true")
    assert again.signature == done.signature
    (added,) = again.values["evaluations"]
    assert added["evaluate"]["batch_statistics"] is True
    run = load(done.folder.path, "final", device="cpu")
    test = load_data(run.config).test
    running, batch = (each["final"]["test"]["mode"]["rmse"] for each in (done.values, added))
    run.model.train()
    with torch.no_grad():
        errors = run.model(test.inputs.float()) - test.targets.view(-1, 1)
    assert float(errors.square().mean().sqrt()) == pytest.approx(batch, rel=1e-4)
    assert batch != pytest.approx(running, rel=1e-3)


def test_each_class_has_its_accuracy_and_its_row_of_confusions(run_small, capsys) -> None:
    final = run_small("preset=smoke").values["final"]
    assert "by class" in capsys.readouterr().out
    for kind in ("mode", "mean"):
        matrix = np.array(final["by_class"][kind]["confusion"])
        accuracy = final["by_class"][kind]["accuracy"]
        assert list(accuracy) == [str(digit) for digit in range(10)]
        assert matrix.sum() == 100
        assert matrix.trace() == pytest.approx(final["test"][kind]["accuracy"])
        assert accuracy["3"] == pytest.approx(100 * matrix[3, 3] / matrix[3].sum())
        assert final["test"][kind]["top5"] >= final["test"][kind]["accuracy"]


def test_other_images_are_resized_and_take_the_run_s_normalisation() -> None:
    own, other = image_set("own", 8), image_set("other", 28)
    batches = ood_batches(own.facts, other, device="cpu")
    ((inputs, _),) = batches.epoch(0)
    assert inputs.shape == (20, 1, 8, 8)
    pixels = resized(other.test.inputs, 8, 8)
    torch.testing.assert_close(inputs, (pixels / 255 - 0.5) / 0.2)
    assert resized(own.test.inputs, 8, 8) is own.test.inputs
    with pytest.raises(UserError, match=r"evaluate\.ood=other: has 3 channels, own 1"):
        ood_batches(own.facts, image_set("other", 8, channels=3), device="cpu")


# -- writing, where epochs are short ------------------------------------------------------------


def test_short_epochs_do_not_rewrite_the_table_each(toy, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []
    monkeypatch.setattr(
        recorder, "write_metrics", lambda path, rows: written.append((path, len(rows)))
    )
    toy("dataset=two_moons", "epochs=40", "model.hidden=[2]")
    assert [rows for _, rows in written][-1] == 40
    assert len(written) < 20


def test_a_failure_leaves_the_metrics_of_every_epoch(
    toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "REPORT_SECONDS", 1e6)
    trained = recorder.Recorder.on_epoch_end

    def failing(self, trainer, row):
        trained(self, trainer, row)
        if trainer.epoch == 9:
            raise RuntimeError("no more")

    monkeypatch.setattr(recorder.Recorder, "on_epoch_end", failing)
    with pytest.raises(RuntimeError, match="no more"):
        toy("dataset=two_moons")
    (metrics,) = tmp_path.glob("runs/*/*/*/*/metrics.csv")
    assert len(read_metrics(metrics)) == 9


def test_metrics_are_never_older_than_a_second(toy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "REPORT_SECONDS", 0.05)
    ages = []
    trained = recorder.Recorder.on_epoch_end

    def watched(self, trainer, row):
        time.sleep(0.06)
        trained(self, trainer, row)
        ages.append(trainer.epoch - len(read_metrics(self.folder.metrics)))

    monkeypatch.setattr(recorder.Recorder, "on_epoch_end", watched)
    toy("dataset=two_moons")
    assert set(ages) == {0}
