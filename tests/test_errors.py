"""What the system could not give is told from what a file's content has wrong."""

import errno
import os
import pickle
import zipfile

import PIL.Image
import pytest
import torch

from bnnrepro.errors import cannot_read

SYSTEM = ["ENOMEM", "EMFILE", "ENFILE", "EACCES", "EPERM", "EIO", "ESTALE", "ETIMEDOUT", "ENOENT"]
TORCH_CPU = "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: "


@pytest.mark.parametrize("name", SYSTEM)
def test_an_error_of_the_system_is_told_in_its_own_words(name):
    code = getattr(errno, name)
    assert cannot_read(OSError(code, os.strerror(code), "file")) == os.strerror(code)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError(f"{TORCH_CPU}can't allocate memory: you tried to allocate 4 bytes."),
        RuntimeError(f"{TORCH_CPU}not enough memory: you tried to allocate 4 bytes."),
        RuntimeError("unable to mmap 4 bytes from file <x>: Cannot allocate memory (12)"),
        RuntimeError("CUDA error: out of memory"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("can't start new thread"),
        OSError("out of memory when reading image file"),  # Pillow's decoders
    ],
    ids=repr,
)
def test_a_want_of_memory_is_known_however_a_library_words_it(error):
    assert cannot_read(error) == "not enough memory"


def test_the_allocators_of_this_torch_are_understood():
    with pytest.raises(RuntimeError) as raised:
        torch.empty(2**60, dtype=torch.uint8)
    assert cannot_read(raised.value) == "not enough memory"


@pytest.mark.parametrize(
    "error",
    [
        OSError("image file is truncated (3 bytes not processed)"),
        OSError(errno.EINVAL, os.strerror(errno.EINVAL)),
        PIL.Image.UnidentifiedImageError("cannot identify image file"),
        RuntimeError("PytorchStreamReader failed finding central directory"),
        EOFError(),
        ValueError("not enough memory"),  # words that a file may hold
        zipfile.BadZipFile("File is not a zip file"),
        pickle.UnpicklingError("invalid load key"),
    ],
    ids=repr,
)
def test_what_the_content_has_wrong_is_not_the_systems(error):
    assert cannot_read(error) is None
