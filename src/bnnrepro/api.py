"""The facade for notebooks and scripts: a Trainer that classifies by default, and ``load``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from bnnrepro.data.decoding import decode, on_white, read_all
from bnnrepro.data.images import normalise
from bnnrepro.errors import UserError
from bnnrepro.models.summary import ModelSummary, summarise
from bnnrepro.optim import param_groups
from bnnrepro.runs.layout import RunFolder
from bnnrepro.runs.result import headline, read_result
from bnnrepro.runs.stored_config import read_config
from bnnrepro.screen import Shown
from bnnrepro.tasks import Classification, Task, task_named
from bnnrepro.training import checkpoint
from bnnrepro.training.loop import TrainingLoop

if TYPE_CHECKING:
    from bnnrepro.experiment import Result


class Trainer(Shown, TrainingLoop):
    """Trains a model by a method; classification unless another task is given.

    ::

        trainer = Trainer(model).compile(method="bayesbinn", lr=1e-4)
        history = trainer.fit((x, y), validation_data=(x_val, y_val), epochs=10)
        probabilities = trainer.predict(x_new)

    Args:
        model: any ``nn.Module``; it is moved to the device. ``bnnrepro.optim.param_groups`` says
            which of its parameters are binarised (except by ``full_precision``, which does none).
        task: loss and metrics; ``Classification()`` if None.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        seed: fixes order, dropout and the method's draws.
        precision: of the training steps, ``float32``, ``tf32``, ``bf16`` or ``auto``.
        compile_network: run forward and backward pass through ``torch.compile``.
    """

    def __init__(
        self,
        model: nn.Module,
        task: Task | None = None,
        *,
        device: str = "auto",
        seed: int = 0,
        precision: str = "float32",
        compile_network: bool = False,
    ) -> None:
        super().__init__(
            model,
            task or Classification(),
            device=device,
            seed=seed,
            precision=precision,
            compile_network=compile_network,
        )

    def _facts(self) -> dict[str, object]:
        last = {k: f"{v:.6g}" for row in self.rows[-1:] for k, v in row.items() if "_" in k}
        method = type(self._optimizer).__name__ if self._optimizer else "not chosen"
        return {"model": type(self.model).__name__, "method": method, "epoch": self.epoch, **last}

    def summary(self, shape: Sequence[int]) -> ModelSummary:
        """Return the layers with their binary and real parameters, and the size in bits.

        Args:
            shape: of one input, without the batch: (C, H, W) for images.
        """
        if self._optimizer is None:
            groups = [g for g in param_groups(self.model, self.real_layers) if g["binary"]]
            binary = {parameter for group in groups for _, parameter in group["params"]}
            return summarise(self.model, shape, binary.__contains__)
        return summarise(self.model, shape, self.optimizer.binary_parameters().__contains__)


@dataclass(frozen=True, repr=False)
class Loaded(Shown):
    """A finished run: its trainer (model, method's state), config, result and input description.

    ``trainer.model`` holds the binary weights, ``trainer.optimizer.probabilities()`` the posterior
    of a method that has one, ``predict(images, samples=10)`` predicts.
    ``about`` describes the data set: shape, number of outputs, classes, normalisation.
    """

    trainer: Trainer
    config: Any
    result: dict[str, Any]
    about: dict[str, Any]

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes' names; empty for a task without classes."""
        return tuple(self.about.get("classes", ()))

    @property
    def mean(self) -> tuple[float, ...]:
        """The mean of each input channel, subtracted in normalisation."""
        return tuple(self.about["mean"])

    @property
    def std(self) -> tuple[float, ...]:
        """The standard deviation of each input channel, divided by in normalisation."""
        return tuple(self.about["std"])

    @property
    def model(self) -> nn.Module:
        """The network, its parameters the deployable weights."""
        return self.trainer.model

    def _facts(self) -> dict[str, object]:
        names = "/".join(str(self.result[key]) for key in ("dataset", "model", "method"))
        return {"run": f"{names}/{self.result['signature']}", **headline(self.result)}

    def predict(
        self, inputs: Any, *, samples: int | None = None, average: str = "probabilities"
    ) -> Any:
        """Return predictions for inputs as ``preprocess`` takes them; else as ``Trainer.predict``.

        Args:
            inputs: pictures, arrays or rows of a table.
            samples: draws from the posterior, >= 1; None is the mode.
            average: the quantity averaged over draws.
        """
        return self.trainer.predict(self.preprocess(inputs), samples=samples, average=average)

    def preprocess(self, inputs: Any) -> Tensor:
        """Return inputs normalised as in training, ready for the network.

        Args:
            inputs: images (N, C, H, W), or points (N, D) in the data set's own units. Pixels are
                integers from 0 to 255, floating numbers from 0 to 255, or from 0 to 1 (if none is
                above 1), as torchvision's ``ToTensor`` makes them. Of images also one or a list of
                PIL's or of paths, which are resized; of a table rows: a DataFrame, one or a list
                of mappings by column, or a CSV file's path.

        Raises:
            ValueError: for another shape, or values of neither range.
            UserError: for a file that cannot be read.
            DataError: for a row that lacks a column or a value.
        """
        if columns := self.about.get("columns"):
            inputs = _encoded(inputs, columns)
        elif pictures := _pictures(inputs):
            inputs = self._decoded(pictures)
        values = torch.as_tensor(inputs).to(self.trainer.device)
        sizes = ("N", *self.about["shape"])
        if self.result["task"] == "segmentation":  # of any size, with its margin
            sizes = (*sizes[:2], "H", "W")
        pairs = zip(sizes, values.shape, strict=False)
        fits = all(size in ("N", "H", "W", actual) for size, actual in pairs)
        if len(sizes) != values.ndim or not fits:
            allowed = f"must be ({', '.join(map(str, sizes))})"
            raise ValueError(f"inputs of shape {tuple(values.shape)}: {allowed}")
        if values.ndim == 4:
            statistics = (torch.tensor(v, device=values.device) for v in (self.mean, self.std))
            return normalise(_pixels(values), *statistics)
        if not values.isfinite().all():
            raise ValueError("inputs: must be finite numbers")
        mean, std = (values.new_tensor(v, dtype=torch.float64) for v in (self.mean, self.std))
        return ((values.double() - mean) / std).float()

    def _decoded(self, pictures: list[Any]) -> Tensor:
        """Return pictures as uint8 (N, C, H, W), of the training images' size."""
        from PIL import Image

        channels, height, width = self.about["shape"]
        paths = [Path(each).expanduser() for each in pictures if not hasattr(each, "convert")]
        files = iter(read_all(paths, lambda _, content: decode(content), key="inputs"))
        arrays = []
        for each in pictures:
            image = each if hasattr(each, "convert") else next(files)
            image = on_white(image, "L" if channels == 1 else "RGB")
            if self.result["task"] != "segmentation":  # which takes any size
                image = image.resize((width, height), Image.Resampling.BILINEAR)
            arrays.append(np.atleast_3d(np.asarray(image, dtype=np.uint8)).transpose(2, 0, 1))
        return torch.from_numpy(np.stack(arrays))


def _pictures(inputs: Any) -> list[Any]:
    """Return PIL's images and paths as a list; empty if the inputs are numbers."""
    several = [*inputs] if isinstance(inputs, list | tuple) else [inputs]
    known = (isinstance(each, str | Path) or hasattr(each, "convert") for each in several)
    return several if all(known) else []


def _encoded(inputs: Any, columns: Any) -> Any:
    """Return rows of a table as the network's numbers; what is no row stays."""
    import pandas as pd

    from bnnrepro.data.table import encode, read_csv

    if isinstance(inputs, str | Path):
        inputs = read_csv(Path(inputs).expanduser())
    elif isinstance(inputs, Mapping):
        inputs = pd.DataFrame([inputs])
    elif isinstance(inputs, list | tuple) and all(isinstance(each, Mapping) for each in inputs):
        inputs = pd.DataFrame([*inputs])
    return encode(inputs, columns) if isinstance(inputs, pd.DataFrame) else inputs


def _pixels(images: Tensor) -> Tensor:
    """Return images with values 0..255; ``ValueError`` unless they are clearly 0..255 or 0..1."""
    if images.dtype == torch.uint8:
        return images
    values = images.float()
    low, high = (float(bound) for bound in values.aminmax())
    whole = not (images.is_floating_point() or images.dtype == torch.bool)
    if not (low >= 0 and high <= 255) or (not whole and 1 < high < 2):
        allowed = "must be raw pixels, 0 to 255 or floating 0 to 1, not normalised ones"
        kind = str(images.dtype).removeprefix("torch.")
        raise ValueError(f"images: {kind} from {low:g} to {high:g}: {allowed}")
    return values if whole or high > 1 else values * 255


def run(*settings: Any) -> Result:
    """Train and evaluate what settings say, as the command line does; see ``experiment.run``.

    Args:
        settings: words such as ``"method=ste", "epochs=3"``; or one typed configuration.
    """
    from bnnrepro import experiment
    from bnnrepro.config import Config
    from bnnrepro.config.compose import compose

    (first, *rest) = settings or ("",)
    if isinstance(first, Config) and not rest:
        return experiment.run(first)
    return experiment.run(compose(*settings))


def load(
    folder: str | Path,
    which: str | None = None,
    *,
    device: str = "auto",
    config_dir: str | Path | None = None,
) -> Loaded:
    """Return a finished run's model and method, without its data set.

    The folder is read as data: a class or function named in it is called only if the config files
    of this installation, or those in ``config_dir``, offer it.

    Args:
        folder: the run's folder, ``multirun/<dataset>/<model>/<method>/<signature>``.
        which: ``best`` (best validation epoch) or ``final``; None takes the best if there is one.
        device: of the model.
        config_dir: the folder with config files of your own parts, as ``--config-dir``.

    Raises:
        UserError: if the folder has no finished run, one of its files cannot be read or is damaged,
            or it names a part that is not offered.
    """
    from bnnrepro.config import instantiate
    from bnnrepro.config.stored import check_stored, offered_targets

    run = RunFolder(Path(folder).expanduser())
    result = read_result(run.result)
    which = which or ("best" if "best" in result else "final")
    if which not in ("best", "final"):
        raise UserError("which", which, "must be 'best' or 'final'")
    path = run.best if which == "best" else run.checkpoint
    try:
        state = checkpoint.load(path)
    except (FileNotFoundError, checkpoint.UnusableError) as error:
        raise UserError("folder", str(path), getattr(error, "reason", "is missing")) from error
    config = check_stored(read_config(run.config), offered_targets(config_dir))
    about = state["about"]
    try:
        task_class = task_named(str(result["task"]))
    except KeyError as error:
        reason = f"has a task unknown here, {result['task']}"
        raise UserError("folder", str(run.result), reason) from error
    model = instantiate(
        config.effective_model, shape=tuple(about["shape"]), classes=about["outputs"]
    )
    task = task_class.of(config, about)
    loaded = Trainer(model, task, device=device, seed=config.seed)

    def method(groups: Any, **offered: Any) -> Any:
        return instantiate(config.method, params=groups, offered=offered)

    loaded.compile(method, real_layers=config.real_layers).build_optimizer(result["n_train"])
    loaded.load_weights(state)
    loaded.model.eval()
    return Loaded(loaded, config, result, about)
