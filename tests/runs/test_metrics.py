import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bnnrepro.errors import UserError
from bnnrepro.runs.metrics import COLUMNS, read_metrics, write_metrics

NAMES = st.sampled_from(COLUMNS) | st.text(
    st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8
)
NUMBERS = st.none() | st.integers(-(2**70), 2**70) | st.floats()
ROWS = st.lists(st.dictionaries(NAMES, NUMBERS, min_size=1, max_size=6), max_size=6)


def bits(value: float | None) -> Any:
    """Return what tells two values apart: type and bits (one NaN is another)."""
    if isinstance(value, float):
        return "nan" if math.isnan(value) else struct.pack("d", value)
    return value


@settings(max_examples=40, deadline=None)  # every example reaches the disk twice
@given(rows=ROWS)
def test_rows_read_back_to_the_same_bits(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]]
) -> None:
    path = tmp_path_factory.getbasetemp() / "round_trip.csv"
    write_metrics(path, rows)
    read = read_metrics(path)
    columns = {column for row in rows for column in row}
    assert len(read) == len(rows)
    for old, new in zip(rows, read, strict=True):
        assert set(new) == columns
        assert {c: bits(new[c]) for c in columns} == {c: bits(old.get(c)) for c in columns}
    first = path.read_bytes()
    write_metrics(path, read)
    assert path.read_bytes() == first


def test_the_contracts_columns_come_first_and_others_in_order_of_appearance(
    tmp_path: Path,
) -> None:
    path = tmp_path / "metrics.csv"
    late = {"zeta": 1.0, "alpha": 2.0, **dict.fromkeys(reversed(COLUMNS), 0)}
    write_metrics(path, [{"epoch": 1, "entropy": 0.5}, late])
    header = path.read_text().splitlines()[0].split(",")
    assert header == [*COLUMNS, "entropy", "zeta", "alpha"]


def test_another_tasks_metric_stands_in_the_place_of_accuracy(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    names = ["flips", "test_rmse", "seconds", "test_loss", "train_rmse", "train_loss", "epoch"]
    write_metrics(path, [dict.fromkeys(names, 0)])
    header = path.read_text().strip().splitlines()[0].split(",")
    wanted = ["epoch", "train_loss", "train_rmse", "test_loss", "test_rmse", "seconds", "flips"]
    assert header == wanted


def test_numpys_floats_are_floats(tmp_path: Path) -> None:
    write_metrics(tmp_path / "m.csv", [{"lr": np.float64(0.1)}])
    assert read_metrics(tmp_path / "m.csv") == [{"lr": 0.1}]


@pytest.mark.parametrize("value", [True, "x", [1.0], np.float32(1)])
def test_what_is_no_number_is_refused_by_its_column_and_nothing_is_written(
    tmp_path: Path, value: Any
) -> None:
    with pytest.raises(TypeError, match=r"^entropy: "):
        write_metrics(tmp_path / "m.csv", [{"entropy": value}])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "content", [b"a,b\n1\n", b"a\n1,2\n", b"a\nx\n", b"a,b\n1,2\n3", b"a\n\n", b"\xff\n1\n"]
)
def test_a_damaged_file_is_the_users_error_and_names_the_file(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "m.csv"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"m\.csv"):
        read_metrics(path)


def test_a_missing_file_is_the_users_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"m\.csv"):
        read_metrics(tmp_path / "m.csv")
