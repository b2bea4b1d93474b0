"""Run the JSON files of an earlier reproduction (ML Reproducibility Challenge 2020).

``bnnrepro legacy bayesbinn|ste|full_precision FILE.json [wandb_on]`` prints the
equivalent ``run.py`` line and runs it. docs/legacy.md maps every key.
"""

import argparse
import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Annotated, Any

from bnnrepro.cli import run
from bnnrepro.cli.exit_code import command_parser, exits, refuse_in_a_line
from bnnrepro.config.compose import compose
from bnnrepro.constraints import (
    Count,
    Fraction,
    Ge,
    NotNegative,
    Positive,
    Share,
    convert,
    refuse_unknown,
    shown,
)
from bnnrepro.errors import UserError, nearest

COSINE_SPAN = 500  # of every one of the old programs, whatever "epochs" said
OPTIMIZER_MOMENTUM = 0.99  # of the old BayesBiNN; no key of the files changes it

# The model's name here, and the image height and width that the architecture requires.
ARCHITECTURES: dict[str, tuple[str, int | None]] = {
    "BinaryConnect": ("mlp", None),
    "SimpleBinaryConnect": ("mlp", None),
    "VGGBinaryConnect": ("vgg", 32),
    "LRNetSmall": ("lrnet_small", 28),
    "LRNetBig": ("lrnet_big", 32),
}
CHOICES: dict[str, Sequence[str]] = {
    "dataset": ("mnist", "cifar10", "cifar100"),
    "criterion": ("crossentropy",),
    "lr_scheduler": ("cosine",),
    "model_architecture": tuple(ARCHITECTURES),
}
NUMBERS: dict[str, Any] = {
    "input_shape": Count,
    "output_shape": Count,
    "data_augmentation": bool,
    "epochs": Count,
    "validation_split": Fraction,
    "batch_size": Annotated[int, Ge(2)],
    "lr_init": Positive,
    "lr_final": NotNegative,
    "batch_affine": bool,
    "drop_prob": Fraction,
    "momentum": Share,
    "eps": Positive,
    "mc_steps": Count,
    "temperature": Positive,
    "evaluate_steps": Annotated[int, Ge(0)],
    "grad_clip_value": Positive,
    "weight_clip_value": Positive,
}
KEYS = (*CHOICES, *NUMBERS)
OPTIONAL = {"drop_prob", "momentum", "eps"}  # BinaryConnect needs the first
# Keys of one program only.
PROGRAM_KEYS: dict[str, tuple[str, ...]] = {
    "bayesbinn": ("mc_steps", "temperature", "evaluate_steps"),
    "ste": ("grad_clip_value", "weight_clip_value"),
    "full_precision": (),
}


@dataclass(frozen=True)
class Translation:
    """An old experiment as overrides of ``run.py``, with notes for its user, one per line."""

    overrides: list[str]
    notes: list[str]


@exits
def main(argv: list[str]) -> int:
    """Translate a file, print the equivalent line, run it, and return the exit code."""
    request, passed_on = _parse(argv)
    translation = translate(request.program, read(request.file), wandb=request.wandb)
    overrides = [*translation.overrides, *passed_on]
    for note in translation.notes:
        print(f"note: {note}", file=sys.stderr)
    print(shlex.join(["python", "run.py", *overrides]), flush=True)
    return 0 if request.print else run.main(overrides)


def read(path: str) -> dict[str, Any]:
    """Return the content of a JSON file; UserError if it is not one, or holds no object."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UserError("FILE", path, f"cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UserError("FILE", path, f"is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise UserError("FILE", path, 'must hold one JSON object, {"dataset": ...}')
    return content


def translate(program: str, content: Mapping[str, Any], *, wandb: bool = False) -> Translation:
    """Translate a file's content to what one of the old programs did with it.

    Args:
        program: ``bayesbinn``, ``ste`` or ``full_precision``.
        content: the file's keys and values.
        wandb: log to Weights & Biases.

    Raises:
        UserError: a key or value is unknown, missing, or incompatible with another one.
    """
    _one_of("program", program, tuple(PROGRAM_KEYS))
    old = _checked(program, content)
    model, _ = ARCHITECTURES[old["model_architecture"]]
    choices = [f"dataset={old['dataset']}", f"method={program}", f"model={model}"]
    if wandb:
        choices.append("logger=wandb")
    base = compose(*choices).to_dict()
    _check_combinations(old, base["dataset"])
    settings = _settings(program, old, base)
    changed = [f"{k}={_written(v)}" for k, v in settings.items() if _lookup(base, k) != v]
    notes = _notes(program, old, base["model"])
    if wandb:
        notes.append("wandb_on: files that `wandb sync` sends; logger.mode=online sends at once")
    return Translation([*choices, *changed], notes)


# -- checks -----------------------------------------------------------------------------------


def _checked(program: str, content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the file's values, converted; all keys that the program needs are present."""
    refuse_unknown("", content, KEYS)
    required = [key for key in KEYS if key not in {*OPTIONAL, *_unused_keys(program)}]
    if content.get("model_architecture") == "BinaryConnect":
        required.append("drop_prob")
    for key in required:
        if key not in content:
            raise UserError(key, "", f"is missing; {program} needs {', '.join(required)}")
    old = {}
    for key, value in content.items():
        if key == "dataset" and isinstance(value, str):
            value = value.lower()
        if key in CHOICES:
            _one_of(key, value, CHOICES[key])
            old[key] = value
        else:
            old[key] = convert(key, value, NUMBERS[key])
    return old


