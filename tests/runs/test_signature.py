import copy
import enum
import math
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from bnnrepro.config.parts import conf_dir
from bnnrepro.errors import UserError
from bnnrepro.runs import signature as module
from bnnrepro.runs.signature import EXCLUDED, FORMATS, signature

CONFIG: dict[str, Any] = {
    "seed": 0,
    "epochs": 500,
    "dataset": {"name": "mnist", "augment": {"pad": 0, "flip": False}, "mean": [0.5]},
    "method": {"lr": 1e-4, "temperature": 1e-10, "prior": 0.0},
    "device_count": 1,
}

# No key here is excluded: none begins with "on_", none is a word of EXCLUDED.
KEYS = st.text(st.sampled_from("abcxyz"), min_size=1, max_size=3)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=4)
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)
CONFIGS = st.dictionaries(KEYS, VALUES, max_size=5)


def reversed_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: reversed_keys(value[key]) for key in reversed(value)}
    return [reversed_keys(item) for item in value] if isinstance(value, list) else value


def numbers_as_floats(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: numbers_as_floats(item) for key, item in value.items()}
    if isinstance(value, list):
        return [numbers_as_floats(item) for item in value]
    exact = type(value) is int and abs(value) < 2**53
    return float(value) if exact else value


def with_key(config: dict[str, Any], dotted: str, value: Any) -> dict[str, Any]:
    config = copy.deepcopy(config)
    place, *words = config, *dotted.split(".")
    for word in words[:-1]:
        place = place.setdefault(word, {})
    place[words[-1]] = value
    return config


@settings(deadline=None)
@given(CONFIGS)
def test_the_order_of_keys_does_not_matter(config: dict[str, Any]) -> None:
    assert signature(config) == signature(reversed_keys(config))


@settings(deadline=None)
@given(CONFIGS)
def test_whole_numbers_hash_alike_as_int_and_float(config: dict[str, Any]) -> None:
    assert signature(config) == signature(numbers_as_floats(config))


