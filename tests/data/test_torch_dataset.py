"""A user's Dataset by its name in a YAML file: the same run as from arrays, resumed to its bits."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from tests.experiment.test_run import assert_same
from torch.utils.data import DataLoader, Dataset, IterableDataset

from bnnrepro.config.compose import hydra_session, load
from bnnrepro.config.validation import check
from bnnrepro.data import torch_dataset
from bnnrepro.data.batches import Samples
from bnnrepro.data.dataset import Arrays, dataset
from bnnrepro.data.images import ImageSet
from bnnrepro.data.torch_dataset import arrays_of
from bnnrepro.errors import DataError, UserError
from bnnrepro.experiment import run
from bnnrepro.runs.signature import signature

PIXELS = np.random.default_rng(0).integers(0, 256, (60, 8, 7, 3), dtype=np.uint8)
CLASSES = ("even", "odd")


class Items(Dataset):
    def __init__(self, first: int, last: int, form: str = "picture") -> None:
        self.places, self.form = range(first, last), form

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, place: int):
        pixels = PIXELS[self.places[place]]
        forms = {
            "picture": lambda: Image.fromarray(pixels),
            "array": lambda: pixels,
            "tensor": lambda: torch.from_numpy(pixels).permute(2, 0, 1),
            "float": lambda: torch.from_numpy(pixels).permute(2, 0, 1) / 255,
            "palette": lambda: Image.fromarray(pixels).quantize(256),
            "clear": lambda: Image.fromarray(np.dstack([pixels, 0 * pixels[..., :1]])),
            "cut": lambda: pixels[: 8 - place % 2],
        }
        return forms[self.form](), torch.tensor(self.places[place] % 2)


class Endless(IterableDataset):
    def __iter__(self):
        return iter(Items(0, 2))


class Labels(Dataset):
    def __init__(self, label: object) -> None:
        self.label = label

    def __len__(self) -> int:
        return 4

    def __getitem__(self, place: int):
        return PIXELS[place], self.label


class Turned(Items):
    def __init__(self, first: int, last: int, transform) -> None:
        super().__init__(first, last, "picture")
        self.transform = transform

    def __getitem__(self, place: int):
        image, target = super().__getitem__(place)
        return self.transform(image), target


def test_every_form_gives_the_same_samples() -> None:
    whole = [arrays_of(Items(0, 50, f), Items(50, 60, f), CLASSES) for f in ("picture", "tensor")]
    whole.append(arrays_of(DataLoader(Items(0, 50, "array")), Items(50, 60), CLASSES))
    assert len({each.fingerprint for each in whole}) == 1
    for each in whole:
        inputs, targets = each.train[torch.tensor([7, 3])]
        assert torch.equal(inputs, torch.from_numpy(PIXELS[[7, 3]]).permute(0, 3, 1, 2))
        assert targets.tolist() == [1, 1]
    other = arrays_of(Items(0, 49), Items(49, 60), CLASSES)
    assert other.fingerprint != whole[0].fingerprint


MEMORY = False


@dataset(ImageSet, name="mine")
def read() -> Arrays:
    """Return the Datasets' images, or the same ones in memory."""
    from_files = arrays_of(Items(0, 50), Items(50, 60), CLASSES)
    if not MEMORY:
        return from_files
    parts = [Samples(part.inputs[:], part.targets) for part in (from_files.train, from_files.test)]
    return Arrays(*parts, CLASSES, from_files.fingerprint)


def by_class(part: str, **values: object) -> str:
    """Return the word of a command line that names ``Items`` for a part of ``dataset=torch``."""
    keys = ",".join(f"{key}:{value}" for key, value in values.items())
    return f"dataset.{part}={{_target_:{__name__}.Items,{keys}}}"


def trained(folder: Path, out: str, *words: str):
    (folder / "conf" / "dataset").mkdir(parents=True, exist_ok=True)
    text = f"_target_: {__name__}.read\nname: mine\naugment: {{pad: 1, flip: true}}\n"
    (folder / "conf" / "dataset" / "mine.yaml").write_text(text)
    words = ("dataset=mine", "epochs=3", "batch_size=16", "method=bayesbinn", *words)
    settings = ("model.hidden=[8]", "device=cpu", "threads=1", f"out={folder}/{out}")
    with hydra_session(config_dir=str(folder / "conf")) as hydra:
        config = check(load(hydra.config_loader, [*words, *settings]))
    return run(config).folder


def test_a_run_on_a_dataset_resumes_to_the_bits_of_one_from_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained(tmp_path, "read", "stop_after=1")
    resumed = trained(tmp_path, "read")
    monkeypatch.setitem(globals(), "MEMORY", True)
    assert_same(resumed, trained(tmp_path, "held"))


def test_a_class_named_in_the_config_is_enough(tmp_path: Path) -> None:
    places = by_class("train", first=0, last=50), by_class("test", first=50, last=60)
    own = ("dataset=torch", "dataset.name=mine", "dataset.augment={pad:1,flip:true}", *places)
    named = trained(tmp_path, "named", *own, "stop_after=1")
    assert trained(tmp_path, "named", *own).path == named.path
    curves = [pd.read_csv(run.metrics) for run in (named, trained(tmp_path, "read"))]
    assert curves[0].drop(columns="seconds").equals(curves[1].drop(columns="seconds"))


