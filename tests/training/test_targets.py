"""Targets and inputs of a caller's: each kind is right, or refused in one line before it counts."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from pandas import DataFrame, Series
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from bnnrepro import Trainer
from bnnrepro.tasks import Regression
from bnnrepro.tasks.segmentation import Segmentation

INPUTS = torch.randn(40, 8, generator=torch.Generator().manual_seed(3))
LABELS = INPUTS[:, :3].argmax(1)
EYE = torch.eye(3)


class Pairs(Dataset):
    def __init__(self, data: tuple[Tensor, Tensor]) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data[0])

    def __getitem__(self, place: int) -> tuple[Tensor, Tensor]:
        return self.data[0][place], self.data[1][place]


FORMS: dict[str, Callable[[tuple[Any, Any]], Any]] = {
    "tensors": lambda data: data,
    "TensorDataset": lambda data: TensorDataset(*data),
    "Dataset": Pairs,
    "DataLoader": lambda data: DataLoader(Pairs(data), batch_size=10),
}


def trainer(outputs: int = 3) -> Trainer:
    torch.manual_seed(5)
    return Trainer(nn.Linear(8, outputs, bias=False), device="cpu").compile("ste", lr=1e-2)


def everything(made: Trainer, train: Any, other: Any) -> list[dict[str, float]]:
    """Train, validate and evaluate; return all figures."""
    rows = made.fit(train, validation_data=other, epochs=2, batch_size=10).rows
    kept = [{name: row[name] for name in row if name != "seconds"} for row in rows]
    return [*kept, made.evaluate(other)]


def put_to_use(made: Trainer, use: str, data: Any, good: Any) -> None:
    """Train on data, evaluate them, or give them to a training on good ones."""
    if use == "fit":
        made.fit(data, batch_size=10)
    elif use == "evaluate":
        made.evaluate(data)
    else:
        made.fit(good, batch_size=10, **{use: data})


KINDS: dict[str, Callable[[Tensor], Any]] = {
    **{
        str(dtype): lambda labels, dtype=dtype: labels.to(dtype)
        for dtype in (torch.uint8, torch.int8, torch.int16, torch.int32, torch.uint16)
    },
    "column": lambda labels: labels[:, None],
    "column of uint8": lambda labels: labels[:, None].to(torch.uint8),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_whole_numbers_of_any_kind_are_class_numbers(kind: str, form: str) -> None:
    given = FORMS[form]((INPUTS, KINDS[kind](LABELS)))
    expected = FORMS[form]((INPUTS, LABELS))
    assert everything(trainer(), given, given) == everything(trainer(), expected, expected)


@pytest.mark.parametrize("outputs", [1, 2])
def test_booleans_are_two_classes(outputs: int) -> None:
    yes = LABELS == 0
    actual, expected = ((INPUTS, yes), (INPUTS, yes.long()))
    assert everything(trainer(outputs), actual, actual) == everything(
        trainer(outputs), expected, expected
    )


def test_arrays_pass_as_tensors_do() -> None:
    actual = (INPUTS.numpy(), LABELS.numpy().astype(np.uint8))
    expected = (INPUTS, LABELS)
    assert everything(trainer(), actual, actual) == everything(trainer(), expected, expected)


@pytest.mark.parametrize("form", FORMS)
def test_inputs_get_the_model_s_precision(form: str) -> None:
    actual = FORMS[form]((INPUTS.double(), LABELS))
    expected = FORMS[form]((INPUTS, LABELS))
    assert everything(trainer(), actual, actual) == everything(trainer(), expected, expected)
    assert torch.equal(trainer().predict(INPUTS.double()), trainer().predict(INPUTS))


BAD: dict[str, tuple[Any, str]] = {
    "one-hot": (EYE[LABELS], r"targets=float32 of shape \(\d+, 3\): must be .*argmax"),
    "whole one-hot": (EYE[LABELS].long(), r"targets=int64 of shape \(\d+, 3\): must be .*argmax"),
    "floating": (LABELS.float(), r"targets=float32 of shape \(\d+,\): must be class numbers"),
    "floating column": (LABELS[:, None].float(), r"targets=float32 of shape \(\d+, 1\): must be"),
    "complex": (LABELS.to(torch.complex64), r"targets=complex64 of shape"),
    "probabilities": (torch.rand(40, 3).softmax(1), r"targets=float32 of shape \(\d+, 3\)"),
    "negative": (LABELS - 1, "targets=-1: class numbers must be >= 0"),
    "to be ignored": (LABELS.masked_fill(LABELS == 2, -100), "targets=-100: class numbers must be"),
    "beyond": (LABELS + 1, "targets=3: the model's outputs are for the classes 0 to 2"),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("use", ["fit", "validation_data", "test_data", "evaluate"])
@pytest.mark.parametrize("kind", BAD)
def test_what_is_no_class_number_is_refused(kind: str, use: str, form: str) -> None:
    targets, message = BAD[kind]
    data, good = FORMS[form]((INPUTS, targets)), (INPUTS, LABELS)
    made = trainer()
    with pytest.raises(ValueError, match=message) as caught:
        put_to_use(made, use, data, good)
    assert "\n" not in str(caught.value)
    assert made.rows == []
    assert len(made.fit(good, batch_size=10).rows) == 1


def test_one_output_is_for_two_classes() -> None:
    with pytest.raises(
        ValueError, match="targets=2: the model's outputs are for the classes 0 to 1"
    ):
        trainer(1).fit((INPUTS, LABELS))


# -- containers -----------------------------------------------------------------------------------

WHOLE = (INPUTS * 10).round()  # exact as integers, so that no form loses anything
ROWS = np.random.default_rng(0).permutation(40) + 100
HELD = Pairs((WHOLE, LABELS))


def read_only(array: np.ndarray) -> np.ndarray:
    array.setflags(write=False)
    return array


class Mapped(Dataset):
    """Samples of any form, made of a sample's input and target."""

    def __init__(self, form: Callable[[Tensor, Tensor], Any]) -> None:
        self.form = form

    def __len__(self) -> int:
        return 40

    def __getitem__(self, place: int) -> Any:
        return self.form(WHOLE[place], LABELS[place])


