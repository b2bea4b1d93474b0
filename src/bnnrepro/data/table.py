"""A table in a CSV file: a row is a sample, one column is its target.

A numeric column is one number of the input, a column of texts one number for each text that the
training rows have (1 where the row has it, else 0). All are standardised by the training rows.
"""

from __future__ import annotations

import csv
import hashlib
import logging
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from bnnrepro.constraints import Fraction, Name, Text
from bnnrepro.data.batches import Samples
from bnnrepro.data.dataset import LIMIT_SEED, Arrays, DataError, dataset, hold_out
from bnnrepro.data.points import PointSet
from bnnrepro.errors import UserError, nearest

if TYPE_CHECKING:
    import pandas as pd  # imported where it is used: --help does without

ENCODING = "numbers, one-hot texts"  # part of the fingerprint
MOST_TEXTS = 100  # of a column: with more it is a name or a date rather than a category
MOST_CLASSES = 20  # different whole numbers that are taken for classes
_DECIMAL_COMMA = re.compile(r"\s*[+-]?\d+(,\d+)?([eE][+-]?\d+)?\s*")

Columns = tuple[tuple[str, tuple[str, ...] | None], ...]
"""The input columns: each one's name, and its texts, or None for numbers."""

log = logging.getLogger(__name__)


class TableSet(PointSet):
    """The rows of a table, their targets classes or standardised values.

    Args:
        arrays: see ``PointSet``.
        validation_split: fraction of the training set held out to choose the best epoch; 0: none
    """

    task = None  # known once the file is read

    def __init__(self, arrays: Arrays, *, name: Name, validation_split: Fraction = 0.1) -> None:
        self.scaled_targets = not arrays.classes
        self.task = "classification" if arrays.classes else "regression"
        super().__init__(arrays, name=name)
        self.facts = replace(self.facts, columns=arrays.columns)
        self.validation_split = validation_split


def check_columns(values: Mapping[str, Any]) -> None:
    """Raise UserError where the target is also one of the inputs' columns."""
    for key in ("drop", "categorical"):
        if values["target"] in values[key]:
            raise UserError("dataset.target", values["target"], f"is in dataset.{key} too")


@dataset(TableSet, check=check_columns, name="csv")
def load(
    root: Text,
    target: Text,
    problem: Literal["auto", "classification", "regression"] = "auto",
    categorical: Sequence[Text] = (),
    drop: Sequence[Text] = (),
    test_split: Fraction = 0.2,
) -> Arrays:
    """Return the rows of a CSV file as points.

    The first line names the columns; commas, semicolons, tabs or bars separate them.

    Args:
        root: the CSV file; or a folder with train.csv and test.csv
        target: the column to be predicted
        problem: auto: classification of texts, or of at most 20 different whole numbers
        categorical: columns whose numbers are names of categories
        drop: columns left out
        test_split: fraction of the file's rows that are the test set, the same for every seed

    Raises:
        DataError: a file that is missing or no table, a column that is not there, a value that is
            missing, or test rows that do not fit the training rows.
    """
    path = Path(root).expanduser()
    files = [path / "train.csv", path / "test.csv"] if path.is_dir() else [path]
    frames = [read_csv(file) for file in files]
    names = list(map(str, frames[0].columns))
    for key, wanted in (("target", [target]), ("categorical", categorical), ("drop", drop)):
        for name in wanted:
            if name not in names:
                there = f"{files[0].name} has no such column; it has {', '.join(names)}"
                raise UserError(f"dataset.{key}", name, there + nearest(name, names))
    whole, train, test = frames[0], frames[0], frames[-1]
    if len(frames) == 1:
        kept, held = hold_out(len(whole), test_split, LIMIT_SEED, "dataset.test_split")
        train, test = whole.iloc[kept.numpy()], whole.iloc[held.numpy()]
    _refuse_missing(whole, target)
    classes = _classes(whole[target], problem)
    columns = _columns(train, {target, *drop}, categorical)

    def samples(rows: pd.DataFrame) -> Samples:
        return Samples(encode(rows, columns), _targets(rows, target, classes))

    digest = hashlib.sha256(ENCODING.encode())
    for file in files:
        digest.update(file.read_bytes())
    return Arrays(
        samples(train),
        samples(test) if len(test) else None,
        classes,
        digest.hexdigest(),
        columns=columns,
    )


def read_csv(path: Path) -> pd.DataFrame:
    """Return a CSV file's rows, numbered by their lines; a byte-order mark is no part of a name.

    Raises:
        DataError: there is no such file, or it is no table in UTF-8 with at least one row.
    """
    import pandas as pd

    if not path.is_file():
        raise DataError(f"no file {path}; a CSV file is needed, or train.csv and test.csv")
    try:
        with path.open(encoding="utf-8-sig") as file:
            first = file.readline()
            separator = max(",;\t|", key=first.count)
            file.seek(0)
            names = next(csv.reader(file, delimiter=separator, skipinitialspace=True), [])
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            frame = pd.read_csv(
                path,
                sep=separator,
                encoding="utf-8-sig",
                index_col=False,
                skipinitialspace=True,
                low_memory=False,
            )
    except UnicodeDecodeError:
        raise DataError(f"{path.name} is not UTF-8 text") from None
    except (
        csv.Error,
        pd.errors.ParserError,
        pd.errors.EmptyDataError,
        pd.errors.ParserWarning,
    ) as error:
        words = " ".join(str(error).split())
        raise DataError(f"{path.name} cannot be read as a table: {words}") from error
    if twice := sorted({name for name in names if name and names.count(name) > 1}):
        raise DataError(f"{path.name} has more than one column {twice[0]}")
    if not len(frame):
        raise DataError(f"{path.name} has no rows below its line of names")
    frame.index += 2
    return frame