@settings(deadline=None)
@given(CONFIGS, CONFIGS)
def test_two_configs_have_one_signature_only_if_they_are_equal(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    # To Python True == 1, to a signature not: compare a text that tells them apart.
    same = repr(sorted_floats(one)) == repr(sorted_floats(other))
    assert (signature(one) == signature(other)) == same


def sorted_floats(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: sorted_floats(value[key]) for key in sorted(value)}
    if isinstance(value, list):
        return [sorted_floats(item) for item in value]
    whole = isinstance(value, float) and value.is_integer()
    return int(value) if whole else value


@pytest.mark.parametrize("key", [*sorted(EXCLUDED), "on_done", "on_failed", "method.on_step"])
@settings(deadline=None)
@given(value=VALUES)
def test_excluded_keys_do_not_matter(key: str, value: Any) -> None:
    assert signature(with_key(CONFIG, key, value)) == signature(CONFIG)


@pytest.mark.parametrize(
    "key",
    [
        *("seed", "epochs", "dataset.name", "dataset.augment.pad", "method.lr", "method.new"),
        # The name of an excluded key elsewhere, and longer names, count.
        *("dataset.out", "method.root", "device_count", "once", "method.evaluate"),
    ],
)
@settings(deadline=None)
@given(value=st.integers(10**6, 10**9) | st.text(min_size=8))
def test_every_other_key_matters(key: str, value: Any) -> None:
    assert signature(with_key(CONFIG, key, value)) != signature(CONFIG)


@settings(deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_the_least_change_of_a_number_matters(lr: float) -> None:
    changed = math.nextafter(lr, 0.0 if lr else 1.0)
    assert signature({"lr": lr}) != signature({"lr": changed})


@pytest.mark.parametrize(
    ("one", "other"),
    [(1, True), (0, False), ("1", 1), (None, "None"), (None, 0), ([], None), ([1, 2], [2, 1])],
)
def test_what_only_looks_alike_is_told_apart(one: Any, other: Any) -> None:
    assert signature({"a": one}) != signature({"a": other})


def test_zero_has_no_sign_and_a_tuple_is_a_list() -> None:
    assert signature({"a": -0.0, "b": (1, 2)}) == signature({"a": 0, "b": [1.0, 2]})


def test_big_seeds_are_not_rounded() -> None:
    assert signature({"seed": 2**63 - 1}) != signature({"seed": 2**63 - 2})


def test_data_enter_by_content_where_a_fingerprint_is_given() -> None:
    found = {signature(CONFIG, fingerprint) for fingerprint in (None, "", "a", "b")}
    assert len(found) == 4


def test_enumerations_and_paths_stand_by_name() -> None:
    colour = enum.Enum("colour", ["red"])
    assert signature({"a": colour.red, "b": Path("x/y")}) == signature({"a": "red", "b": "x/y"})


def test_an_omegaconf_config_hashes_as_its_plain_content() -> None:
    assert signature(OmegaConf.create(CONFIG)) == signature(CONFIG)  # type: ignore[arg-type]


def test_ten_hexadecimal_digits_the_same_in_every_process_and_version() -> None:
    assert re.fullmatch("[0-9a-f]{10}", signature(CONFIG))
    assert signature({"method": {"lr": 1e-4}, "seed": 0}) == "57169e69d6"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_is_refused_by_its_key(value: float) -> None:
    with pytest.raises(UserError, match=r"method\.betas\[1\]=-?(nan|inf): must be a finite number"):
        signature({"method": {"betas": [0.9, value]}})


def test_keys_that_are_not_strings_and_unknown_types_are_refused() -> None:
    with pytest.raises(UserError, match="steps=10"):
        signature({"steps": {10: 0.1}})
    with pytest.raises(TypeError, match=r"a\.b: set"):
        signature({"a": {"b": {1}}})


@pytest.mark.parametrize("target", FORMATS)
def test_another_format_of_a_part_is_another_signature(target, monkeypatch):
    config = {**CONFIG, "method": {**CONFIG["method"], "_target_": target}}
    names = {signature(config)}
    for formats in ({}, {**FORMATS, target: FORMATS[target] + 1}):
        monkeypatch.setattr(module, "FORMATS", formats)
        names.add(signature(config))
    assert len(names) == 3


def test_the_formats_are_of_parts_that_a_run_can_have():
    pages = [yaml.safe_load(page.read_text()) for page in conf_dir().glob("*/*.yaml")]
    assert set(FORMATS) <= {page.get("_target_") for page in pages}


STORED: dict[str, Any] = {"seed": 0, "method": {"lr": 1e-4}, "training": {"ema": None}}


@pytest.mark.parametrize(
    ("change", "keys"),
    [
        ({}, []),
        ({"seed": 1}, ["seed"]),
        ({"seed": 0.0}, []),
        ({"seed": False}, ["seed"]),
        ({"method": {"lr": 1e-4, "stale_mean": True}}, ["method.stale_mean"]),
        ({"method": {"lr": 1e-4, "dropped": 3}}, []),  # no key of the present version
        ({"method": {}}, ["method.lr"]),
        ({"training": {}}, []),  # older than the key
        ({"training": {"ema": 0.9}}, ["training.ema"]),
        ({"training": {"ema": {"decay": 0.9}}}, ["training.ema.decay"]),
        ({"out": "elsewhere", "on_done": "evaluate", "code": "warn"}, []),
    ],
)
def test_settings_are_compared_across_versions(change: dict[str, Any], keys: list[str]) -> None:
    asked = {**STORED, "method": {"lr": 1e-4, "stale_mean": False}, "out": "multirun"}
    stored, wanted = module.comparable({**STORED, **change}), module.comparable(asked)
    assert module.differing(stored, wanted) == keys
    unknown = {"method.dropped": 3} if "dropped" in change.get("method", {}) else {}
    assert module.unknown(stored, wanted) == unknown


def test_a_run_older_than_a_setting_is_not_one_with_it() -> None:
    asked = module.comparable({**STORED, "training": {"ema": 0.9}})
    for stored in (STORED, {"seed": 0, "method": {"lr": 1e-4}}):
        assert module.differing(module.comparable(stored), asked) == ["training.ema"]
