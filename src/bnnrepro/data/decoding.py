"""Picture files, decoded as a viewer shows them: turned upright, on white.

Every picture file that the project reads is decoded here. A file is read completely before it is
decoded, so that an error while reading is the system's, and an error afterwards is the content's.
"""

from __future__ import annotations

import io
import itertools
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from bnnrepro.errors import DataError, UserError, cannot_read, readable

if TYPE_CHECKING:
    from PIL import Image  # imported where it is used: --help does without

GRAY_MODES = {"1", "L", "LA"}  # of PIL, with 8 bits a channel or less
COLOUR_MODES = {"P", "RGB", "RGBA", "CMYK", "YCbCr"}
CHUNK = 256  # most files per task of a thread; one task per file costs more than a small image
SPARE = 256 << 20  # bytes, more than decoding takes: with less memory free, damage is not proven

T = TypeVar("T")
log = logging.getLogger(__name__)


def read_all(
    paths: Sequence[Path], work: Callable[[Path, bytes], T], key: str = "dataset.root"
) -> list[T]:
    """Return ``work`` of every path and its file's bytes, in order, done in threads.

    Args:
        paths: of picture files.
        work: decodes one; its exceptions are reported as faults of the file's content.
        key: the key that a UserError names.

    Raises:
        UserError: ``work`` raised it, or a file cannot be read or decoded.
    """
    size = max(1, min(CHUNK, -(-len(paths) // _threads())))
    chunks = [paths[first : first + size] for first in range(0, len(paths), size)]
    with readable(key, paths[0].parent if paths else ""), ThreadPoolExecutor(_threads()) as pool:
        done = pool.map(lambda chunk: [_read(path, work, key) for path in chunk], chunks)
        return list(itertools.chain.from_iterable(done))


def refuse_special_files(paths: Sequence[Path]) -> None:
    """Raise DataError for a folder, a pipe (which blocks the reader) or a device (without end)."""
    for path in paths:
        if not path.is_file() and path.exists():
            raise DataError(f"{path} is no regular file")


def log_left_out(folder: Path, paths: Iterable[Path], reason: str) -> None:
    """Log a warning that counts files which are no data, by their endings."""
    if endings := Counter(path.suffix for path in paths):
        kinds = ", ".join(f"{count} {kind or 'without'}" for kind, count in endings.most_common(5))
        log.warning("%s: left out, as %s: files %s", folder, reason, kinds)


def _threads() -> int:
    return min(16, os.cpu_count() or 1)


def _read(path: Path, work: Callable[[Path, bytes], T], key: str) -> T:
    try:
        with readable(key, path):
            return work(path, path.read_bytes())
    except UserError:
        raise
    except Exception as error:  # Pillow's formats raise whatever their parsers raise
        with readable(key, path):
            bytearray(SPARE)  # libjpeg and libwebp report a lack of memory as broken data
        from PIL import UnidentifiedImageError

        unknown = isinstance(error, UnidentifiedImageError)  # whose text names a Python object
        reason = "of no kind that is known" if unknown else " ".join(str(error).split())
        allowed = f"{path} cannot be read as an image ({reason})"
        raise UserError(key, str(path.parent), allowed) from error


def decode(content: bytes) -> Image.Image:
    """Return the picture that a file's bytes hold, turned upright as its EXIF tag asks.

    Raises:
        Exception: of any type, by Pillow, if the bytes are not a picture.
        ValueError: for 16 bits a channel, half of which Pillow would drop in colour pictures.
    """
    from PIL import Image, ImageOps

    image = Image.open(io.BytesIO(content))
    if ";16" in str(image.tile):
        raise ValueError("its pixels have 16 bits a channel: 8 are needed")
    image.load()
    try:
        ImageOps.exif_transpose(image, in_place=True)
    except Exception as error:
        if cannot_read(error):
            raise
        # Viewers ignore tags that cannot be parsed.
    return image


def on_white(image: Image.Image, mode: str) -> Image.Image:
    """Return a picture in the mode L or RGB, composited over white where it is transparent.

    Pictures with transparent parts are most often made for and viewed on white; the colour stored
    in a transparent pixel is arbitrary. Opaque pixels are unchanged.
    """
    if not image.has_transparency_data:
        return image.convert(mode)
    from PIL import Image

    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert(mode)
