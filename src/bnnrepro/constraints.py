"""Types with ranges, in the vocabulary of annotated-types, and the one check of values by them.

A hyperparameter is declared once, in its class's constructor: ``lr: Positive = 1e-3`` with its
meaning under ``Args:``. Configs, ``--help``, optimizers and tests read the declaration from there.
Every number must be finite.

Bounds are told by their attributes, which are those of the package annotated_types: one's own parts
may use either. Its classes are not imported, so that the optimizers need torch and NumPy alone.
"""

import functools
import inspect
import math
import operator
import re
import sys
import textwrap
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import Annotated, Any, Literal, TypeVar, Union

from bnnrepro.errors import UserError, nearest

T = TypeVar("T")


@dataclass(frozen=True)
class Ge:
    """Numbers at or above a bound."""

    ge: float


@dataclass(frozen=True)
class Gt:
    """Numbers above a bound."""

    gt: float


@dataclass(frozen=True, kw_only=True)
class Interval:
    """Numbers between bounds, of which each is included or not."""

    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None


@dataclass(frozen=True)
class Len:
    """Lists of at least ``min_length`` entries, and at most ``max_length``."""

    min_length: int
    max_length: int | None = None


@dataclass(frozen=True)
class Pattern:
    """Text that matches a regular expression, which the words describe."""

    regex: str
    words: str


Count = Annotated[int, Ge(1)]
Positive = Annotated[float, Gt(0)]
NotNegative = Annotated[float, Ge(0)]
AtLeastOne = Annotated[float, Ge(1)]
Fraction = Annotated[float, Interval(ge=0, lt=1)]
Share = Annotated[float, Interval(gt=0, le=1)]
Name = Annotated[str, Pattern(r"[A-Za-z0-9][A-Za-z0-9_.-]*", "a name of letters, digits, _ . -")]
Text = Annotated[str, Pattern(r"(?s).*\S.*", "text, not empty")]
Betas = Annotated[Sequence[Fraction], Len(2, 2)]


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
    types_ = hints(typing.cast(Any, cls))
    defaults = {field.name: field.default for field in fields(cls)}  # type: ignore[arg-type]
    names = list(defaults)
    refuse_unknown(key, values, names)
    values = {name: value for name, value in defaults.items() if value is not MISSING} | {**values}
    for name in names:
        if name not in values:
            raise UserError(_join(key, name), "", f"is missing; must be {describe(types_[name])}")
    return cls(**{name: convert(_join(key, name), values[name], types_[name]) for name in names})


def check_arguments(function: Callable[..., Any], values: Mapping[str, Any]) -> None:
    """Check values by the declarations of a constructor's or function's parameters.

    Values of other names are ignored; numbers of NumPy and tensors of one number will do.

    Raises:
        ValueError: a value is out of range or of another type; names the key, the value and what
            is allowed.
    """
    for name, annotation in hints(function).items():
        if name in values:
            value = values[name]
            try:
                convert(name, value.item() if hasattr(value, "item") else value, annotation)
            except UserError as error:
                raise ValueError(str(error)) from None


@functools.cache
def hints(function: Any) -> dict[str, Any]:
    """Return the annotations of a function's parameters, of a constructor's, or of a dataclass.

    Empty where only a type checker can resolve them.
    """
    annotated = function
    if inspect.isclass(function) and not is_dataclass(function):
        annotated = function.__init__
    try:
        return typing.get_type_hints(annotated, include_extras=True)
    except (NameError, TypeError, AttributeError):
        return {}


@functools.cache
def meanings(function: Any) -> Mapping[str, str]:
    """Return what a docstring says under ``Args:`` or ``Attributes:``, for each name.

    A class has its bases' entries too.
    """
    found: dict[str, str] = {}
    for owner in reversed(inspect.getmro(function)) if inspect.isclass(function) else [function]:
        text = inspect.cleandoc(vars(owner).get("__doc__", owner.__doc__) or "")
        for section in re.findall(r"(?ms)^(?:Args|Attributes):\n(.*?)(?=^\S|\Z)", text):
            for entry in re.split(r"(?m)^(?=\w+: )", textwrap.dedent(section)):
                name, colon, words = entry.partition(": ")
                if colon:
                    found[name.strip()] = " ".join(words.split())
    return found


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
        rules = _described(arguments[1:])
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


_NUMBER_BOUNDS = {"ge": operator.ge, "gt": operator.gt, "le": operator.le, "lt": operator.lt}
_LENGTH_BOUNDS = {"min_length": operator.ge, "max_length": operator.le}


def _holds(rule: Any, value: Any) -> bool:
    if isinstance(rule, Pattern):
        return re.fullmatch(rule.regex, value) is not None
    bounds = [(value, _bounds(rule, _NUMBER_BOUNDS))]
    if lengths := _bounds(rule, _LENGTH_BOUNDS):
        bounds.append((len(value), lengths))
    compare = _NUMBER_BOUNDS | _LENGTH_BOUNDS
    return all(compare[name](x, bound) for x, found in bounds for name, bound in found.items())


def _bounds(rule: Any, names: Iterable[str]) -> dict[str, Any]:
    """Return the bounds that a rule of an annotation sets, by their names."""
    found = {name: getattr(rule, name, None) for name in names}
    return {name: bound for name, bound in found.items() if bound is not None}


def _described(rules: Iterable[Any]) -> str:
    """Return rules in words: ``>= 1``, ``in [0, 1)``, ``of length 2``, a pattern's own words."""
    bounds: dict[str, Any] = {}
    for rule in rules:
        if isinstance(rule, Pattern):
            return rule.words
        bounds |= _bounds(rule, [*_NUMBER_BOUNDS, *_LENGTH_BOUNDS])
    if "min_length" in bounds:
        shortest = bounds["min_length"]
        return f"of length {'' if shortest == bounds.get('max_length') else '>= '}{shortest}"
    low = [f"{mark}{bounds[key]:g}" for key, mark in (("ge", "["), ("gt", "(")) if key in bounds]
    high = [f"{bounds[key]:g}{mark}" for key, mark in (("le", "]"), ("lt", ")")) if key in bounds]
    if low and high:
        return f"in {low[0]}, {high[0]}"
    return "".join(low).replace("[", ">= ").replace("(", "> ")


def _convert(value: Any, annotation: Any) -> Any:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation in (int, float, bool, str):
        return _scalar(value, annotation)
    if origin is Annotated:
        converted = _convert(value, arguments[0])
        if all(_holds(rule, converted) for rule in arguments[1:]):
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
    if kind is float and isinstance(value, float) and not math.isfinite(value):
        raise _RefusedError
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
