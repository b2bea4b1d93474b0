"""Every module can be imported first: no circle of imports that only another order opens."""

import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src"
# Imports what is not ours once; each module of ours then has a copy of that process to itself.
PROGRAM = """
import gc, importlib, os, sys
import hydra, matplotlib.pyplot, numpy, omegaconf, rich.progress, sklearn.datasets, torch
assert not [name for name in sys.modules if name.startswith(("bnnrepro", "hydra_plugins.bnn"))]
gc.disable()
for name in sys.argv[1:]:
    child = os.fork()
    if child == 0:
        try:
            importlib.import_module(name)
        except BaseException as error:
            print(f"{name}: {type(error).__name__}: {error}", flush=True)
        os._exit(0)
    os.waitpid(child, 0)
"""


def modules() -> list[str]:
    """Return the names of all our modules and packages, from the file system."""
    paths = [path.relative_to(SOURCE).with_suffix("") for path in SOURCE.rglob("*.py")]
    names = [".".join(path.parts).removesuffix(".__init__") for path in paths]
    return sorted(names)


@pytest.mark.slow
def test_every_module_can_be_imported_first() -> None:
    names = modules()
    assert {"bnnrepro", "bnnrepro.optim.bayesbinn", "bnnrepro.report.figures"} <= set(names)
    command = [sys.executable, "-c", PROGRAM, *names]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == []
