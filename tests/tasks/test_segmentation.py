"""Segmentation's figures against their definitions, and what a run leaves behind."""

import csv
import signal

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tests.cases import first_fast
from torch.nn import functional as nn_functional

from bnnrepro import load
from bnnrepro.cli.run import main
from bnnrepro.config.compose import compose
from bnnrepro.data.batches import Samples
from bnnrepro.data.segmentation import mirrored
from bnnrepro.experiment import run
from bnnrepro.experiment.parts import build
from bnnrepro.tasks.segmentation import Segmentation, count
from bnnrepro.tasks.segmentation_images import write_pictures
from bnnrepro.training.callbacks import Callback, Interrupted

SHAPES = ("dataset=shapes", "device=cpu", "threads=1", "checkpoint_seconds=0", "evaluate.samples=2")
TINY = (*SHAPES, "dataset.size=45", "dataset.images=8", "dataset.test_images=3", "epochs=2")
NARROW = "model.channels=[3,4,4]"


def masks(classes, shape):
    source = st.integers(0, 2**32 - 1)
    return source.map(
        lambda seed: torch.randint(classes, shape, generator=torch.Generator().manual_seed(seed))
    )


@settings(max_examples=40, deadline=None)
@given(true=masks(3, (2, 4, 5)), guess=masks(3, (2, 4, 5)), names=st.just(("a", "b", "c")))
def test_figures_are_those_of_the_pixels_of_all_images_together(true, guess, names):
    task = Segmentation(names)
    logits = F.one_hot(guess, 3).movedim(-1, 1).float() * 20
    figures = task.measure(task.predict(logits), true)
    ious, recalls = [], []
    for k in range(3):
        ours, theirs = guess == k, true == k
        ious.append(float((ours & theirs).sum() / (ours | theirs).sum()))
        recalls.append(float((ours & theirs).sum() / theirs.sum()))
    if all(np.isfinite(ious)):
        assert [figures[f"iou_{name}"] for name in names] == pytest.approx(ious)
        assert figures["mean_iou"] == pytest.approx(np.mean(ious))
    present = [each for each in recalls if np.isfinite(each)]
    assert figures["balanced_accuracy"] == pytest.approx(100 * np.mean(present))
    assert figures["accuracy"] == pytest.approx(100 * float((guess == true).double().mean()))
    assert figures["nll"] == pytest.approx(float(task.loss(logits, true)), rel=1e-4, abs=1e-6)
    look = task.validate(logits, true)
    assert {key: look[key] for key in figures if key != "nll"} == {
        key: value for key, value in figures.items() if key != "nll"
    }


def test_counts_are_summed_before_any_ratio():
    """Two images of which one has hardly any membrane: the mean of ratios is another figure."""
    true = torch.ones(2, 4, 4, dtype=torch.int64)
    true[0, :2] = 0
    true[1, 0, 0] = 0
    guess = true.clone()
    guess[1, 0, 0] = 1
    guess[1, 0, 1] = 0
    counts = count(guess, true, 2)
    figures = Segmentation(("membrane", "cell")).figures(counts)
    assert figures["iou_membrane"] == pytest.approx(8 / 10)  # of ratios: (1 + 0) / 2
    assert counts.tolist() == [[8, 1], [1, 22]]


@settings(max_examples=30, deadline=None)
@given(true=masks(2, (3, 4, 4)))
def test_no_constant_prediction_beats_the_best_constant(true):
    true[0, 0, 0], true[0, 0, 1] = 0, 1
    task = Segmentation(("membrane", "cell"))
    best = task.constant(true)
    assert best["balanced_accuracy"] == pytest.approx(50)
    share = float((true == 1).double().mean())
    assert best["iou_cell"] == pytest.approx(share)
    assert best["iou_membrane"] == pytest.approx(1 - share)
    assert best["accuracy"] == pytest.approx(100 * max(share, 1 - share))
    for p in (0.0, 0.2, share, 0.9, 1.0):
        constant = torch.tensor([1 - p, p]).view(1, 2, 1, 1).expand(3, 2, 4, 4)
        figures = task.measure(constant, true)
        for name, value in figures.items():
            better = value < best[name] - 1e-6 if name == "nll" else value > best[name] + 1e-6
            assert not better, name
    assert best["nll"] == pytest.approx(
        float(nn_functional.binary_cross_entropy(torch.tensor(share), torch.tensor(share)))
    )


