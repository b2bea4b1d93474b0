"""A finished run, loaded for use."""

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from PIL import Image

import bnnrepro
from bnnrepro.errors import DataError, UserError
from bnnrepro.experiment import Result
from bnnrepro.experiment.parts import load_data
from bnnrepro.runs import stored_config


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Result:
    from bnnrepro.config.compose import compose
    from bnnrepro.experiment import run

    method = ["method.temperature=1", "method.init=1", "method.lr=1e-3", "scheduler=constant"]
    out = f"out={tmp_path_factory.mktemp('runs')}"
    small = ["epochs=6", "model.hidden=[32]", "device=cpu", "threads=1", "checkpoint_seconds=0"]
    return run(compose(*small, *method, out))


@pytest.mark.parametrize("which", ["best", "final"])
def test_a_loaded_run_predicts_what_its_result_says(finished: Result, which: str) -> None:
    from bnnrepro.config import check

    loaded = bnnrepro.load(finished.folder.path, which, device="cpu")
    assert all((value.abs() == 1).all() for value in loaded.model.parameters())
    posterior = loaded.trainer.optimizer.probabilities()
    for value in loaded.model.parameters():
        probability = posterior[value]
        assert probability.shape == value.shape
        assert ((probability >= 0) & (probability <= 1)).all()
        assert torch.equal(probability > 0.5, value > 0)

    split = load_data(check_again(check, loaded)).test
    inputs = loaded.preprocess(split.inputs)
    expected = finished.values[which]["test"]
    actual = loaded.trainer.predict(inputs)
    accuracy = 100 * (actual.argmax(1) == split.targets).double().mean()
    assert float(accuracy) == pytest.approx(expected["mode"]["accuracy"])
    assert loaded.trainer.evaluate((inputs, split.targets)) == pytest.approx(expected["mode"])
    mean = loaded.trainer.evaluate((inputs, split.targets), samples=10)
    assert mean == pytest.approx(expected["mean"], rel=1e-4, abs=1e-4)
    assert len(loaded.classes) == 10
    assert loaded.result == finished.values


def check_again(check: Any, loaded: Any) -> Any:
    from omegaconf import DictConfig

    return check(DictConfig(loaded.config.to_dict()))


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        (OSError(errno.EMFILE, "Too many open files"), r"cannot be read \(Too many open files\)"),
        (FileNotFoundError(errno.ENOENT, "No such file"), r"cannot be read \(No such file\)"),
        (MemoryError(), r"cannot be read \(not enough memory\)"),
        (ValueError("a byte that is no text"), "damaged: "),
    ],
    ids=repr,
)
def test_a_config_is_called_damaged_for_its_content_alone(
    finished: Result, trouble: Exception, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise trouble

    monkeypatch.setattr(yaml, "load", fail)
    stored_config._block.cache_clear()
    with pytest.raises(UserError, match=rf"^folder=.*config\.yaml: {said}"):
        bnnrepro.load(finished.folder.path, device="cpu")


def test_best_is_loaded_by_default_and_final_where_there_is_no_best(
    finished: Result, run_small: Callable[..., Result]
) -> None:
    loaded = bnnrepro.load(str(finished.folder.path), device="cpu")
    best = torch.load(finished.folder.best)["model"]
    assert all(torch.equal(value, best[n]) for n, value in loaded.model.state_dict().items())
    without = run_small("preset=smoke", "dataset.validation_split=0", "method=ste")
    last = torch.load(without.folder.checkpoint)["model"]
    loaded = bnnrepro.load(without.folder.path, device="cpu")
    assert all(torch.equal(value, last[n]) for n, value in loaded.model.state_dict().items())


# -- inputs, as somebody who has only the run's folder gives them ---------------------------------

FORMS: dict[str, Callable[[torch.Tensor], Any]] = {
    "uint8": lambda images: images,
    "array": lambda images: images.numpy(),
    "int64": lambda images: images.long(),
    "float32 to 255": lambda images: images.float(),
    "float64 to 255": lambda images: images.double(),
    "float32 to 1": lambda images: images.float() / 255,
    "float64 to 1": lambda images: images.double() / 255,
    "array to 1": lambda images: images.numpy() / 255,
    "channels last": lambda images: images.float().to(memory_format=torch.channels_last),
}


@pytest.mark.parametrize("form", FORMS)
def test_images_of_every_range_are_the_same_inputs(finished: Result, form: str) -> None:
    from bnnrepro.config import check

    loaded = bnnrepro.load(finished.folder.path, "final", device="cpu")
    split = load_data(check_again(check, loaded)).test
    given = FORMS[form](split.inputs)
    kept = torch.as_tensor(given).clone()
    inputs = loaded.preprocess(given)
    assert torch.equal(torch.as_tensor(given), kept)  # the caller's
    assert torch.allclose(inputs, loaded.preprocess(split.inputs), atol=1e-6)
    accuracy = loaded.trainer.evaluate((inputs, split.targets))["accuracy"]
    assert accuracy == pytest.approx(finished.values["final"]["test"]["mode"]["accuracy"])


def test_black_and_white_images_may_be_booleans(finished: Result) -> None:
    loaded = bnnrepro.load(finished.folder.path, device="cpu")
    images = torch.rand(4, 1, 8, 8) > 0.5
    assert torch.equal(loaded.preprocess(images), loaded.preprocess(images.to(torch.uint8) * 255))


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.randn(2, 1, 8, 8), "images: float32 from -"),
        (torch.full((2, 1, 8, 8), float("nan")), "images: float32 from nan"),
        (torch.rand(2, 1, 8, 8) * 300 + 256, "images: float32 from .* must be raw pixels"),
        (torch.full((2, 1, 8, 8), 1.2), "images: float32 from 1.2 to 1.2"),
        (torch.full((2, 1, 8, 8), 256), "images: int64 from 256 to 256"),
        (torch.full((2, 1, 8, 8), -1), "images: int64 from -1 to -1"),
        (torch.zeros(2, 1, 28, 28), r"inputs of shape \(2, 1, 28, 28\): must be \(N, 1, 8, 8\)"),
        (torch.zeros(2, 3, 8, 8), r"inputs of shape \(2, 3, 8, 8\): must be \(N, 1, 8, 8\)"),
        (torch.zeros(2, 8, 8), r"inputs of shape \(2, 8, 8\): must be"),
        (torch.zeros(2, 8, 8, 1), r"inputs of shape \(2, 8, 8, 1\): must be"),
        (np.zeros(64, np.uint8), r"inputs of shape \(64,\): must be"),
    ],
)
def test_what_are_no_images_of_the_run_s_is_refused(
    finished: Result, images: Any, message: str
) -> None:
    loaded = bnnrepro.load(finished.folder.path, device="cpu")
    with pytest.raises(ValueError, match=message) as caught:
        loaded.preprocess(images)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dataset", ["two_moons", "toy_regression"])
