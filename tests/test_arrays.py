"""Arrays in a file are read as they were written, or the file is said to be damaged."""

import errno
from pathlib import Path

import numpy as np
import pytest

from bnnrepro.errors import UserError
from bnnrepro.runs.reading import read_arrays

WHOLE = {"places": np.linspace(0, 1, 20, dtype=np.float32), "average": np.array("logits")}


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("arrays") / "map.npz"
    np.savez_compressed(path, **WHOLE)
    assert all(np.array_equal(value, WHOLE[key]) for key, value in read_arrays(path).items())
    return path.read_bytes()


def test_a_file_cut_short_anywhere_is_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "map.npz"
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(
            UserError, match=r"^map=.*map\.npz: cannot be read \(damaged or cut short"
        ):
            read_arrays(path)


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        (OSError(errno.EMFILE, "Too many open files"), "Too many open files"),
        (MemoryError(), "not enough memory"),
    ],
    ids=repr,
)
def test_a_trouble_of_the_system_is_no_damage(
    trouble: Exception, reason: str, content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "map.npz"
    path.write_bytes(content)

    def fail(*_: object, **__: object) -> None:
        raise trouble

    monkeypatch.setattr(np, "load", fail)
    with pytest.raises(UserError, match=rf"^map=.*map\.npz: cannot be read \({reason}\)"):
        read_arrays(path)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("mask", [1, 8, 128, 255])
def test_a_wrong_byte_changes_no_number_unsaid(content: bytes, mask: int, tmp_path: Path) -> None:
    """Some bytes, dates for example, mean nothing; every other one is found out."""
    path, found = tmp_path / "map.npz", 0
    for place in range(len(content)):
        wrong = bytearray(content)
        wrong[place] ^= mask
        path.write_bytes(wrong)
        try:
            arrays = read_arrays(path)
        except UserError:
            found += 1
        else:
            assert all(np.array_equal(arrays[key], WHOLE[key]) for key in WHOLE.keys() & arrays)
    assert found > len(content) / 2
