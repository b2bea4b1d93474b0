"""The schema: the same keys as conf/ and as the classes, every key explained, values converted."""

import inspect
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import annotated_types
import pytest
from omegaconf import DictConfig, OmegaConf
from tests.composing import composed

from bnnrepro.cli.help import annotated
from bnnrepro.config import check, instantiate
from bnnrepro.config.instantiation import LOGGERS
from bnnrepro.config.parts import BASES, SUPPLIED, conf_dir
from bnnrepro.config.protocol import register
from bnnrepro.config.schema import Compile, Config, Evaluate, Preset
from bnnrepro.config.validation import minimum_size
from bnnrepro.constraints import Ge, Gt, Interval, Len, convert, describe, hints, meanings
from bnnrepro.errors import UserError
from bnnrepro.importing import locate

FILES = [(group, file) for group in BASES for file in sorted((conf_dir() / group).glob("*.yaml"))]
OWN_DEFAULTS = {
    *((f"cifar{n}", key) for n in (10, 100) for key in ("classes", "mean", "std")),
    ("continual_mlp", "hidden"),
    ("continual_mlp", "dropout"),
    ("toy_mlp", "bias_lr"),
    *(("resnet20", key) for key in ("channels", "blocks", "shortcut", "norm_momentum")),
    *(("resnet20", key) for key in ("norm_affine", "logit_norm", "bias")),
    *(("adaste_bilevel", key) for key in ("variant", "lr", "alpha", "annealing", "boost")),
    *((map_, "prox") for map_ in ("parq", "binary_relax")),
}
"""A file's own values: another network of the same class, the method's learning rate."""

UNLISTED = {
    "ste": {"weight_decay"},
    "pmf": {"betas", "eps"},
    "constant": {"per", "stepped"},
    "adaste": {"boost", "betas", "eps"},
    "adaste_bilevel": {"momentum", "cut", "init", "train_set_scale"},
}
"""Settings of a constructor that the YAML leaves out; ``+method.betas=...`` adds them."""


def constructor(group: str, values: DictConfig) -> tuple[Any, dict[str, inspect.Parameter]]:
    """Return a YAML's target, and the parameters that are the keys of a config."""
    target = locate(group, values.get("_target_") or LOGGERS[values["name"]])
    parameters = dict(inspect.signature(target).parameters)
    method = {"train_samples"} - set(values) if group == "method" else set()
    for name in {*SUPPLIED.get(group, ()), "name", *method}:
        parameters.pop(name, None)
    return target, parameters


@pytest.mark.parametrize(("group", "file"), FILES, ids=lambda case: getattr(case, "stem", case))
def test_a_file_has_the_keys_and_defaults_of_its_constructor(
    group: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BNNREPRO_DATA", raising=False)
    register()
    root = OmegaConf.create({"preset": {"name": "paper"}, "part": OmegaConf.load(file)})
    values = root.part
    _, parameters = constructor(group, values)
    unlisted = UNLISTED.get(file.stem, set())
    if file.stem != "torch":  # the user's: it stands for many data sets
        assert values["name"] == file.stem
    assert set(values) - {"_target_", "name", "defaults"} == set(parameters) - unlisted
    for key, parameter in parameters.items():
        if OmegaConf.is_missing(values, key):
            assert parameter.default is parameter.empty
        elif key not in unlisted and (file.stem, key) not in OWN_DEFAULTS:
            assert plain(values[key]) == plain(parameter.default), key


def plain(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if OmegaConf.is_config(value):
        return OmegaConf.to_container(value, resolve=True)
    return list(value) if isinstance(value, tuple) else value


@pytest.mark.parametrize(("group", "file"), FILES, ids=lambda case: getattr(case, "stem", case))
def test_every_key_has_a_type_and_a_meaning(group: str, file: Path) -> None:
    target, parameters = constructor(group, OmegaConf.load(file))
    assert set(parameters) <= set(hints(target))
    assert not [key for key in parameters if not meanings(target).get(key)]


@pytest.mark.parametrize("model", ["mlp", "vgg", "lrnet_small", "lrnet_big", "vgg16", "unet"])
def test_minimum_sizes_are_those_of_the_models(model: str) -> None:
    data = {"unet": "shapes", "vgg16": "cifar10"}.get(model, "digits")
    part = composed(f"dataset={data}", f"model={model}").model
    size = minimum_size(part)
    instantiate(part, shape=(1, size, size), classes=2)
    if size > 1:
        with pytest.raises(UserError):
            instantiate(part, shape=(1, size - 1, size), classes=2)


@pytest.mark.parametrize("cls", [Config, Preset, Compile, Evaluate], ids=lambda cls: cls.__name__)
def test_every_field_is_explained(cls: type) -> None:
    assert set(meanings(cls)) == {field.name for field in fields(cls)}


SUCCESSORS = (
    "md_tanh",
    "adaste",
    "adaste_bilevel",
    "prox_connect",
    "parq",
    "binary_relax",
    "bop2",
    "bimu",
    "metaplasticity",
)


@pytest.mark.parametrize(
    ("method", "logger"),
    [
        ("bayesbinn", "wandb"),
        *((method, "none") for method in ("ste", "full_precision", "bop", "pmf", *SUCCESSORS)),
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
        (None, Annotated[int, Ge(1)] | None, None),
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
        (float("nan"), float),
        (float("inf"), Annotated[float, Ge(0)]),
        (0.0, Annotated[float, Gt(0)]),
        (1.0, Annotated[float, Interval(ge=0, lt=1)]),
        ([1], Annotated[list[int], Len(2)]),
        ("c", Literal["a", "b"]),
    ],
)
def test_what_does_not_fit_is_refused(value: object, annotation: Any) -> None:
    with pytest.raises(UserError, match=r"^key=.*must be "):
        convert("key", value, annotation)


def test_what_is_allowed_is_said_in_words() -> None:
    assert describe(Annotated[float, Interval(ge=0, lt=1)]) == "a number in [0, 1)"
    assert describe(Annotated[int, Ge(1)] | None) == "a whole number >= 1 or null"
    assert describe(Literal["a", "b"]) == "one of a, b"


@pytest.mark.parametrize(
    ("rule", "inside", "outside"),
    [
        (annotated_types.Interval(ge=0, lt=1), 0.0, 1.0),
        (annotated_types.Le(2), 2.0, 2.5),
        (annotated_types.Gt(2), 2.5, 2.0),
    ],
)
def test_the_bounds_of_annotated_types_count_too(rule: Any, inside: float, outside: float) -> None:
    assert convert("key", inside, Annotated[float, rule]) == inside
    with pytest.raises(UserError, match="must be a number"):
        convert("key", outside, Annotated[float, rule])


class Plain:
    """A method of a user's own, without a schema."""

    def __init__(self, params: object, lr: Annotated[float, Ge(0)], steps: int = 3) -> None:
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
    [({"lr": 1, "steps": 10}, r"method\.steps=10: at most 9"), ({}, r"method\.lr=: is missing")],
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
