"""Cases of a kind, of which the first is a fast test and the others are slow ones."""

from collections.abc import Iterable
from typing import Any

import pytest


def first_fast(cases: Iterable[Any]) -> list[Any]:
    """Return the cases for ``parametrize``, all but the first marked slow."""
    return [
        case if not number else pytest.param(*_tuple(case), marks=pytest.mark.slow)
        for number, case in enumerate(cases)
    ]


def _tuple(case: Any) -> tuple[Any, ...]:
    return case if isinstance(case, tuple) else (case,)
