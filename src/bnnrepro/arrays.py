"""Arrays that a run left in a ``.npz`` file."""

import zipfile
import zlib
from pathlib import Path

import numpy as np

from bnnrepro.errors import UserError, readable
from bnnrepro.store import reading

# What a file with a wrong byte anywhere can raise; a RuntimeError says encrypted, or packed in an
# unknown way.
_DAMAGED = (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of a file by name.

    Raises:
        UserError: it is missing, cannot be read, or is damaged.
    """
    try:
        with (
            readable("map", path),
            reading.opened(path) as opened,
            np.load(opened, allow_pickle=False) as file,
        ):
            return {name: file[name] for name in file.files}
    except _DAMAGED as error:
        raise UserError("map", str(path), "cannot be read (damaged or cut short)") from error
