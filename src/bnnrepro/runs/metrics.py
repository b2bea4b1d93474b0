"""A run's metrics, one row per epoch, as CSV that reads back to the same bits."""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from bnnrepro.errors import UserError
from bnnrepro.runs import atomic, reading

COLUMNS = (
    "epoch",
    "lr",
    "train_loss",
    "train_accuracy",
    "validation_loss",
    "validation_accuracy",
    "test_loss",
    "test_accuracy",
    "seconds",
)
"""The first columns, in this order, as far as a run has them."""

Number = int | float

_WHOLE = re.compile(r"[+-]?\d+")


def write_metrics(path: str | Path, rows: Sequence[Mapping[str, Number | None]]) -> None:
    """Write ``rows`` to ``path`` as CSV, atomically.

    The columns are the union of the rows' keys: those of ``COLUMNS`` first, another metric of
    train, validation or test (``test_error``) instead of that accuracy, and then the others
    in order of first appearance. A value that is None or missing is an empty cell.

    Raises:
        TypeError: a value is neither an int, a float nor None.
    """
    columns = sorted(dict.fromkeys(key for row in rows for key in row), key=_order)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if columns:
        writer.writerow(columns)
    for row in rows:
        writer.writerow([_cell(row.get(column), column) for column in columns])
    atomic.write_text(path, text.getvalue())


def read_metrics(path: str | Path) -> list[dict[str, Number | None]]:
    """Return the rows of a CSV file, each with every column; an empty cell is None.

    Raises:
        UserError: the file is missing or not a table of numbers; names the file and the line.
    """
    try:
        text = reading.text(Path(path))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError("metrics", str(path), f"cannot be read ({error})") from error
    reader = csv.reader(io.StringIO(text))
    try:
        columns = next(reader, [])
        return [dict(zip(columns, map(_value, cells), strict=True)) for cells in reader]
    except (ValueError, csv.Error) as error:
        reason = f"damaged: line {reader.line_num} is not one number per column"
        raise UserError("metrics", str(path), reason) from error


def _order(column: str) -> int:
    if column in COLUMNS:
        return COLUMNS.index(column)
    split = column.partition("_")[0]
    accuracy = f"{split}_accuracy"
    return COLUMNS.index(accuracy) if accuracy in COLUMNS else len(COLUMNS)


def _cell(value: object, column: str) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return float.__repr__(value)  # a subclass, as NumPy's, may print its type's name
    if isinstance(value, int) and not isinstance(value, bool):
        return int.__repr__(value)
    raise TypeError(f"{column}: {type(value).__name__} is not a number of a metrics table")


def _value(cell: str) -> Number | None:
    if not cell:
        return None
    return int(cell) if _WHOLE.fullmatch(cell) else float(cell)
