"""What is exported: a trained network, its inputs, and the samples that it is checked on."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bnnrepro import __version__
from bnnrepro.api import Loaded, Trainer, load
from bnnrepro.data.images import normalise
from bnnrepro.errors import UserError, nearest
from bnnrepro.experiment.parts import load_data
from bnnrepro.experiment.threads import set_threads
from bnnrepro.optim import param_groups
from bnnrepro.runs import reading
from bnnrepro.runs.layout import RunFolder

RANDOM = 64
"""Random inputs to check on where no test set is at hand."""


@dataclass(frozen=True)
class Subject:
    """A network in evaluation mode on the CPU, with what is known of its inputs.

    Attributes:
        model: the network.
        binary: the names of its binary parameters.
        shape: of an input, an image's margins included.
        about: ``mean``, ``std``, ``classes`` and the like of a run's data; else empty.
        form: of a file's inputs: ``uint8``, pixels of 0 to 255; ``float``, pixels of 0 to 1, or
            points in their own units; without a run, what the network takes.
        batches: inputs to check on, as the network takes them (normalised).
        samples: what these are, in words.
        targets: theirs; None: they have none.
        split: where the targets come from, ``test`` or ``train``.
        run: the run, if it is one, in ``folder``.
        which: ``best`` or ``final``, of a run.
        draws: packed draws from the posterior, by the binary parameters' names.
    """

    model: nn.Module
    binary: tuple[str, ...]
    shape: Sequence[int]
    about: Mapping[str, Any]
    form: str
    batches: Sequence[Tensor] = ()
    samples: str = ""
    targets: Tensor | None = None
    split: str = "test"
    run: Loaded | None = None
    folder: Path | None = None
    which: str = "final"
    draws: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """The network in a few words."""
        if self.run is None:
            return type(self.model).__name__
        method, data, model = (self.run.result[key] for key in ("method", "dataset", "model"))
        epoch = self.run.result[self.which]["epoch"]
        return f"{method} on {data}, {model}, {self.which} epoch {epoch}, mode"

    @property
    def origin(self) -> dict[str, Any]:
        """What identifies a run's weights; empty without a run."""
        if self.run is None:
            return {}
        keys = ("signature", "dataset", "model", "method", "preset", "seed")
        return {key: self.run.result[key] for key in keys} | {"which": self.which}

    @property
    def metadata(self) -> dict[str, Any]:
        """What a packed file says of its network."""
        about = {"version": __version__, "shape": list(self.shape), **self.about}
        if self.run is None:
            return {"about": about}
        about["shape"] = self.run.about["shape"]
        return {
            "about": about,
            "run": self.origin,
            "model": asdict(self.run.config.effective_model),
        }

    @property
    def environment(self) -> dict[str, Any]:
        """The run's ``env.json``; empty without one."""
        try:
            return dict(reading.parsed(RunFolder(self.folder or Path()).env))
        except (OSError, ValueError, TypeError):
            return {}

    def raw(self, inputs: Tensor) -> Tensor:
        """Return normalised inputs in a file's form."""
        mean, std = self.statistics(torch.float64)
        own = inputs.double() * std + mean
        return (own * 255).round().to(torch.uint8) if self.form == "uint8" else own.float()

    def statistics(self, dtype: torch.dtype = torch.float32) -> list[Tensor]:
        """Return the inputs' mean and standard deviation, shaped to be subtracted and divided."""
        pair = (self.about.get(*each) for each in (("mean", [0.0]), ("std", [1.0])))
        shape = (-1, *[1] * (len(self.shape) - 1))
        return [torch.tensor(numbers, dtype=dtype).view(shape) for numbers in pair]


def subject_of(
    source: "str | Path | Trainer | nn.Module",
    which: str | None = None,
    form: str | None = None,
    shape: Sequence[int] | None = None,
    config_dir: str | Path | None = None,
) -> Subject:
    """Return what is to be exported of a run's folder, a Trainer or a module.

    Raises:
        UserError: there is no finished run, a shape is missing, or inputs have no such form.
    """
    run, about, folder = None, dict[str, Any](), None
    if isinstance(source, str | Path):
        folder = Path(source)
        if not RunFolder(folder).result.exists():
            allowed = "must be the folder of a finished run; it has no result.json"
            raise UserError("RUN", str(source), allowed)
        run = load(folder, which, device="cpu", config_dir=config_dir)
        set_threads(run.config.threads)
        source, about = run.trainer, {**run.about}
        planes, *sides = about.pop("shape")
        margin = getattr(source.model, "margin", 0)
        shape = [planes, *(side + 2 * margin for side in sides)]
        which = which or ("best" if "best" in run.result else "final")
    if shape is None:
        raise UserError("shape", "None", "must be an input's, (C, H, W) for images")
    forms = ["uint8", "float"] if len(shape) == 3 and about else ["float"]
    if form is not None and form not in forms:
        allowed = f"must be {' or '.join(forms)} here{nearest(form, forms)}"
        raise UserError("--input", form, allowed)
    model = source.model if isinstance(source, Trainer) else source
    subject = Subject(
        model=copy.deepcopy(model).cpu().eval(),
        binary=_binary(model, source),
        shape=shape,
        about=about,
        form=form or forms[0],
        run=run,
        folder=folder,
        which=which or "final",
    )
    return _with_random_inputs(subject, "no test set") if run is None else _with_data(subject, run)


def _binary(model: nn.Module, source: Trainer | nn.Module) -> tuple[str, ...]:
    if isinstance(source, Trainer):
        chosen = source.optimizer.binary_parameters() if source.optimizer.binarizes else set()
    else:
        groups = [group["params"] for group in param_groups(model) if group["binary"]]
        chosen = {parameter for members in groups for _, parameter in members}
    return tuple(name for name, value in model.named_parameters() if value in chosen)


def _with_data(subject: Subject, run: Loaded) -> Subject:
    """Return the subject of a run with its test set, or its training set where there is none."""
    config, task = run.config, run.trainer.task
    if task.name == "continual":
        return _with_random_inputs(subject, "each task permutes the pixels in its own way")
    if hasattr(config.dataset, "download"):
        config = replace(config, dataset=replace(config.dataset, download=False))
    limits = {key: getattr(config.preset, key) for key in ("train_limit", "test_limit")}
    settings = {"seed": config.seed, "batch_size": config.batch_size, "device": "cpu", **limits}
    try:
        data = load_data(config)
        sources = data.sources(**settings, margin=getattr(subject.model, "margin", 0))
    except UserError:
        return _with_random_inputs(subject, "the data are not at hand")
    if data.facts.fingerprint != run.result.get("fingerprint"):
        return _with_random_inputs(subject, "the data have changed")
    split, source = ("test", sources.test) if sources.test else ("train", sources.train)
    inputs, targets = zip(*source.epoch(0), strict=True)
    words = f"{sum(map(len, inputs)):,} {split} {task.samples}"
    return replace(subject, batches=inputs, samples=words, targets=torch.cat(targets), split=split)


def _with_random_inputs(subject: Subject, why: str) -> Subject:
    generator, shape = torch.Generator().manual_seed(0), (RANDOM, *subject.shape)
    inputs = torch.randn(shape, generator=generator)
    if len(subject.shape) == 3 and subject.about:
        pixels = torch.randint(256, shape, generator=generator, dtype=torch.uint8)
        inputs = normalise(pixels, *(value.flatten() for value in subject.statistics()))
    return replace(subject, batches=[inputs], samples=f"{RANDOM} random inputs ({why})")
