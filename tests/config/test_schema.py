"""The schema: the same keys as conf/ and as the classes, every key explained, values converted."""

import dataclasses
import inspect
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from omegaconf import OmegaConf
from tests.composing import composed

from bnnrepro.config import check, instantiate
from bnnrepro.config.annotated_yaml import annotated, field_docs
from bnnrepro.config.constraints import Length, Range, convert, describe
from bnnrepro.config.parts import DECLARED, conf_dir, locate
from bnnrepro.config.schema import REGISTRY, Config, Evaluate, Preset
from bnnrepro.errors import UserError

FILES = [
    (group, file)
    for group in ("dataset", "model", "method", "scheduler", "logger")
    for file in sorted((conf_dir() / group).glob("*.yaml"))
]
SUPPLIED = {"model": {"shape", "classes"}, "method": {"params", "train_set_size", "generator"}}


@pytest.mark.parametrize(("group", "file"), FILES, ids=lambda each: getattr(each, "stem", each))
def test_a_file_has_the_keys_of_its_dataclass(group: str, file: Path) -> None:
    values = OmegaConf.load(file)
    cls = REGISTRY[group, values.get("_target_", values.get("name"))]
    keys = {key for key in values if key != "defaults"}
    if file.stem != "constant":
        assert keys == {field.name for field in dataclasses.fields(cls)}
    assert values["name"] == file.stem


@pytest.mark.parametrize(
    ("group", "target"), [each for each in REGISTRY if "." in each[1]], ids=lambda each: each
)
def test_every_target_exists_and_takes_its_keys(group: str, target: str) -> None:
    parameters = set(inspect.signature(locate(group, target)).parameters)
    cls = REGISTRY[group, target]
    keys = {field.name for field in dataclasses.fields(cls)}
    described = {"_target_", "name", *DECLARED.get(group, ()), *getattr(cls, "for_task", ())}
    assert keys - described <= parameters
    if group == "method":
        assert cls.scheduled == locate(group, target).scheduled  # type: ignore[attr-defined]


@pytest.mark.parametrize("model", ["mlp", "vgg", "lrnet_small", "lrnet_big", "unet"])
def test_minimum_sizes_are_those_of_the_models(model: str) -> None:
    part = composed(*(["dataset=shapes"] if model == "unet" else []), f"model={model}").model
    size = part.minimum_size()
    instantiate(part, shape=(1, size, size), classes=2)
    if size > 1:
        with pytest.raises(UserError):
            instantiate(part, shape=(1, size - 1, size), classes=2)


def all_dataclasses() -> list[type]:
    return [Config, Preset, Evaluate, *REGISTRY.values()]


@pytest.mark.parametrize("cls", all_dataclasses(), ids=lambda cls: cls.__name__)
def test_every_field_is_explained(cls: type) -> None:
    docs = field_docs(cls)
    assert not [field.name for field in dataclasses.fields(cls) if not docs.get(field.name)]


@pytest.mark.parametrize(
    ("method", "logger"),
    [
        ("bayesbinn", "wandb"),
        *((method, "none") for method in ("ste", "full_precision", "bop", "pmf")),
    ],
)
def test_the_annotated_yaml_loads_to_the_same_config(method: str, logger: str) -> None:
    config = composed(f"method={method}", f"logger={logger}", "out='1e-4'", "threads=2")
    text = annotated(config)
    assert check(OmegaConf.create(text)) == config
    assert max(map(len, text.splitlines())) <= 110
    assert OmegaConf.create(text) == OmegaConf.create(config.to_dict())


@pytest.mark.parametrize(
    ("value", "annotation", "expected"),
    [
        (3, int, 3),
        (3.0, int, 3),
        (3, float, 3.0),
        (3, str, "3"),
        (None, Annotated[int, Range(1)] | None, None),
        ([1, 2], list[float], [1.0, 2.0]),
        ((1, 2), tuple[float, float], [1.0, 2.0]),
        ("a", Literal["a", "b"], "a"),
        ({"anything": 1}, Any, {"anything": 1}),
    ],
)
def test_values_are_converted(value: object, annotation: Any, expected: object) -> None:
    converted = convert("key", value, annotation)
    assert converted == expected
    assert type(converted) is type(expected)


@pytest.mark.parametrize(
    ("value", "annotation"),
    [
        (True, int),
        (True, float),
        (1, bool),
        ("3", int),
        (1.5, int),
        (1.5, str),
        (None, int),
        ("ab", list[str]),
        ([1, "x"], list[int]),
        (float("nan"), Annotated[float, Range()]),
        (float("inf"), Annotated[float, Range(0)]),
        (0.0, Annotated[float, Range(0, over=True)]),
        (1.0, Annotated[float, Range(0, 1, under=True)]),
        ([1], Annotated[list[int], Length(2)]),
        ("c", Literal["a", "b"]),
    ],
)
def test_what_does_not_fit_is_refused(value: object, annotation: Any) -> None:
    with pytest.raises(UserError, match=r"^key=.*must be "):
        convert("key", value, annotation)


def test_what_is_allowed_is_said_in_words() -> None:
    assert describe(Annotated[float, Range(0, 1, under=True)]) == "a number in [0, 1)"
    assert describe(Annotated[int, Range(1)] | None) == "a whole number >= 1 or null"
    assert describe(Literal["a", "b"]) == "one of a, b"


class Plain:
    """A method of a user's own, without a schema."""

    def __init__(self, params: object, lr: Annotated[float, Range(0)], steps: int = 3) -> None:
        if steps > 9:
            raise ValueError(f"steps={steps}: at most 9")
        self.params, self.lr, self.steps = params, lr, steps


def own_method(**keys: object) -> Config:
    tree = composed("scheduler=constant").to_dict()
    tree["method"] = {"_target_": f"{__name__}.Plain", "name": "plain", **keys}
    return check(OmegaConf.create(tree))


def test_a_class_of_ones_own_is_checked_against_its_signature() -> None:
    config = own_method(lr=1, steps=4)
    built = instantiate(config.method, params="weights", offered={"generator": None})
    assert (built.params, built.lr, built.steps) == ("weights", 1.0, 4)
    assert config.method.scheduled == "lr"
    assert instantiate(own_method(lr=1).method, params=0).steps == 3


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"lr": 1, "stepz": 2}, r"method\.stepz=2: no such key; .*did you mean 'steps'"),
        ({"lr": "fast"}, r"method\.lr=fast: must be a number >= 0"),
        ({"lr": 1, "steps": 1.5}, r"method\.steps=1\.5: must be a whole number"),
    ],
)
def test_its_mistakes_are_named(keys: dict[str, object], words: str) -> None:
    with pytest.raises(UserError, match=words):
        own_method(**keys)


@pytest.mark.parametrize(
    ("keys", "words"),
    [({"lr": 1, "steps": 10}, "method=plain: steps=10: at most 9"), ({}, "method=plain: .*'lr'")],
)
def test_a_constructor_that_refuses_names_the_group(keys: dict[str, object], words: str) -> None:
    with pytest.raises(UserError, match=words):
        instantiate(own_method(**keys).method, params=0)


class Chooser:
    """A model of a user's own that says what it can be trained on."""

    tasks = ("regression",)

    def __init__(self, shape: object, classes: int) -> None:
        pass


def test_a_model_for_other_tasks_is_refused() -> None:
    tree = composed().to_dict()
    tree["model"] = {"_target_": f"{__name__}.Chooser", "name": "chooser"}
    words = "model=chooser: is for regression; dataset=digits is for classification"
    with pytest.raises(UserError, match=words):
        check(OmegaConf.create(tree))