def finished(tmp_path, *overrides):
    result = run(compose(*TINY, NARROW, f"out={tmp_path}", *overrides))
    return result.folder, result.values


def rows(folder):
    with folder.metrics.open() as handle:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(handle)]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_class_that_is_absent_does_not_hide_the_best_constant(order):
    """Where it is not predicted either, its intersection over union is no number."""
    task = Segmentation([f"class{k}" for k in range(2)])
    best = task.constant(torch.full((1, 4, 4), order[0]))
    assert best[f"iou_class{order[0]}"] == 1
    assert best[f"iou_class{order[1]}"] == 0


def test_a_run_leaves_figures_constants_and_pictures(tmp_path):
    folder, values = finished(tmp_path, "method=bayesbinn")
    assert (values["task"], values["n_train"], values["n_validation"], values["n_test"]) == (
        "segmentation", 6, 2, 3,
    )  # fmt: skip
    names = {"balanced_accuracy", "mean_iou", "iou_membrane", "iou_cell", "accuracy", "nll"}
    for moment in ("final", "best"):
        for split in ("validation", "test"):
            assert set(values[moment][split]) == {"mode", "mean"}
            assert all(set(values[moment][split][kind]) == names for kind in ("mode", "mean"))
        assert values[moment]["constant"]["balanced_accuracy"] == 50
    last = rows(folder)[-1]
    assert float(last["test_iou_membrane"]) == values["final"]["test"]["mode"]["iou_membrane"]
    pictures = sorted(path.name for path in (folder.path / "pictures").iterdir())
    assert pictures == ["shape_10.png", "shape_8.png", "shape_9.png"]


def test_a_picture_shows_image_label_prediction_and_errors(tmp_path):
    folder, values = finished(tmp_path, "method=ste", "dataset.validation_split=0")
    assert "best" not in values
    wrong = labelled = 0
    for path in (folder.path / "pictures").iterdir():
        with Image.open(path) as image:
            pixels = np.asarray(image).astype(int)
        assert pixels.shape == (45, 4 * 45 + 3 * 4, 3)
        label, guess, error = (pixels[:, 49 * k : 49 * k + 45] for k in (1, 2, 3))
        differs = (label != guess).any(-1)
        assert np.array_equal(differs, (error != 255).any(-1))
        wrong += differs.sum()
        labelled += differs.size
    accuracy = values["final"]["test"]["mode"]["accuracy"]
    assert 100 * (1 - wrong / labelled) == pytest.approx(accuracy)


def test_pictures_are_of_the_first_twelve_test_images(tmp_path):
    images = torch.ones(14, 1, 4, 4, dtype=torch.uint8)
    samples = Samples(images, images[:, 0], tuple(f"img_{k}" for k in range(14)))
    write_pictures(tmp_path / "pictures", samples, images[:, 0].long())
    actual = {path.stem for path in (tmp_path / "pictures").iterdir()}
    assert actual == {f"img_{k}" for k in range(12)}


