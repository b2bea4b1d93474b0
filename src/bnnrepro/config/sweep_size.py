"""How many points a sweep has, told before any of them is made."""

import math
from collections.abc import Iterable
from decimal import Decimal, DecimalException

from hydra.core.override_parser.types import Override, RangeSweep

from bnnrepro.errors import UserError

MOST_POINTS = 10_000
"""Points of a sweep; all are composed and checked, in some 4 ms each, before the first is run."""

_ENDLESS = 10**15
"""Stands for as many values, or more, or no end of them."""


def refuse_too_many(overrides: Iterable[Override]) -> None:
    """Refuse a sweep that would fill the memory, or never end, while its points are listed.

    Raises:
        UserError: there are more points than ``MOST_POINTS``; names the longest choice.
    """
    last = {each.get_key_element(): each for each in overrides}  # a key's last override counts
    sizes = {key: _size(each) for key, each in last.items()}
    points = math.prod(sizes.values())
    if points > MOST_POINTS:
        key = max(sizes, key=lambda each: sizes[each])
        number = f"{points:,}" if points < _ENDLESS else "no end of them"
        allowed = f"a sweep has at most {MOST_POINTS:,} points; this one has {number}"
        raise UserError(key, last[key].get_value_string(), allowed)


def _size(override: Override) -> int:
    """Return how many values an override stands for, at most ``_ENDLESS``."""
    if not override.is_discrete_sweep():
        return 1
    value = override.value()
    if not isinstance(value, RangeSweep):
        return sum(1 for _ in override.sweep_iterator())
    try:
        found = value.range()
        start, stop, step = map(Decimal, (found.start, found.stop, found.step))
        return min(max(0, math.ceil((stop - start) / step)), _ENDLESS)
    except (DecimalException, ValueError, OverflowError):  # a step of 0, an end of inf or nan
        return _ENDLESS
