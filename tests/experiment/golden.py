"""The golden record: names, settings and figures of runs that later work must not change.

``python -m tests.experiment.golden`` records it anew; a commit that does so says why.
"""

import hashlib
import json
import tempfile
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image
from tests.composing import composed

from bnnrepro.config.parts import conf_dir
from bnnrepro.experiment import run
from bnnrepro.runs.metrics import read_metrics
from bnnrepro.runs.signature import signature

FILE = Path(__file__).with_name("golden.json")
ROOTED = ("dataset.root=data", "dataset.size=8")  # of data that have no place of their own
SHOWN = {
    "default": (),
    "published": ("method=pmf", "dataset=cifar10"),
    "experiment": ("experiment=figure5_prior", "seed=3"),
}
SMALL = ("device=cpu", "threads=1", "checkpoint_seconds=0")
RUNS = {
    "digits_bayesbinn": ("model.hidden=[32]", "epochs=2"),
    "digits_pmf": ("model.hidden=[32]", "epochs=2", "method=pmf"),
    "permuted_digits": ("dataset=permuted_digits", "epochs=1"),
    "toy_regression": ("dataset=toy_regression", "model.hidden=[8,8]", "epochs=12"),
    "shapes": ("dataset=shapes", "preset=smoke"),
    "image_folder": (
        "dataset=image_folder",
        *ROOTED,
        "model.hidden=[16]",
        "epochs=2",
        "batch_size=5",
    ),
}


def names(group: str) -> list[str]:
    return sorted(page.stem for page in (conf_dir() / group).glob("*.yaml"))


def choices() -> list[tuple[str, ...]]:
    """Every experiment, every pair of a data set and a method, every point of a sweep."""
    pairs = [
        (f"dataset={data}", f"method={method}")
        for data in names("dataset")
        for method in names("method")
    ]
    return [*[(f"experiment={name}",) for name in names("experiment")], *pairs, *points()]


def points() -> list[tuple[str, ...]]:
    """Every point of a file of conf/sweep/, without its seed."""
    found = []
    for name in names("sweep"):
        file = yaml.safe_load((conf_dir() / "sweep" / f"{name}.yaml").read_text())
        params = {k: v for k, v in file["hydra"]["sweeper"]["params"].items() if k != "seed"}
        for values in product(*(str(value).split(",") for value in params.values())):
            words = (f"{key}={value}" for key, value in zip(params, values, strict=True))
            found.append((f"sweep={name}", *words))
    return found


def signature_of(words: tuple[str, ...]) -> str:
    """The signature without a fingerprint: what the settings alone give."""
    data = next((w.removeprefix("dataset=") for w in words if w.startswith("dataset=")), "")
    rooted = {"image_folder": ROOTED, "label_folder": ROOTED[:1], "isbi_em": ROOTED[:1]}
    rooted["csv"] = (*ROOTED[:1], "dataset.target=y")
    rooted["torch"] = ("dataset.name=x", "dataset.train={_target_:torchvision.datasets.MNIST}")
    return signature(composed(*words, *rooted.get(data, ())).identity())


def settings_of(name: str) -> dict[str, Any]:
    return json.loads(json.dumps(composed(*SHOWN[name]).to_dict()))


def figures_of(name: str, out: Path, *more: str) -> dict[str, Any]:
    """Do a short run; return its name, figures and a hash of its weights."""
    words = [word.replace("=data", f"={pictures(out)}") for word in RUNS[name]]
    result = run(composed(*SMALL, f"out={out / 'runs'}", *words, *more))
    if result.values is None:
        return {}
    rows = [
        {k: v for k, v in row.items() if k != "seconds"}
        for row in read_metrics(result.folder.metrics)
    ]
    state = torch.load(result.folder.checkpoint)["model"]
    weights = hashlib.sha256()
    for key, tensor in sorted(state.items()):
        weights.update(key.encode() + tensor.contiguous().numpy().tobytes())
    return {
        "signature": result.signature,
        "rows": rows,
        "final": result.values["final"],
        "weights": weights.hexdigest(),
    }


def pictures(out: Path) -> Path:
    """Make a small folder of images, the same at each call."""
    rng = np.random.default_rng(0)
    for split, kind, number in np.ndindex(2, 2, 10):
        path = out / "data" / ("train", "test")[split] / "ab"[kind] / f"{number}.bmp"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 120, (8, 8, 3)) + 100 * kind
        Image.fromarray(pixels.astype(np.uint8)).save(path)
    return out / "data"


def machine() -> list[str]:
    """What must be equal for the same bits; MKL has other kernels for each vendor."""
    lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    vendor = next((line.split()[-1] for line in lines if line.startswith("vendor_id")), "unknown")
    return [torch.__version__, torch.backends.cpu.get_cpu_capability(), vendor]


def record() -> None:
    """Record anew what the record has: what is newer has no names to keep."""
    recorded = json.loads(FILE.read_text())["signatures"]
    with tempfile.TemporaryDirectory() as folder:
        content = {
            "machine": machine(),
            "signatures": {words: signature_of(tuple(words.split(" "))) for words in recorded},
            "settings": {name: settings_of(name) for name in SHOWN},
            "runs": {name: figures_of(name, Path(folder) / name) for name in RUNS},
        }
    FILE.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    record()
