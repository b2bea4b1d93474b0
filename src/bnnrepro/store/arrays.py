"""Arrays that a run left in a ``.npz`` file."""

from pathlib import Path

import numpy as np

from bnnrepro.errors import UserError


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of a file by name.

    Raises:
        UserError: it is missing or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError) as error:
        raise UserError("map", str(path), f"cannot be read ({error})") from error
