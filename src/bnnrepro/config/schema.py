"""The schema of a run: its own keys, and what every data set, model, method and scheduler has.

The keys of a part are the parameters of its constructor; see ``parts.py``. Values are in ``conf/``.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from bnnrepro.constraints import (
    Count,
    Fraction,
    Ge,
    Interval,
    Name,
    NotNegative,
    Pattern,
    Positive,
    Share,
    Text,
)

RENAMED = {
    "optimizer": "compile.optimizer",
    "optimizer.compile": "compile.optimizer",
    "compile_network": "compile.network",
    "code": "on_code_change (warn or error)",
    "runs_per_job": "hydra.launcher.runs_per_job (with -m hydra/launcher=local or slurm)",
}
"""Keys of an earlier version, by their names now."""

AnyModel = TypeVar("AnyModel", bound="Model")


@dataclass
class Part:
    """The keys of every part of a run; ``config_group`` is the group that it was chosen in.

    Attributes:
        _target_: the Python class or function that is called
        name: short name, used for folders and in tables
    """

    config_group: ClassVar[str]

    _target_: str
    name: Name


@dataclass
class DataSet(Part):
    """The base of all data sets.

    Attributes:
        task: name of the task learnt on it; None: unknown before the data are loaded
        inputs: kind of the inputs, ``images`` or ``points``; None: unknown
        stand_ins: values of ``preset.stand_in`` that may replace it
        tasks_in_a_row: key that holds the number of tasks trained in sequence; None: there is one
    """

    task: ClassVar[str | None] = None
    inputs: ClassVar[str | None] = None
    stand_ins: ClassVar[tuple[str, ...]] = ()
    tasks_in_a_row: ClassVar[str | None] = None

    def number_of_tasks(self) -> int:
        """Return the number of tasks trained in sequence, each for the run's epochs."""
        return int(getattr(self, self.tasks_in_a_row)) if self.tasks_in_a_row else 1


@dataclass
class Model(Part):
    """The base of all models.

    Attributes:
        tasks: the tasks that it can be trained on; None: any
        inputs: kind of the inputs, as of a data set; None: any
    """

    tasks: ClassVar[tuple[str, ...] | None] = None
    inputs: ClassVar[str | None] = None

    def narrowed(self: AnyModel, share: float) -> AnyModel:
        """Return the model with a share of its ``channels`` and ``hidden`` units, at least one."""
        widths: dict[str, Any] = {
            key: [max(1, round(share * units)) for units in getattr(self, key)]
            for key in ("channels", "hidden")
            if isinstance(getattr(self, key, None), list)
        }
        return replace(self, **widths)


@dataclass
class Method(Part):
    """The base of all methods.

    Attributes:
        scheduled: the key that a scheduler changes; None: there is none
    """

    scheduled: ClassVar[str | None] = "lr"


@dataclass
class Scheduler(Part):
    """The base of all schedulers.

    Attributes:
        moves: False: it changes nothing
    """

    moves: ClassVar[bool] = True


@dataclass
class Logger:
    """The base of all loggers.

    Attributes:
        name: which logger; several joined by +
    """

    config_group: ClassVar[str]

    name: Text


@dataclass
class Preset:
    """Upper bounds that shorten the protocol.

    Attributes:
        name: name of these bounds, recorded in every result
        epochs: maximum number of epochs; null: no maximum
        train_limit: maximum number of training samples; null: no maximum
        test_limit: maximum number of test samples; null: no maximum
        width: fraction of the hidden layers' units and channels that is kept; 1: all
        stand_in: data used instead of a data set that must be downloaded; null: the data set itself
    """

    name: Name
    epochs: Count | None
    train_limit: Annotated[int, Ge(2)] | None
    test_limit: Count | None
    # Defaults are for the config.yaml of runs that are older than these keys.
    width: Share = 1.0
    stand_in: Literal["digits", "shapes"] | None = None


@dataclass
class Compile:
    """Use of torch.compile; changes no number beyond rounding.

    Attributes:
        optimizer: for the method's update; auto: where it pays off in a long run
        network: for the training steps' forward and backward pass
    """

    optimizer: Literal["auto", "on", "off"]
    network: bool


@dataclass(frozen=True)
class Controls:
    """Controls of training; at these defaults they change nothing.

    Attributes:
        early_stopping: stop after so many epochs without a better validation metric; null: never
        label_smoothing: share of a training target that is spread evenly over all classes
        class_weight: balanced, or a factor of each class's training loss; null: all are 1
        accumulate: parts that a batch is cut into, each with its own draw; their gradients are
            averaged
        clip_norm: largest L2 norm of a draw's gradient, before the rule takes it; null: no limit
        ema: decay of the real-valued weights' average, which is evaluated and kept; null: none
    """

    early_stopping: Count | None = None
    label_smoothing: Fraction = 0.0
    class_weight: Literal["balanced"] | Sequence[NotNegative] | None = None
    accumulate: Count = 1
    clip_norm: Positive | None = None
    ema: Fraction | None = None


