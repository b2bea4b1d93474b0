"""Images read in every epoch: the same bits as from memory, in order, ahead, and faults named."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.composing import composed
from tests.experiment.test_run import assert_same

from bnnrepro.data import image_folder, streaming
from bnnrepro.data.streaming import fetched_ahead, streamed
from bnnrepro.errors import UserError
from bnnrepro.experiment import Result
from bnnrepro.runs.signature import signature

RunSmall = Callable[..., Result]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Two classes; one image has colours, the others are gray."""
    random = np.random.default_rng(0)
    for split, count in (("train", 30), ("test", 5)):
        for kind in ("cat", "dog"):
            folder = tmp_path / "tree" / split / kind
            folder.mkdir(parents=True)
            for k in range(count):
                planes = (3,) if (split, kind, k) == ("train", "dog", 7) else ()
                pixels = random.integers(0, 256, (9, 8, *planes), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{k:02}.png")
    return tmp_path / "tree"


def sources(tree: Path, in_memory: bool, size: int | None = None):
    augment = composed("dataset=image_folder", f"dataset.root={tree}", "dataset.augment.pad=1")
    data = image_folder.load(
        root=tree, size=size, in_memory=in_memory, augment=augment.dataset.augment
    )
    limits = {"train_limit": 51, "test_limit": 7}
    return data, data.sources(seed=3, device="cpu", batch_size=10, **limits)


@pytest.mark.parametrize("size", [None, 5])
def test_batches_have_the_same_bits(tree: Path, size: int | None) -> None:
    data, streaming_ones = sources(tree, False, size)
    other, from_memory = sources(tree, True, size)
    assert data.facts == other.facts
    for name in ("train", "validation", "test"):
        ours, theirs = (getattr(side, name) for side in (streaming_ones, from_memory))
        assert (ours.ahead, theirs.ahead) == (2, 0)
        for epoch, start in ((0, 0), (1, 1)):
            pairs = list(zip(ours.epoch(epoch, start), theirs.epoch(epoch, start), strict=True))
            assert len(pairs) == len(ours) - start
            for (x, y), (x_memory, y_memory) in pairs:
                assert torch.equal(x, x_memory)
                assert torch.equal(y, y_memory)


def test_a_run_has_the_same_name_and_bits_and_resumes(
    tree: Path, run_small: RunSmall, tmp_path: Path
) -> None:
    words = ["dataset=image_folder", f"dataset.root={tree}", "epochs=3", "batch_size=10"]
    words += ["method=bayesbinn", "model.hidden=[8]"]
    run_small(*words, "dataset.in_memory=false", "stop_after=1")
    streamed_run = run_small(*words, "dataset.in_memory=false")
    from_memory = run_small(*words, "dataset.in_memory=true", out=f"{tmp_path}/memory")
    assert streamed_run.folder.path.name == from_memory.folder.path.name
    assert_same(streamed_run.folder, from_memory.folder)
    assert signature(composed(*words).identity()) == signature(
        composed(*words, "dataset.in_memory=true").identity()
    )


def test_large_data_are_streamed_by_themselves(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(image_folder.load(root=tree).train.inputs, torch.Tensor)
    monkeypatch.setattr(streaming, "SHARE", 1e-9)
    assert isinstance(image_folder.load(root=tree).train.inputs, streaming.Streamed)
    assert isinstance(image_folder.load(root=tree, in_memory=True).train.inputs, torch.Tensor)


def test_a_file_that_is_gone_is_named(tree: Path) -> None:
    _, streaming_ones = sources(tree, False)
    for file in (tree / "test").rglob("*.png"):
        file.unlink()
    with pytest.raises(UserError, match=r"test/(cat|dog)/\d\d\.png"):
        list(streaming_ones.test.epoch(0))


def test_work_is_done_ahead_in_order_and_ends_with_its_reader() -> None:
    begun: list[int] = []

    def work(item: int) -> int:
        begun.append(item)
        return item * item

    items = fetched_ahead(work, range(100), 2)
    assert next(items) == 0
    while len(begun) < 3:
        time.sleep(0.001)
    assert begun == [0, 1, 2]
    assert [next(items) for _ in range(3)] == [1, 4, 9]
    items.close()
    assert len(begun) <= 6
    assert not [one for one in threading.enumerate() if one.name.startswith("ThreadPool")]
    assert list(fetched_ahead(work, range(5), 2)) == [0, 1, 4, 9, 16]
    with pytest.raises(ZeroDivisionError):
        list(fetched_ahead(lambda item: 1 // item, [1, 0], 2))


def test_a_subset_reads_its_own_images() -> None:
    images = np.arange(24, dtype=np.uint8).reshape(6, 1, 2, 2)
    whole = streamed(lambda places: images[places], images.shape)
    part = whole.subset(torch.tensor([5, 1, 3])).subset(torch.tensor([2, 0]))
    assert part.shape == (2, 1, 2, 2)
    assert torch.equal(part[:], torch.from_numpy(images[[3, 5]]))
    assert torch.equal(part.index_select(0, torch.tensor([1])), torch.from_numpy(images[[5]]))