class Stream(IterableDataset):
    def __init__(self, *samples: Any) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return 40

    def __iter__(self) -> Iterator[Any]:
        return iter(self.samples)


ARRAYS: dict[str, Callable[[np.ndarray, np.ndarray], Any]] = {
    "float64": lambda x, y: (x.astype(np.float64), y),
    "integers": lambda x, y: (x.astype(np.int64), y),
    "int16": lambda x, y: (x.astype(np.int16), y.astype(np.uint64)),
    "big-endian": lambda x, y: (x.astype(">f4"), y.astype(">i8")),
    "backwards": lambda x, y: (x[::-1][::-1], y[::-1].copy()[::-1]),
    "objects": lambda x, y: (x.astype(object), y.astype(object)),
    "lists": lambda x, y: (x.tolist(), y.tolist()),
    "read-only": lambda x, y: (read_only(x.copy()), y),
    "tables": lambda x, y: (DataFrame(x, index=ROWS), Series(y, index=ROWS)),
    "a table as targets": lambda x, y: (DataFrame(x), DataFrame({"kind": y}, index=ROWS)),
    "nullable": lambda x, y: (x, Series(y, dtype="Int64")),
    "a mapping": lambda x, y: {"labels": y, "pixel_values": x},
    "mappings": lambda x, y: Mapped(lambda x, y: {"x": x, "y": y}),
    "a loader of mappings": lambda x, y: DataLoader(
        Mapped(lambda x, y: {"image": x, "label": int(y)}), batch_size=10
    ),
    "samples of lists": lambda x, y: Mapped(lambda x, y: (x.tolist(), int(y))),
    "big-endian samples": lambda x, y: Mapped(lambda x, y: (x.numpy().astype(">f8"), int(y))),
    "a stream": lambda x, y: Stream(*HELD),
}