def test_points_in_their_own_units_are_the_run_s_inputs(
    run_small: Callable[..., Result], dataset: str
) -> None:
    result = run_small(f"dataset={dataset}", "method=ste", "epochs=1")
    loaded = bnnrepro.load(result.folder.path, device="cpu")
    inputs = torch.randn(50, *loaded.about["shape"], dtype=torch.float64)
    raw = inputs * torch.tensor(loaded.std) + torch.tensor(loaded.mean)
    for given in (raw, raw.float(), raw.numpy()):
        actual = loaded.preprocess(given)
        assert actual.dtype == torch.float32
        assert torch.allclose(actual, inputs.float(), atol=1e-5)
    with pytest.raises(ValueError, match="inputs of shape"):
        loaded.preprocess(raw[:, 0])
    with pytest.raises(ValueError, match="must be finite"):
        loaded.preprocess(raw * float("nan"))


def test_images_to_be_segmented_are_of_any_size(tmp_path: Path) -> None:
    from bnnrepro.config.compose import compose
    from bnnrepro.experiment import run

    words = ("dataset=shapes", "dataset.size=45", "dataset.images=8", "dataset.test_images=3")
    words += ("model.channels=[3,4,4]", "method=ste", "epochs=1", "device=cpu", "threads=1")
    loaded = bnnrepro.load(run(compose(*words, f"out={tmp_path}")).folder.path, device="cpu")
    images = torch.randint(0, 256, (2, 1, 91, 70), dtype=torch.uint8)
    actual = loaded.trainer.predict(loaded.preprocess(images))
    margin = 2 * loaded.model.margin
    assert actual.shape == (2, 2, 91 - margin, 70 - margin)
    expected = loaded.trainer.predict(loaded.preprocess(images.float() / 255))
    assert torch.allclose(actual, expected, atol=1e-4)
    with pytest.raises(ValueError, match=r"must be \(N, 1, H, W\)"):
        loaded.preprocess(torch.zeros(2, 3, 91, 70))


def test_predict_takes_pictures_paths_and_arrays(finished: Result, tmp_path: Path) -> None:
    run = bnnrepro.load(finished.folder.path, device="cpu")
    pixels = np.random.default_rng(0).integers(0, 256, (2, 8, 8), dtype=np.uint8)
    pictures = [Image.fromarray(each) for each in pixels]
    pictures[0].save(tmp_path / "a.png")
    expected = run.trainer.predict(run.preprocess(pixels[:, None]))
    assert torch.equal(run.predict(pictures), expected)
    assert torch.equal(run.predict(pixels[:, None]), expected)
    assert torch.equal(run.predict([tmp_path / "a.png", pictures[1]]), expected)
    torch.testing.assert_close(run.predict(str(tmp_path / "a.png")), expected[:1])
    large = pictures[0].resize((40, 30)).convert("RGB")
    assert run.predict(large, samples=3).mean.shape == (1, 10)
    with pytest.raises(UserError, match="cannot be read"):
        run.predict(tmp_path / "none.png")


def test_a_run_from_words_and_what_it_shows(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    lines = [f"{i},{'ab'[i % 2]},{'yes' if i % 2 else 'no'}" for i in range(40)]
    table.write_text("\n".join(["age,kind,label", *lines]))
    words = ["dataset=csv", f"dataset.root={table}", "dataset.target=label", f"out={tmp_path}/runs"]
    small = ["method=ste", "model.hidden=[8]", "epochs=2", "batch_size=8", "threads=1"]
    result = bnnrepro.run(*words, *small, "device=cpu")
    run = bnnrepro.load(result.folder.path, device="cpu")
    rows = [{"age": 3, "kind": "b"}, {"age": 4, "kind": "a"}]
    expected = run.predict(rows)
    assert expected.shape == (2, 2)
    assert torch.equal(run.predict(pd.DataFrame(rows)), expected)
    torch.testing.assert_close(run.predict(rows[0]), expected[:1])
    (tmp_path / "new.csv").write_text("kind,age\nb,3\na,4\n")
    assert torch.equal(run.predict(tmp_path / "new.csv"), expected)
    with pytest.raises(DataError, match="kind"):
        run.predict({"age": 3})
    for shown in (result, run, run.trainer):
        assert len(repr(shown)) < 300
        assert shown._repr_html_().startswith("<table><tr><th>")
    assert "test accuracy" in repr(result)
    assert "STE" in repr(run.trainer)
    with pytest.raises(UserError, match="method=stee"):
        bnnrepro.run("method=stee")
