"""Snelson's one-dimensional regression set: 200 points, read from text files.

It comes with the SPGP demo of Snelson & Ghahramani ("Sparse Gaussian processes using
pseudo-inputs", NIPS 2005): ``train_inputs`` and ``train_outputs``, one number per line. The demo's
``test_inputs`` have no targets, so this set has no test points.
"""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import torch
from torch import Tensor

from bnnrepro.data.toy import Points, RegressionData, standardised
from bnnrepro.errors import UserError

KEY = "dataset.root"
FILES = ("train_inputs", "train_outputs")
POINTS = 200
# ``digest`` of the numbers: a fixed data set, so the signature needs no fingerprint.
DIGEST = "cc452e67a6a06e69784a915eef62489088ab170b6668f73ac3f94b217295a693"


def load(*, name: str = "snelson", root: str | Path) -> RegressionData:
    """Return the 200 points, inputs and targets standardised.

    Args:
        name: the data set's name.
        root: the folder of the two files.

    Raises:
        UserError: a file is missing, empty or unreadable, a line is not one finite number, the
            files are of unequal length, or these are not Snelson's points.
    """
    folder = Path(root).expanduser()
    inputs, outputs = (_numbers(folder, file) for file in FILES)
    if len(inputs) != len(outputs):
        lengths = f"{len(inputs)} numbers in {FILES[0]}, but {len(outputs)} in {FILES[1]}"
        raise UserError(KEY, str(root), f"{lengths}: must be as many")
    if digest(inputs, outputs) != DIGEST:
        allowed = f"holds {len(inputs)} points that are not Snelson's {POINTS}; {_source()}"
        raise UserError(KEY, str(root), allowed)
    (x,), mean, std = standardised(_column(inputs))
    (y,), target_mean, target_std = standardised(_column(outputs))
    return RegressionData(
        name=name,
        train=Points(x, y),
        test=None,
        mean=tuple(mean.tolist()),
        std=tuple(std.tolist()),
        target_mean=float(target_mean),
        target_std=float(target_std),
    )


def digest(inputs: list[float], outputs: list[float]) -> str:
    """Return a hash of the numbers, to six digits: independent of how they are written."""
    text = " ".join(f"{number:.5e}" for number in (*inputs, *outputs))
    return hashlib.sha256(text.encode()).hexdigest()


def _numbers(folder: Path, file: str) -> list[float]:
    path = folder / file
    try:
        lines = path.read_text(encoding="utf-8").split()
    except FileNotFoundError:
        raise UserError(KEY, str(folder), f"has no {file}; {_source()}") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise UserError(KEY, str(path), f"cannot be read: {reason}") from error
    if not lines:
        raise UserError(KEY, str(path), "is empty; must be text, one number a line")
    return [_number(path, index, word) for index, word in enumerate(lines, start=1)]


def _number(path: Path, index: int, word: str) -> float:
    try:
        number = float(word)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        allowed = f"number {index} is {word[:20]!r}: must be a finite number, one a line"
        raise UserError(KEY, str(path), allowed)
    return number


def _source() -> str:
    return (
        f"{FILES[0]} and {FILES[1]} come with the SPGP demo of Snelson & Ghahramani "
        "(Gatsby Unit, UCL)"
    )


def _column(numbers: list[float]) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)[:, None]
