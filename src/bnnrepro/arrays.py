"""Arrays that a run left in a ``.npz`` file."""

import zipfile
import zlib
from pathlib import Path

import numpy as np

from bnnrepro.errors import UserError, cannot_read
from bnnrepro.store import reading

# What reading a file with a wrong byte anywhere can raise; a RuntimeError says encrypted, or packed
# in an unknown way.
_DAMAGED = (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of a file by name.

    Raises:
        UserError: it is missing or damaged.
    """
    try:
        with reading.opened(path) as opened, np.load(opened, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (MemoryError, *_DAMAGED) as error:
        reason = cannot_read(error) or "damaged or cut short"
        raise UserError("map", str(path), f"cannot be read ({reason})") from error