@pytest.mark.filterwarnings("ignore:The given NumPy array is not writable")
@pytest.mark.parametrize("kind", ARRAYS)
def test_numbers_in_any_container_are_the_same_numbers(kind: str) -> None:
    given = ARRAYS[kind](WHOLE.numpy(), LABELS.numpy())
    ordered = isinstance(given, DataLoader | IterableDataset)  # whose order is their own
    expected = DataLoader(HELD, batch_size=10) if ordered else (WHOLE, LABELS)
    assert everything(trainer(), given, given) == everything(trainer(), expected, expected)


@pytest.mark.filterwarnings("ignore:The given NumPy array is not writable")
@pytest.mark.parametrize("kind", ["a mapping", "tables", "big-endian", "backwards", "lists"])
def test_any_container_is_split_and_weighed_as_tensors_are(kind: str) -> None:
    def history(data: Any, weights: Any) -> dict[str, list[float]]:
        chosen = {"validation_split": 0.5, "class_weight": "balanced", "sample_weight": weights}
        found = trainer().fit(data, batch_size=10, **chosen).history
        return {name: values for name, values in found.items() if name != "seconds"}

    weights = np.linspace(0, 1, 40)
    given = ARRAYS[kind](WHOLE.numpy(), LABELS.numpy())
    assert history(given, weights[::-1].astype(">f8")) == history(
        (WHOLE, LABELS), weights[::-1].copy()
    )


UNREADABLE: dict[str, tuple[Any, str]] = {
    "text": ((INPUTS, np.array(["a", "b", "c"])[LABELS]), r"targets=text: .*return_inverse"),
    "categories": ((INPUTS, Series(["a"] * 40, dtype="category")), "targets=text: must be"),
    "text among inputs": ((DataFrame({"a": ["x"] * 40}), LABELS), "inputs=text: must be numbers"),
    "missing": ((INPUTS, Series([1, None] * 20, dtype="Int64")), "targets=float64 of shape"),
    "ragged": (([[1.0], [1.0, 2.0]], [0, 1]), "inputs: rows of different lengths"),
    "shuffled tables": (
        (DataFrame(INPUTS.numpy()), Series(LABELS.numpy(), index=range(39, -1, -1))),
        "rows in different orders",
    ),
    "inexact": ((torch.full((40, 8), 2**24 + 1), LABELS), "inputs=int64: not all .* float32 holds"),
    "two keys": ({"x": INPUTS, "z": LABELS}, "has the keys x, z; must be two, and one of them"),
    "three keys": (Mapped(lambda x, y: {"x": x, "y": y, "z": 0}), "has the keys x, y, z"),
    "triples": (Mapped(lambda x, y: (x, y, 0)), r"gives tuple, must give pairs"),
    "pictures": (Mapped(lambda x, y: (Image.new("L", (8, 8)), y)), "inputs=Image: must be numbers"),
    "transposed lists": (DataLoader(Mapped(lambda x, y: (x.tolist(), y)), 8), "samples hold lists"),
    "no batch": (DataLoader(Stream(), 8), "gives no batch"),
    "one number": ((1.0, 1), "is one number"),
}


@pytest.mark.parametrize("kind", UNREADABLE)
def test_what_cannot_be_read_as_numbers_is_refused_in_a_line(kind: str) -> None:
    data, message = UNREADABLE[kind]
    made = trainer()
    with pytest.raises((TypeError, ValueError), match=message) as caught:
        made.fit(data)
    assert "\n" not in str(caught.value)
    assert made.rows == []


def test_places_in_an_embedding_stay_integers() -> None:
    words = torch.arange(40).view(20, 2) % 5
    model = nn.Sequential(nn.Embedding(5, 4), nn.Flatten(), nn.Linear(8, 3, bias=False))
    made = Trainer(model, device="cpu").compile("ste")
    made.fit((words.numpy(), words[:, 0] % 3))
    assert made.predict(words).shape == (20, 3)