def _unused_keys(program: str) -> list[str]:
    return [key for name, keys in PROGRAM_KEYS.items() if name != program for key in keys]


def _one_of(key: str, value: object, allowed: Sequence[str]) -> None:
    if value not in allowed:
        hint = nearest(value, allowed) if isinstance(value, str) else ""
        raise UserError(key, shown(value), f"must be one of {', '.join(allowed)}{hint}")


def _check_combinations(old: Mapping[str, Any], dataset: Mapping[str, Any]) -> None:
    name, (channels, height, width) = old["dataset"], dataset["shape"]
    architecture = old["model_architecture"]
    model, size = ARCHITECTURES[architecture]
    if old["batch_affine"]:
        allowed = "must be false: BatchNorm learns no scale or shift here (see docs/legacy.md)"
        raise UserError("batch_affine", "true", allowed)
    if size not in (None, height):
        allowed = f"is for images of {size}x{size}; those of dataset={name} have {height}x{width}"
        raise UserError("model_architecture", architecture, allowed)
    inputs, what = (prod(dataset["shape"]), "pixels") if model == "mlp" else (channels, "channels")
    if old["input_shape"] != inputs:
        allowed = f"must be {inputs} with {architecture}, the {what} of dataset={name}"
        raise UserError("input_shape", old["input_shape"], allowed)
    if old["output_shape"] != dataset["classes"]:
        allowed = f"must be {dataset['classes']}, the classes of dataset={name}"
        raise UserError("output_shape", old["output_shape"], allowed)
    if old["lr_final"] > old["lr_init"]:
        raise UserError("lr_final", old["lr_final"], f"must be <= lr_init={old['lr_init']:g}")


# -- translation ------------------------------------------------------------------------------