@dataclass
class Evaluate:
    """Evaluation of a trained network; never part of the signature.

    Attributes:
        samples: C, posterior samples that the mean prediction averages
        average: quantity averaged: probabilities (the paper, equation 26) or logits (its program)
        ece_bins: bins of the expected calibration error
        ood: data set whose test images serve as out-of-distribution data; null: none
        batch_statistics: BatchNorm predicts with each batch's own statistics, as the published
            program of figure 2 does, instead of the running ones
    """

    samples: Annotated[int, Interval(ge=1, le=1_000_000)]
    average: Literal["probabilities", "logits"]
    ece_bins: Annotated[int, Interval(ge=1, le=10_000)]
    ood: Text | None = None
    batch_statistics: bool = False


@dataclass
class Config:
    """A run: the typed tree that ``bnnrepro.run`` takes.

    Attributes:
        seed: fixes split, initial weights, batch order, augmentation and sampling
        epochs: passes over the training set, of each task if there are several; a preset may limit
            them
        batch_size: training samples per step
        dataset: the data set
        model: the network
        method: the rule that trains the weights
        scheduler: schedule of the method's step size
        preset: limits on the protocol
        compile: use of torch.compile
        precision: arithmetic of the training steps; float32 is the published protocols', tf32 needs
            a GPU, auto is bf16 where that is measured to be faster, else float32
        evaluate: evaluation of the trained network
        logger: destination of the curves besides metrics.csv
        out: folder of all runs
        device: auto: a GPU if there is one
        threads: CPU threads; null: torch's choice
        summary: print the model's layers and count its bits before training
        checkpoint_every: epochs between two checkpoints
        checkpoint_seconds: minimum number of seconds between two checkpoints
        stop_after: stop after this epoch; the same command without it resumes from there
        on_done: action for a run that is done already
        on_failed: action for a run that failed before
        on_code_change: error: refuse to start with other code than the run was submitted with
        fail_fast: in a sweep: the first failure cancels the other runs
        training: early stopping, label smoothing and other controls of training
        real_layers: layers that stay real-valued, trained by Adam: their names, patterns such as
            *.downsample.*, or first and last
        init_from: start from the weights of this finished run (a folder, or one of its .pt files)
    """

    seed: Annotated[int, Ge(0)]
    epochs: Count
    batch_size: Annotated[int, Ge(2)]
    dataset: DataSet
    model: Model
    method: Method
    scheduler: Scheduler
    preset: Preset
    compile: Compile
    precision: Literal["float32", "tf32", "bf16", "auto"]
    evaluate: Evaluate
    logger: Logger
    out: Text
    device: Annotated[str, Pattern(r"auto|cpu|cuda(:\d+)?", "auto, cpu, cuda or cuda:N")]
    threads: Annotated[int, Interval(ge=1, le=1024)] | None
    summary: bool
    checkpoint_every: Count
    checkpoint_seconds: NotNegative
    stop_after: Count | None
    on_done: Literal["skip", "rerun"]
    on_failed: Literal["retry", "skip"]
    # Defaults are for the config.yaml of runs that are older than these keys.
    on_code_change: Literal["warn", "error"] = "warn"
    fail_fast: bool = False
    training: Controls = Controls()
    real_layers: Sequence[Text] = ()
    init_from: Text | None = None

    @property
    def effective_epochs(self) -> int:
        """The epochs trained in all tasks together, after the preset's limit."""
        return min(self.epochs, self.preset.epochs or self.epochs) * self.dataset.number_of_tasks()

    @property
    def effective_model(self) -> Model:
        """The model that is built: ``model`` at the preset's width."""
        return self.model.narrowed(self.preset.width)

    def to_dict(self) -> dict[str, Any]:
        """Return the tree as plain dictionaries, lists and scalars."""
        return asdict(self)

    def identity(self) -> dict[str, Any]:
        """Return what a run's signature is made of.

        That is the tree, and under ``computed`` what a preset makes of ``epochs`` and ``model``
        where this differs from the keys as written.
        """
        written = self.epochs * int(getattr(self.dataset, "tasks", 1))
        computed: dict[str, Any] = {}
        if self.effective_epochs != written:
            computed["epochs"] = self.effective_epochs
        if self.effective_model != self.model:
            computed["model"] = asdict(self.effective_model)
        return self.to_dict() | ({"computed": computed} if computed else {})