@pytest.mark.parametrize("wrong", [{"seed": 1.5}, {"device": "gpu"}, {"device": "cuda:99"}])
def test_a_trainer_names_the_argument_that_it_refuses(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"^{next(iter(wrong))}="):
        Trainer(nn.Linear(8, 3), **wrong)
    with pytest.raises(TypeError, match=r"^task='regression': .* Regression\(\)"):
        Trainer(nn.Linear(8, 3), "regression")


# -- the other tasks ------------------------------------------------------------------------------

MAPS = (torch.randn(6, 1, 5, 4), torch.arange(120).view(6, 5, 4) % 2)


def pixels() -> Trainer:
    torch.manual_seed(5)
    made = Trainer(nn.Conv2d(1, 2, 1, bias=False), Segmentation(("no", "yes")), device="cpu")
    return made.compile("ste", lr=1e-2)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "kind", [Tensor.bool, lambda t: t.to(torch.uint8), lambda t: t[:, None], lambda t: t.int()]
)
def test_class_numbers_of_pixels(kind: Any, form: str) -> None:
    actual, expected = FORMS[form]((MAPS[0], kind(MAPS[1]))), FORMS[form](MAPS)
    assert everything(pixels(), actual, actual) == everything(pixels(), expected, expected)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("use", ["fit", "validation_data", "evaluate"])
@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (lambda t: t.float(), r"targets=float32 of shape \(\d+, 5, 4\): must be class numbers"),
        (lambda t: EYE[t], r"targets=float32 of shape"),
        (lambda t: t * 255, "targets=255: the classes are 0 to 1"),
        (lambda t: t - 1, "targets=-1: class numbers must be >= 0"),
    ],
)
def test_pixels_without_a_class_number_are_refused(
    kind: Any, message: str, use: str, form: str
) -> None:
    data, made = FORMS[form]((MAPS[0], kind(MAPS[1]))), pixels()
    with pytest.raises(ValueError, match=message):
        put_to_use(made, use, data, MAPS)
    assert made.rows == []


def test_images_of_pixels_are_predicted_without_targets() -> None:
    made = pixels()
    made.fit(MAPS)
    assert made.predict(MAPS[0]).shape == (6, 2, 5, 4)


def values() -> Trainer:
    torch.manual_seed(5)
    return Trainer(nn.Linear(8, 1, bias=False), Regression(), device="cpu").compile("ste", lr=1e-2)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.int32, torch.bool])
def test_real_numbers_of_any_kind_are_values(dtype: torch.dtype, form: str) -> None:
    targets = (INPUTS[:, :1] > 0).to(dtype)
    actual, expected = FORMS[form]((INPUTS, targets)), FORMS[form]((INPUTS, targets.float()))
    assert everything(values(), actual, actual) == everything(values(), expected, expected)


@pytest.mark.parametrize("use", ["fit", "evaluate"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1j])
def test_values_that_are_not_finite_real_numbers_are_refused(bad: Any, use: str) -> None:
    with pytest.raises(ValueError, match="targets: must be finite real numbers"):
        getattr(values(), use)((INPUTS, torch.full((40, 1), bad)))


# -- draws ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("shuffle", [False, True])
def test_draws_are_averaged_over_the_same_samples_alone(shuffle: bool) -> None:
    made = Trainer(nn.Linear(8, 3, bias=False), device="cpu").compile("bayesbinn", lr=1e-4)
    made.fit((INPUTS, LABELS))
    loader = DataLoader(TensorDataset(INPUTS, LABELS), batch_size=10, shuffle=shuffle)
    if not shuffle:
        whole = made.evaluate((INPUTS, LABELS), samples=4)
        assert made.evaluate(loader, samples=4) == pytest.approx(whole, rel=1e-6)
        return
    with pytest.raises(ValueError, match="data: must give the same samples each time"):
        made.evaluate(loader, samples=4)
