"""The number of our modules that a run imports: `python benchmarks/modules.py [--list]`.

Runs `python run.py epochs=1` in a temporary folder and counts in that process, as it ends.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

OURS = ("bnnrepro", "hydra_plugins.bnnrepro")
COUNTED = """
import atexit, pathlib, runpy, sys
script, names, *sys.argv[1:] = sys.argv[1:]
atexit.register(lambda: pathlib.Path(names).write_text("\\n".join(sys.modules), encoding="utf-8"))
sys.argv[0] = script
sys.path[0] = str(pathlib.Path(script).parent)
runpy.run_path(script, run_name="__main__")
"""


def imported() -> list[str]:
    """Return the names of the modules of ours that `python run.py epochs=1` imports."""
    script = Path(__file__).resolve().parents[1] / "run.py"
    with tempfile.TemporaryDirectory() as folder:
        names = Path(folder) / "names"
        command = [sys.executable, "-c", COUNTED, str(script), str(names), "epochs=1"]
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        return sorted(filter(lambda name: name.startswith(OURS), names.read_text().split("\n")))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--list", action="store_true", help="print the modules' names first")
    arguments = parser.parse_args()
    modules = imported()
    if arguments.list:
        print(*modules, sep="\n")
    print(f"{len(modules)} modules of ours imported by: python run.py epochs=1")