def encode(rows: pd.DataFrame, columns: Columns) -> Tensor:
    """Return the inputs of some rows, float64 (N, D), not standardised.

    Raises:
        DataError: a column or a value is missing, or a text stands where numbers are needed.
    """
    parts = []
    for name, texts in columns:
        if name not in rows:
            raise DataError(f"the column {name} is missing; there are {', '.join(rows.columns)}")
        _refuse_missing(rows, name)
        if texts is None:
            parts.append(_numbers(rows[name]))
            continue
        values = _as_texts(rows[name])
        known = values[:, None] == np.asarray(texts, dtype=object)
        if (unknown := ~known.any(1)).any():
            more = f"{unknown.sum()} rows have a text of column {name} that no training row has"
            log.warning("%s (%r): they count as none of its texts", more, values[unknown][0])
        parts.append(known.astype(np.float64))
    return torch.from_numpy(np.concatenate(parts, 1))


def _columns(train: pd.DataFrame, left_out: set[str], categorical: Sequence[str]) -> Columns:
    """Return the columns that inputs are made of; one that is constant says nothing."""
    found: list[tuple[str, tuple[str, ...] | None]] = []
    for name in map(str, train.columns):
        if name in left_out:
            continue
        _refuse_missing(train, name)
        texts = sorted(set(_as_texts(train[name])))
        numbers = _numeric(train[name]) and name not in categorical
        if not numbers and name not in categorical:
            _refuse_decimal_commas(train[name], f"dataset.categorical=[{name}]")
        if len(texts) == 1:
            log.warning("column %s is %r in all training rows: left out", name, texts[0])
        elif numbers or len(texts) <= MOST_TEXTS:
            found.append((name, None if numbers else tuple(texts)))
        else:
            many = f"the column {name} has {len(texts)} different texts, such as {texts[0]!r}"
            raise DataError(f"{many}: a category has at most {MOST_TEXTS}; dataset.drop=[{name}]")
    if not found:
        raise DataError("no column is left to predict from")
    return tuple(found)


def _classes(values: pd.Series, problem: str) -> tuple[str, ...]:
    """Return the names of the classes, sorted; none for a regression."""
    numbers = _numeric(values)
    if not numbers and problem != "classification":
        _refuse_decimal_commas(values, "dataset.problem=classification")
    if problem == "regression":
        _numbers(values)
        return ()
    distinct = sorted(set(values)) if numbers else sorted(set(map(str, values)))
    few = len(distinct) <= MOST_CLASSES and all(float(v).is_integer() for v in distinct if numbers)
    if problem == "auto" and numbers and not few:
        return ()
    if len(distinct) < 2:
        raise UserError("dataset.target", str(values.name), f"is {distinct[0]!r} in all rows")
    return tuple(map(_text, distinct))


def _targets(rows: pd.DataFrame, target: str, classes: Sequence[str]) -> Tensor:
    """Return class numbers, int64 (N,), or values, float64 (N, 1)."""
    if target not in rows:
        raise DataError(f"test.csv has no column {target}")
    _refuse_missing(rows, target)
    if not classes:
        return torch.from_numpy(_numbers(rows[target]))
    numbers = {name: number for number, name in enumerate(classes)}
    texts = _as_texts(rows[target])
    for text in texts:
        if text not in numbers:
            raise DataError(f"test.csv has the class {text!r}, which train.csv has not")
    return torch.tensor([numbers[text] for text in texts])


def _numbers(values: pd.Series) -> np.ndarray:
    """Return a column as float64 (N, 1), in new memory."""
    import pandas as pd

    try:
        numbers: np.ndarray = pd.to_numeric(values).to_numpy(np.float64, copy=True)
    except ValueError as error:
        raise DataError(f"the column {values.name} must have numbers: {error}") from None
    return numbers[:, None]


def _refuse_missing(rows: pd.DataFrame, name: str) -> None:
    """Raise DataError for an empty cell, or a number that is not finite."""
    values = rows[name]
    bad = values.isna()
    if _numeric(values):
        bad |= ~np.isfinite(values.to_numpy(np.float64))
    if bad.any():
        places = f"{bad.sum()} of {len(rows)} values, the first in line {rows.index[bad][0]}"
        cure = f"fill them in, remove these rows, or dataset.drop=[{name}]"
        raise DataError(f"the column {name} lacks {places} (empty, NA or infinite); {cure}")


def _refuse_decimal_commas(values: pd.Series, otherwise: str) -> None:
    """Raise DataError for texts that all are numbers, some of them with a decimal comma."""
    texts = list(map(str, values))
    commas = [text for text in texts if "," in text]
    if commas and all(map(_DECIMAL_COMMA.fullmatch, texts)):
        many = f"the column {values.name} has numbers with a decimal comma, such as {commas[0]}"
        raise DataError(f"{many}: write a point, or if these are names of categories {otherwise}")


def _numeric(values: pd.Series) -> bool:
    return values.dtype.kind in "iufb"


def _as_texts(values: pd.Series) -> np.ndarray:
    return np.array([_text(value) for value in values], dtype=object)


def _text(value: Any) -> str:
    """Return a value as it names a category: 1.0 is 1."""
    whole = isinstance(value, float) and value.is_integer()
    return str(int(value)) if whole else str(value)
