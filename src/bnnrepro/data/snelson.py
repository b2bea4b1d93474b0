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

from bnnrepro.constraints import Text
from bnnrepro.data.batches import Samples
from bnnrepro.data.dataset import Arrays, DataError, dataset
from bnnrepro.data.points import RegressionSet

FILES = ("train_inputs", "train_outputs")
SOURCE = (
    f"{FILES[0]} and {FILES[1]} come with the SPGP demo of Snelson & Ghahramani (Gatsby Unit, UCL)"
)
POINTS = 200
# ``digest`` of the numbers: a fixed data set, so the signature needs no fingerprint.
DIGEST = "cc452e67a6a06e69784a915eef62489088ab170b6668f73ac3f94b217295a693"


@dataset(RegressionSet, fixed=True, name="snelson")
def load(root: Text = "data/snelson") -> Arrays:
    """Return the 200 points.

    Args:
        root: folder of train_inputs and train_outputs; BNNREPRO_DATA changes its default

    Raises:
        DataError: a file is missing, empty or unreadable, a line is not one finite number, the
            files are of unequal length, or these are not Snelson's points.
    """
    inputs, outputs = (_numbers(Path(root).expanduser() / file) for file in FILES)
    if len(inputs) != len(outputs):
        lengths = f"{len(inputs)} numbers in {FILES[0]}, but {len(outputs)} in {FILES[1]}"
        raise DataError(f"{lengths}: must be as many")
    if digest(inputs, outputs) != DIGEST:
        raise DataError(f"holds {len(inputs)} points that are not Snelson's {POINTS}; {SOURCE}")
    x, y = (torch.tensor(n, dtype=torch.float64)[:, None] for n in (inputs, outputs))
    return Arrays(Samples(x, y), None)


def digest(inputs: list[float], outputs: list[float]) -> str:
    """Return a hash of the numbers, to six digits: independent of how they are written."""
    text = " ".join(f"{number:.5e}" for number in (*inputs, *outputs))
    return hashlib.sha256(text.encode()).hexdigest()


def _numbers(path: Path) -> list[float]:
    try:
        words = path.read_text(encoding="utf-8-sig").split()
    except FileNotFoundError:
        raise DataError(f"has no {path.name}; {SOURCE}") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise DataError(f"{path.name}: cannot be read: {reason}") from error
    if not words:
        raise DataError(f"{path.name}: is empty; must be text, one number a line")
    return [_number(path, index, word) for index, word in enumerate(words, start=1)]


def _number(path: Path, index: int, word: str) -> float:
    try:
        number = float(word)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        must = "must be a finite number, one a line"
        raise DataError(f"{path.name}: number {index} is {word[:20]!r}: {must}")
    return number