def _settings(program: str, old: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
    """Return the dotted keys and values that the chosen config groups do not set."""
    augmented = old["data_augmentation"]
    return {
        "epochs": old["epochs"],
        "batch_size": old["batch_size"],
        "dataset.validation_split": old["validation_split"],
        "dataset.augment.pad": 4 if augmented else 0,
        "dataset.augment.flip": augmented and old["dataset"] != "mnist",
        **_model(old, base["model"]),
        "method.lr": old["lr_init"],
        **_method(program, old),
        "scheduler.final": old["lr_final"],
        "scheduler.span": COSINE_SPAN,
        "scheduler.stepped": "after",
    }


def _model(old: Mapping[str, Any], model: Mapping[str, Any]) -> dict[str, Any]:
    momentum = _momentum_key(model)
    settings = {
        "model.norm_eps": old.get("eps", model["norm_eps"]),
        f"model.{momentum}": old.get("momentum", model[momentum]),
    }
    if old["model_architecture"] == "BinaryConnect":
        settings["model.dropout"] = old["drop_prob"]
    if old["model_architecture"] == "SimpleBinaryConnect":
        settings |= {"model.hidden": [100, 100], "model.dropout": 0.0}
    return settings


def _momentum_key(model: Mapping[str, Any]) -> str:
    """Return the key of ``momentum``; after linear layers of convolutional networks it was 0.1."""
    return "conv_norm_momentum" if "conv_norm_momentum" in model else "norm_momentum"


def _method(program: str, old: Mapping[str, Any]) -> dict[str, Any]:
    if program == "ste":
        return {
            "method.grad_clip": old["grad_clip_value"],
            "method.weight_clip": old["weight_clip_value"],
        }
    if program == "full_precision":
        return {}
    settings = {
        "method.temperature": old["temperature"],
        "method.momentum": OPTIMIZER_MOMENTUM,
        "method.train_samples": old["mc_steps"],
        "method.train_set_scale": 1,
    }
    if old["evaluate_steps"]:
        settings |= {"evaluate.samples": old["evaluate_steps"], "evaluate.average": "logits"}
    return settings


def _lookup(tree: Mapping[str, Any], key: str) -> Any:
    node: Any = tree
    for part in key.split("."):
        node = node[part]
    return node


def _written(value: object) -> str:
    if isinstance(value, list):
        return f"[{','.join(map(_written, value))}]"
    return shown(value) if value is None or isinstance(value, bool) else str(value)


# -- notes ------------------------------------------------------------------------------------


def _notes(program: str, old: Mapping[str, Any], model: Mapping[str, Any]) -> list[str]:
    notes = [
        f"kept: the cosine spans {COSINE_SPAN} epochs, whatever `epochs` says, and moves after "
        "each; scheduler.span=null: the whole run"
    ]
    if old["epochs"] > COSINE_SPAN:
        notes.append(f"repaired: lr stays at lr_final after epoch {COSINE_SPAN}; it rose again")
    notes += _method_notes(program, old)
    notes += _model_notes(program, old, model)
    notes.append("repaired: every image counts; a last, smaller batch was left out")
    if unused := [key for key in _unused_keys(program) if key in old]:
        notes.append(f"ignored: {', '.join(unused)}: {program} has no such settings")
    return notes


def _method_notes(program: str, old: Mapping[str, Any]) -> list[str]:
    if program == "ste":
        return []
    if program == "full_precision":
        return [
            "repaired: gradients and weights are not clipped; only binary weights need it",
            "repaired: validation and test losses are means per image; they were divided by the "
            "batch size once more",
        ]
    notes = [
        f"kept: method.momentum={OPTIMIZER_MOMENTUM}; the paper's runs had 0",
        "repaired: update and prediction use the present natural parameters, not those of "
        "the step before",
    ]
    if old["dataset"] != "mnist":
        notes.append("kept: method.train_set_scale=1; the paper's runs on CIFAR had 10")
    if old["evaluate_steps"]:
        notes.append(
            "kept: the mean prediction averages logits; evaluate.average=probabilities: the paper's"
        )
        notes.append("changed: the mean prediction is made of finished runs, not every epoch")
    return notes


def _model_notes(program: str, old: Mapping[str, Any], model: Mapping[str, Any]) -> list[str]:
    architecture, notes = old["model_architecture"], []
    if "drop_prob" in old and architecture != "BinaryConnect":
        notes.append(f"ignored: drop_prob: {architecture} has no dropout")
    if architecture == "SimpleBinaryConnect":
        notes.append("changed: one task; its program trained five permuted ones in turn")
    if architecture == "LRNetBig":
        notes.append("repaired: BatchNorm after convolutions is applied; it was built and not used")
    if old.get("eps", model["norm_eps"]) != model["norm_eps"]:
        notes.append(f"repaired: eps={old['eps']} is used; it was {model['norm_eps']} always")
    own = model[_momentum_key(model)]
    unread = program == "bayesbinn" and architecture == "BinaryConnect"
    if unread and old.get("momentum", own) != own:
        notes.append(f"repaired: momentum={old['momentum']} is used; it was {own} always")
    return notes


# -- command line -----------------------------------------------------------------------------


def parser(name: str) -> argparse.ArgumentParser:
    """Return the parser of the command's words."""
    options = command_parser(name, "Run an earlier reproduction's JSON file; see docs/legacy.md.")
    options.add_argument("program", help=", ".join(PROGRAM_KEYS))
    options.add_argument("file", help="the JSON file")
    options.add_argument("rest", nargs="*", help="wandb_on; key=value, passed on to run.py")
    options.add_argument("--print", action="store_true", help="print run.py's line; run nothing")
    return options


def _parse(argv: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """Return the parsed arguments, and the overrides that are passed on to ``run.py``."""
    words, passed_on = argv, []
    if "--" in argv:
        index = argv.index("--")
        words, passed_on = argv[:index], argv[index + 1 :]
    options = parser("legacy")
    refuse_in_a_line(options, argv)
    request = options.parse_intermixed_args(words)
    request.wandb = "wandb_on" in request.rest
    overrides = [word for word in request.rest if word != "wandb_on"]
    for word in overrides:
        if "=" not in word:
            hint = nearest(word, ["wandb_on"])
            raise UserError("command line", word, f"must be wandb_on or key=value{hint}")
    return request, [*overrides, *passed_on]