@pytest.mark.parametrize(("split", "epoch"), first_fast([(0.25, "best"), (0, "final")]))
def test_pictures_are_of_the_best_epoch_and_without_validation_of_the_last(
    tmp_path, monkeypatch, split, epoch
):
    monkeypatch.setattr(Segmentation, "better", lambda *_: False)  # the first epoch is the best
    choice = ("method=full_precision", "method.lr=0.05", "scheduler=constant", "epochs=8")
    choice += (f"dataset.validation_split={split}",)
    folder, _ = finished(tmp_path, *choice)
    test = build(compose(*TINY, NARROW, *choice)).sources.test
    shown = {}
    for which in ("best", "final") if split else ("final",):
        network = load(folder.path, which, device="cpu").trainer
        shown[which] = torch.cat([network.predict(inputs).argmax(1) for inputs, _ in test.epoch(0)])
    pictures = []
    for name in test.samples.names:
        with Image.open(folder.path / f"pictures/{name}.png") as image:
            pictures.append(np.asarray(image)[:, 49 * 2 : 49 * 2 + 45, 0] // 255)
    same = {which: np.array_equal(np.stack(pictures), each) for which, each in shown.items()}
    assert same == {which: which == epoch for which in shown}


@pytest.mark.slow
@pytest.mark.parametrize("method", ["bayesbinn", "ste", "full_precision"])
def test_a_run_stopped_after_an_epoch_ends_in_the_same_bits(tmp_path, method):
    choice = (f"method={method}", "epochs=3")
    whole, values = finished(tmp_path / "whole", *choice)
    finished(tmp_path / "parts", *choice, "stop_after=1")
    parts, again = finished(tmp_path / "parts", *choice)
    assert rows(parts) == rows(whole)
    for moment in ("final", "best"):
        assert again[moment] == values[moment]
    first, second = (torch.load(each.checkpoint)["model"] for each in (whole, parts))
    assert all(torch.equal(first[name], second[name]) for name in first)
    for path in (whole.path / "pictures").iterdir():
        assert path.read_bytes() == (parts.path / "pictures" / path.name).read_bytes()


class StopIn(Callback):
    """Ask for a stop after the second batch of the second epoch."""

    def on_batch_end(self, trainer):
        if (trainer.epoch, trainer.running.batch) == (1, 2):
            trainer.stop_request.signal = signal.SIGTERM


def test_a_stop_within_an_epoch_keeps_the_counts_of_its_training_figure(tmp_path):
    def parts():
        return build(compose(*TINY, NARROW, "method=ste", "batch_size=2", "seed=3"))

    def fit(one, **more):
        return one.trainer.fit(one.sources.train, test_data=one.sources.test, epochs=2, **more).rows

    whole, one, two = fit(parts()), parts(), parts()
    with pytest.raises(Interrupted):
        fit(one, callbacks=[StopIn()])
    assert int(one.trainer.task.state_dict()["counts"].sum()) == 2 * 2 * 45 * 45
    one.trainer.save(tmp_path / "state.pt")
    resumed = fit(two) if two.trainer.load(tmp_path / "state.pt") else []
    for ours, theirs in zip(resumed, whole, strict=True):
        assert ours | {"seconds": 0} == theirs | {"seconds": 0}


def test_the_training_figure_is_of_all_pixels_of_the_epoch():
    """Two batches of unequal shares: the counts are summed, not the batches' figures averaged."""
    task = Segmentation(("membrane", "cell"))
    true = torch.tensor([[[0, 0, 0, 1]], [[1, 1, 1, 0]]])
    guess = torch.tensor([[[0, 0, 1, 1]], [[1, 1, 0, 1]]])
    task.before_epoch(None)
    for k in range(2):
        task.score(F.one_hot(guess[k : k + 1], 2).movedim(-1, 1).float(), true[k : k + 1])
    assert task.after_epoch(None, {}) == {
        "train_balanced_accuracy": pytest.approx(100 * (2 / 4 + 3 / 4) / 2)
    }
    assert task.state_dict() == {}


def labelled_images(data, random, *, unlabelled=0):
    """Write four images of 44x44 to train on and two to test on, with labels, others without."""
    splits = (("train", range(4)), ("val", range(4, 6)), ("test", range(unlabelled)))
    for split, numbers in splits:
        for number in numbers:
            image = random.integers(0, 256, (44, 44), dtype=np.uint8)
            for folder, name, pixels in (
                (f"{split}_imgs", "img", image),
                (f"{split}_labels", "label", np.where(image > 60, 255, 0).astype(np.uint8)),
            ):
                if folder != "test_labels":
                    (data / folder).mkdir(parents=True, exist_ok=True)
                    Image.fromarray(pixels).save(data / folder / f"{name}_{number}.png")


def test_images_without_labels_are_predicted(tmp_path):
    labelled_images(tmp_path / "data" / "isbi-em", np.random.default_rng(0), unlabelled=2)
    argv = [
        "dataset=label_folder",
        f"dataset.root={tmp_path / 'data'}",
        "preset=smoke",
        "method=ste",
    ]
    argv += ["dataset.validation_split=0", "model.channels=[2,2]"]
    common = ["dataset.crop=20", "batch_size=2", "device=cpu", "threads=1"]
    assert main([*argv, *common, f"out={tmp_path / 'out'}"]) == 0
    (predictions,) = (tmp_path / "out").glob("*/*/*/*/predictions")
    assert sorted(path.name for path in predictions.glob("*.png")) == ["img_0.png", "img_1.png"]
    with Image.open(predictions / "img_0.png") as image:
        assert image.size == (44, 44)
        assert set(np.unique(np.asarray(image))) <= {0, 255}


@pytest.mark.parametrize("split", first_fast([0, 0.25]))
def test_a_finished_run_predicts_images_that_come_later_and_those_that_change(tmp_path, split):
    """Images without labels are no part of the signature."""
    data, out = tmp_path / "data", tmp_path / "out"
    choice = ("dataset=label_folder", f"dataset.root={data}", "method=ste", f"out={out}")
    choice += (f"dataset.validation_split={split}", "model.channels=[2,2]", "dataset.crop=20")
    choice += ("batch_size=2", "device=cpu", "threads=1", "epochs=2")
    random = np.random.default_rng(0)

    def image(number):
        pixels = random.integers(0, 256, (44, 44), dtype=np.uint8)
        (data / "test_imgs").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(data / f"test_imgs/img_{number}.png")

    def predicted():
        """Start the run and return the predictions, which must be those of the network."""
        done = run(compose(*choice))
        folder = done.folder.path / "predictions"
        network = load(done.folder.path, device="cpu")
        for path in folder.glob("*.png"):
            with Image.open(data / "test_imgs" / path.name) as image:
                pixels = torch.from_numpy(np.array(image))[None, None]
            seen = network.preprocess(mirrored(pixels, network.model.margin))
            with Image.open(path) as image:
                classes = network.trainer.predict(seen).argmax(1)[0]
                assert np.array_equal(np.asarray(image), 255 * classes.numpy())
        return {path.name: path.stat().st_mtime_ns for path in folder.glob("*")}

    labelled_images(data, random)
    assert predicted() == {}
    image(0)
    before = predicted()
    assert set(before) == {"img_0.png", "images.sha256"}
    assert predicted() == before
    image(1)
    assert set(predicted()) == {"img_0.png", "img_1.png", "images.sha256"}
    image(0)
    predicted()
    (data / "test_imgs/img_0.png").unlink()
    assert set(predicted()) == {"img_1.png", "images.sha256"}
    (next(out.glob("*/*/*/*/predictions")) / "images.sha256").write_bytes(b"\xff")
    assert set(predicted()) == {"img_1.png", "images.sha256"}


def test_smoke_needs_no_files(tmp_path):
    choice = ("dataset=isbi_em", "preset=smoke", "dataset.root=nowhere")
    values = run(compose(*choice, "device=cpu", "threads=1", f"out={tmp_path}")).values
    assert (values["stands_for"], values["dataset"], values["n_test"]) == ("isbi_em", "shapes", 2)
    assert "best" not in values


@pytest.mark.slow
def test_full_precision_and_ste_learn_the_shapes(tmp_path):
    for method in ("ste", "full_precision"):
        argv = [*SHAPES, f"method={method}", "epochs=25", f"out={tmp_path}"]
        test = run(compose(*argv)).values["best"]["test"]["mode"]
        assert test["balanced_accuracy"] > 80
        assert test["iou_membrane"] > 0.5
