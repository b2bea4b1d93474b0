"""The model card: ``README.md`` of an exported folder, in the form of the Hugging Face hub."""

import json
from collections.abc import Sequence
from typing import Any

import yaml

from bnnrepro.api import Loaded
from bnnrepro.config.compose import compose
from bnnrepro.errors import UserError
from bnnrepro.experiment.console import metrics_text
from bnnrepro.export.subject import Subject
from bnnrepro.runs.signature import signature

USAGE = {
    "model.safetensors": '''\
import json, torch
from safetensors import safe_open


def unpack(path):
    """Return a state dict; a binary weight is a bit, the first one a byte's lowest."""
    with safe_open(path, "pt") as file:
        shapes = json.loads(file.metadata()["binary"])
        names = [name for name in file.keys() if not name.startswith("draws/")]
        state = {name: file.get_tensor(name) for name in names}
    for name, shape in shapes.items():
        signs = (state[name][:, None] >> torch.arange(8, dtype=torch.uint8) & 1).flatten()
        state[name] = (signs[: torch.Size(shape).numel()].float() * 2 - 1).view(shape)
    return state
''',
    "model.c": """\
import ctypes, numpy  # cc -O3 -shared -fPIC -o model.so model.c

network = ctypes.CDLL("./model.so")
inputs = numpy.zeros(({sizes}), numpy.{dtype})  # {meaning}
outputs, scratch = (numpy.zeros(f(), "float32") for f in (network.bnn_outputs, network.bnn_scratch))
network.bnn_run(*(a.ctypes.data_as(ctypes.c_void_p) for a in (inputs, outputs, scratch)))
""",
    "model.onnx": '''\
import numpy, onnxruntime

session = onnxruntime.InferenceSession("model.onnx")
inputs = numpy.zeros((1, {sizes}), numpy.{dtype})  # {meaning}
(outputs,) = session.run(None, {{"input": inputs}})
''',
}  # fmt: skip
"""A program for each file; all but the first are templates."""


def model_card(subject: Subject, files: Sequence[str], lines: Sequence[str]) -> str:
    """Return the card of a subject's exported files; ``lines`` say what was written and checked."""
    images = len(subject.shape) == 3
    meaning = "pixels of 0 to 1" if images else "points in their own units"
    values = {
        "sizes": ", ".join(map(str, subject.shape)),
        "dtype": subject.form.replace("float", "float32"),
        "meaning": "pixels of 0 to 255" if subject.form == "uint8" else meaning,
    }
    front: dict[str, Any] = {"license": None, "tags": ["binary-neural-network"]}
    parts = [f"# {subject.title}"]
    if subject.run is not None:
        front["model-index"] = [
            {"name": subject.title, "results": [_figures(subject, subject.run)]}
        ]
        parts += _origin(subject, subject.run)
    parts.append("\n".join(f"- {' '.join(line.split())}" for line in lines))
    for name in [name for name in USAGE if name in files]:
        text = USAGE[name] if name == "model.safetensors" else USAGE[name].format(**values)
        parts.append(f"## {name}\n\n```python\n{text}```")
    if subject.about:
        scaled = "(pixels / 255 - mean) / std" if images else "(points - mean) / std"
        parts.append(f"The network of the state dict takes {scaled}; other files do so inside.")
        parts.append(f"```json\n{json.dumps(subject.about)}\n```")
    return f"---\n{yaml.safe_dump(front, sort_keys=False)}---\n\n" + "\n\n".join(parts) + "\n"


def _origin(subject: Subject, run: Loaded) -> list[str]:
    figures, draws = run.result[subject.which].get(subject.split, {}), run.config.evaluate.samples
    labels = {"mode": "the mode, **which these files are**", "mean": f"the mean of {draws} draws"}
    lines = [
        f"- {subject.split}, {label}: {metrics_text(figures[kind])}"
        for kind, label in labels.items()
        if kind in figures
    ]
    command = subject.environment.get("command", "unknown")
    lines.append(f"- signature `{run.result['signature']}`, command `{command}`")
    return [_protocol(run), "\n".join(lines)]


def _protocol(run: Loaded) -> str:
    """Say whether a run's settings are the protocol of its data set and method."""
    config, result = run.config, run.result
    pair = f"{config.dataset.name} and {config.method.name}"
    try:
        words = (f"dataset={config.dataset.name}", f"method={config.method.name}")
        whole = compose(*words, f"seed={config.seed}")
        if signature(whole.identity(), result.get("fingerprint")) == result["signature"]:
            return f"Trained by the whole protocol of bnnrepro for {pair}."
    except UserError:  # a part of one's own
        pass
    stands = f"; {result['dataset']} stands for {result['stands_for']}"
    return (
        f"**Not the paper's protocol**: preset `{result['preset']}`, {result['epochs']:,} epochs, "
        f"{result['n_train']:,} training samples{stands if result['stands_for'] else ''}. The "
        "command below has all settings that differ."
    )


def _figures(subject: Subject, run: Loaded) -> dict[str, Any]:
    result, task = run.result, str(run.result["task"])
    metrics = result[subject.which].get(subject.split, {}).get("mode", {})
    numbers = {key: value for key, value in metrics.items() if isinstance(value, int | float)}
    prefix = "image-" if len(subject.shape) == 3 else ""
    return {
        "task": {"type": prefix + task.replace("continual", "classification")},
        "dataset": {"type": result["dataset"], "name": f"{result['dataset']}, {subject.split}"},
        "metrics": [{"type": key, "value": value} for key, value in numbers.items()],
    }
