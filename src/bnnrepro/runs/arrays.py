"""Arrays that a run left in a ``.npz`` file."""

import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from bnnrepro.errors import UserError, readable
from bnnrepro.runs import reading

if TYPE_CHECKING:
    import numpy as np

# What a file with a wrong byte anywhere can raise; a RuntimeError says encrypted, or packed in an
# unknown way.
_DAMAGED = (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)


def read_arrays(path: Path) -> "dict[str, np.ndarray]":
    """Return the arrays of a file by name.

    Raises:
        UserError: it is missing, cannot be read, or is damaged.
    """
    import numpy as np  # only here: other commands on runs do without

    try:
        with (
            readable("map", path),
            reading.opened(path) as opened,
            np.load(opened, allow_pickle=False) as file,
        ):
            return {name: file[name] for name in file.files}
    except _DAMAGED as error:
        raise UserError("map", str(path), "cannot be read (damaged or cut short)") from error
