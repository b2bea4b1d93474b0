"""Fixtures that every test may use."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data sets: named by BNNREPRO_TEST_DATA, or beside the checkout."""
    beside = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("BNNREPRO_TEST_DATA", beside))
    if not (folder / "MNIST" / "raw").is_dir():
        pytest.skip(f"no real data in {folder}: set BNNREPRO_TEST_DATA to a folder that has it")
    return folder
