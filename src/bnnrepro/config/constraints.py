"""Check values against annotations (types, ranges, choices), and describe these in words.

One converter serves the schema's dataclasses and the signatures of a user's own classes alike.
"""

import math
import re
import sys
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import Annotated, Any, Literal, TypeVar, Union

from bnnrepro.errors import UserError, nearest

T = TypeVar("T")


@dataclass(frozen=True)
class Range:
    """A finite number between two bounds; ``over`` and ``under`` exclude the bound itself."""

    low: float = -math.inf
    high: float = math.inf
    over: bool = False
    under: bool = False

    def holds(self, value: float) -> bool:
        """Return whether the value is in the range; False for nan and infinities."""
        above = value > self.low if self.over else value >= self.low
        below = value < self.high if self.under else value <= self.high
        return math.isfinite(value) and above and below

    def __str__(self) -> str:
        if math.isinf(self.low) and math.isinf(self.high):
            return ""
        if math.isinf(self.high):
            return f"{'>' if self.over else '>='} {self.low:g}"
        left, right = "(" if self.over else "[", ")" if self.under else "]"
        return f"in {left}{self.low:g}, {self.high:g}{right}"


@dataclass(frozen=True)
class Length:
    """A list of at least ``low`` entries, of exactly ``low`` if ``exact``."""

    low: int
    exact: bool = False

    def holds(self, value: Sequence[object]) -> bool:
        """Return whether the list is long enough."""
        return len(value) == self.low if self.exact else len(value) >= self.low

    def __str__(self) -> str:
        return f"of length {self.low}" if self.exact else f"of length >= {self.low}"


@dataclass(frozen=True)
class Pattern:
    """Text that matches a regular expression, which the words describe."""

    regex: str
    words: str

    def holds(self, value: str) -> bool:
        """Return whether the whole text matches."""
        return re.fullmatch(self.regex, value) is not None

    def __str__(self) -> str:
        return self.words


class _RefusedError(Exception):
    """A value does not fit an annotation."""


def convert(key: str, value: object, annotation: Any) -> Any:
    """Return the value, converted to its annotation's type.

    Whole floats become integers where the annotation is int, integers become floats or text;
    nothing else changes its type. An annotation of another kind allows everything.

    Raises:
        UserError: naming the innermost key, the value and what is allowed.
    """
    target = _dataclass_in(annotation)
    if target is not None and isinstance(value, Mapping):
        return build(key, value, target)
    try:
        return _convert(value, annotation)
    except _RefusedError:
        raise UserError(key, shown(value), f"must be {describe(annotation)}") from None


def build(key: str, values: Mapping[Any, Any], cls: type[T]) -> T:
    """Make a dataclass of the values, each converted; ``key`` is the group's own name."""
    hints = typing.get_type_hints(cls, include_extras=True)
    defaults = {field.name: field.default for field in fields(cls)}  # type: ignore[arg-type]
    names = list(defaults)
    refuse_unknown(key, values, names)
    values = {name: value for name, value in defaults.items() if value is not MISSING} | {**values}
    for name in names:
        if name not in values:
            raise UserError(_join(key, name), "", f"is missing; must be {describe(hints[name])}")
    return cls(**{name: convert(_join(key, name), values[name], hints[name]) for name in names})


def refuse_unknown(key: str, values: Mapping[Any, Any], names: Sequence[str]) -> None:
    """Raise UserError for the first key that is not among the names."""
    for name, value in values.items():
        if name not in names:
            where = f"the keys of {key} are" if key else "the keys are"
            raise UserError(
                _join(key, str(name)),
                shown(value),
                f"no such key; {where} {', '.join(names)}{nearest(str(name), names)}",
            )


def describe(annotation: Any) -> str:
    """Describe in words what an annotation allows."""
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation in words:
        return words[annotation]
    if annotation is type(None):
        return "null"
    if origin is Annotated:
        rules = " ".join(filter(None, map(str, arguments[1:])))
        if any(isinstance(rule, Pattern) for rule in arguments):
            return rules
        kind, comma, rest = describe(arguments[0]).partition(",")
        return f"{kind} {rules}".rstrip() + comma + rest
    if origin in (Union, types.UnionType):
        options = list(map(describe, arguments))
        return ("; or " if "," in options[0] else " or ").join(options)
    if origin is Literal:
        return f"one of {', '.join(map(str, arguments))}"
    if _is_list(annotation):
        return f"a list, each entry {describe(arguments[0])}" if arguments else "a list"
    if is_dataclass(annotation):
        return f"a group of the keys {', '.join(field.name for field in fields(annotation))}"
    return getattr(annotation, "__name__", str(annotation))


def shown(value: object) -> str:
    """Return a value as YAML writes it, not Python; a long one is shortened."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = " ".join(str(value).split())
    return text if len(text) <= 80 else f"{text[:77]}..."


def _convert(value: Any, annotation: Any) -> Any:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation in (int, float, bool, str):
        return _scalar(value, annotation)
    if origin is Annotated:
        converted = _convert(value, arguments[0])
        if all(rule.holds(converted) for rule in arguments[1:] if hasattr(rule, "holds")):
            return converted
    elif origin in (Union, types.UnionType):
        return _first_that_fits(value, arguments)
    elif origin is Literal:
        if isinstance(value, bool):  # YAML reads on and off so
            value = "on" if value else "off"
        if any(value == choice and type(value) is type(choice) for choice in arguments):
            return value
    elif annotation is type(None):
        if value is None:
            return None
    elif _is_list(annotation):
        if isinstance(value, Sequence) and not isinstance(value, str):
            return [_convert(entry, arguments[0]) if arguments else entry for entry in value]
    elif not is_dataclass(annotation) or isinstance(value, typing.cast(type, annotation)):
        return value
    raise _RefusedError


def _scalar(value: Any, kind: type) -> Any:
    if type(value) is kind:
        return value
    if kind is int and isinstance(value, float) and value.is_integer():
        return int(value)
    if kind in (float, str) and type(value) is int and abs(value) < sys.float_info.max:
        return kind(value)
    raise _RefusedError


def _first_that_fits(value: Any, annotations: Sequence[Any]) -> Any:
    for annotation in annotations:
        try:
            return _convert(value, annotation)
        except _RefusedError:
            continue
    raise _RefusedError


def _is_list(annotation: Any) -> bool:
    kind = typing.get_origin(annotation) or annotation
    return isinstance(kind, type) and issubclass(kind, Sequence) and kind is not str


def _dataclass_in(annotation: Any) -> type | None:
    """Return the dataclass that an annotation is, or that it allows besides null."""
    options = [annotation, *typing.get_args(annotation)]
    return next((cls for cls in options if isinstance(cls, type) and is_dataclass(cls)), None)


def _join(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name