def test_where_a_dataset_s_files_lie_changes_no_name() -> None:
    def named(**values: object) -> str:
        return signature({"dataset": {"train": {"_target_": "a.B", **values}}})

    assert named(root="here", download=True) == named(root="there")
    assert named(root="here", split="letters") != named(root="here")


def test_an_argument_may_be_a_call_too() -> None:
    resize = {"_target_": "torchvision.transforms.Resize", "size": [4, 5]}
    part = {"_target_": f"{__name__}.Turned", "first": 0, "last": 50, "transform": resize}
    assert torch_dataset.load.arrays(train=part, test=part).train.inputs.shape == (50, 3, 4, 5)


def test_one_class_is_refused() -> None:
    part = {"_target_": f"{__name__}.Labels", "label": 0}
    with pytest.raises(DataError, match="train has the one class 0; at least two"):
        torch_dataset.load.arrays(train=part, test=part)


def test_a_palette_is_read_in_its_colours() -> None:
    found = arrays_of(Items(0, 4, "palette"), Items(4, 6, "palette"), CLASSES)
    expected = np.asarray(Image.fromarray(PIXELS[2]).quantize(256).convert("RGB"))
    (pixels,) = found.train.inputs[torch.tensor([2])]
    assert pixels.permute(1, 2, 0).tolist() == expected.tolist()


def test_what_is_transparent_is_on_white() -> None:
    found = arrays_of(Items(0, 4, "clear"), Items(4, 6, "clear"), CLASSES)
    pixels = found.train.inputs[torch.tensor([0, 3])]
    assert pixels.shape == (2, 3, 8, 7)
    assert (pixels == 255).all()


class Named(Items):
    def __init__(self, classes: object) -> None:
        super().__init__(0, 4)
        self.classes = classes


@pytest.mark.parametrize(
    ("classes", "names"),
    [
        ([("crane", "bird"), "owl"], ("crane, bird", "owl")),
        ([3, 7], ("3", "7")),
        (["crane", "crane", "crane (0)"], ("crane (0)", "crane (1)", "crane (0) (2)")),
    ],
)
def test_names_of_classes_are_made_texts(classes: object, names: tuple[str, ...]) -> None:
    part = {"_target_": f"{__name__}.Named", "classes": classes}
    assert torch_dataset.load.arrays(train=part, test=part).classes == names


@pytest.mark.parametrize("classes", [3, ["crane", None], {"crane": 0}])
def test_names_that_are_none_are_refused(classes: object) -> None:
    part = {"_target_": f"{__name__}.Named", "classes": classes}
    with pytest.raises(UserError, match="attribute classes must be a list of names"):
        torch_dataset.load.arrays(train=part, test=part)


def test_repeated_names_of_classes_are_told_apart() -> None:
    found = arrays_of(Items(0, 4), Items(4, 6), ("crane", "owl", "crane"))
    assert found.classes == ("crane (0)", "owl", "crane (2)")


def test_classes_without_names_have_numbers() -> None:
    part = {"_target_": f"{__name__}.Items", "first": 0, "last": 50}
    assert torch_dataset.load.arrays(train=part, test=part).classes == ("0", "1")


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("dataset.train=3", "dataset.train=3: must be _target_, the name of a Dataset's class"),
        (
            by_class("train", first=0, start=1),
            "dataset.train=.*unexpected keyword.*'start'",
        ),
        (
            by_class("train", first=0, last=5),
            "dataset.test=.*'train'; .* give dataset.test",
        ),
        ("dataset.train={_target_:torch.Nope}", "dataset.train._target_=torch.Nope: cannot be imp"),
    ],
)
def test_a_class_that_cannot_be_called_is_refused(tmp_path: Path, word: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        trained(tmp_path, "refused", "dataset=torch", "dataset.name=mine", word)


@pytest.mark.parametrize(
    ("train", "words"),
    [
        (Items(0, 3, "float"), r"train\[0\] is an image of float32: must be of uint8"),
        (Items(0, 3, "cut"), r"train\[1\] has the shape \(3, 7, 7\), the one before \(3, 8, 7\)"),
        (Items(0, 0), "train is empty"),
        (Items(0, 3, "nothing"), r"train\[0\] fails: KeyError: 'nothing'"),
        (Labels(0.5), r"train\[0\] has the label 0.5: must be a whole number from 0"),
        (Labels(float("nan")), r"train\[0\] has the label nan"),
        (Labels(10**30), r"train\[0\] has the label 1000"),
        (Labels("cat"), r"train\[0\] has the label cat"),
        (Endless(), "train is a Endless: a Dataset with items by number"),
        (list(Items(0, 2)), "train is a list: a Dataset"),
        (torch.utils.data.TensorDataset(torch.zeros(2, 3)), r"train\[0\] must be a pair"),
    ],
)
def test_other_items_are_refused_in_one_line(train: object, words: str) -> None:
    @dataset(ImageSet, name="mine")
    def load() -> Arrays:
        return arrays_of(train, Items(50, 60), CLASSES)

    with pytest.raises(UserError, match=words) as refused:
        load()
    assert "\n" not in str(refused.value)
