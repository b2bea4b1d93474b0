import subprocess
import sys

from bnnrepro.importing import torchvision

SOUND = """
import sys
from types import ModuleType
sys.modules["torchvision"] = fake = ModuleType("torchvision")
from bnnrepro.importing import torchvision
import torch
assert torchvision() is fake
assert not hasattr(torch.ops.torchvision, "nms")
"""

OTHER = """
import sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "torchvision":
            raise RuntimeError("another failure")
sys.meta_path.insert(0, Finder())
from bnnrepro.importing import torchvision
torchvision()
"""


def python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_torchvision_can_be_imported_and_again():
    before = torchvision()
    torchvision.cache_clear()
    assert torchvision() is before
    assert hasattr(before.datasets, "MNIST")


def test_a_torchvision_that_imports_is_left_alone():
    done = python(SOUND)
    assert done.returncode == 0, done.stderr


def test_another_failure_is_not_hidden():
    done = python(OTHER)
    assert done.returncode != 0
    assert "another failure" in done.stderr
