"""The schema: a dataclass a group, a docstring a field (``--help`` prints it), its range beside it.

Values stand in ``conf/``, not here; a test compares the two sets of keys. A part of bnnrepro is
registered by the ``_target_`` of its YAML file; anything else is checked against its signature.
Data sets and models have files of their own.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from bnnrepro.config.constraints import Length, Pattern, Range

Count = Annotated[int, Range(1)]
Number = Annotated[float, Range()]
Positive = Annotated[float, Range(0, over=True)]
NotNegative = Annotated[float, Range(0)]
Fraction = Annotated[float, Range(0, 1, under=True)]
Share = Annotated[float, Range(0, 1, over=True)]
Name = Annotated[str, Pattern(r"[A-Za-z0-9][A-Za-z0-9_.-]*", "a name of letters, digits, _ . -")]
Text = Annotated[str, Pattern(r"(?s).*\S.*", "text, not empty")]
Betas = Annotated[list[Fraction], Length(2, exact=True)]

REGISTRY: dict[tuple[str, str], type] = {}
Class = TypeVar("Class", bound=type)


def schema(group: str, key: str) -> Callable[[Class], Class]:
    """Register a dataclass as the schema of a group's ``_target_`` (or its name, without one)."""

    def register(cls: Class) -> Class:
        REGISTRY[group, key] = cls
        cls.group = group  # type: ignore[attr-defined]
        return cls

    return register


@dataclass
class Part:
    """What every part of a run has; ``group`` is the config group that it was chosen in."""

    group: ClassVar[str]

    _target_: str
    """the Python class or function that is built"""
    name: Name
    """names the run's folder; shown in tables"""


# Methods


@dataclass
class Method(Part):
    """What every method has."""

    scheduled: ClassVar[str | None] = "lr"
    """the key that a scheduler moves; None: it moves nothing"""


@schema("method", "bnnrepro.optim.BayesBiNN")
@dataclass
class BayesBiNN(Method):
    """BayesBiNN."""

    lr: Positive
    """learning rate alpha of the natural parameters"""
    temperature: Positive
    """tau of the Concrete relaxation"""
    momentum: Fraction
    """beta, momentum of the natural gradient"""
    train_samples: Count
    """S, Monte-Carlo samples of the weights in a step"""
    train_set_scale: Positive
    """the training set's size is multiplied by it in the update"""
    prior: Number
    """natural parameter of the prior"""
    init: Positive
    """absolute value of the natural parameters at the start"""


@dataclass
class Adam(Method):
    """What methods that use Adam share."""

    lr: Positive
    """Adam's learning rate"""


@schema("method", "bnnrepro.optim.STE")
@dataclass
class STE(Adam):
    """Straight-through estimator."""

    grad_clip: Positive | None
    """each element of the gradient is clipped to plus and minus this; null: not at all"""
    weight_clip: Positive
    """the real-valued shadows are clamped to plus and minus this after a step"""
    betas: Betas
    """Adam's decay rates of the two moments"""
    eps: Positive
    """Adam's epsilon"""


@schema("method", "bnnrepro.optim.FullPrecision")
@dataclass
class FullPrecision(Adam):
    """Real-valued weights."""

    betas: Betas
    """Adam's decay rates of the two moments"""
    eps: Positive
    """Adam's epsilon"""
    weight_decay: NotNegative
    """Adam's weight decay"""


@schema("method", "bnnrepro.optim.Bop")
@dataclass
class Bop(Method):
    """Bop."""

    scheduled: ClassVar[str | None] = "adaptivity_rate"

    threshold: NotNegative
    """a weight flips where weight times momentum exceeds it"""
    adaptivity_rate: Share
    """gamma: weight of the newest gradient in the moving average"""


@schema("method", "bnnrepro.optim.PMF")
@dataclass
class PMF(Adam):
    """Proximal mean-field."""

    rho: Annotated[float, Range(1)]
    """factor of beta, the softmax's sharpness, which starts at 1"""
    beta_interval: Count
    """iterations between two increases of beta"""
    beta_max: Annotated[float, Range(1)]
    """largest beta"""
    weight_decay: NotNegative
    """Adam's weight decay"""


# Schedulers


@schema("scheduler", "bnnrepro.optim.schedules.Constant")
@dataclass
class Constant(Part):
    """No movement."""


@dataclass
class Moving(Part):
    """What all schedulers that move something share."""

    per: Literal["epoch", "iteration"]
    """unit in which the scheduler moves"""
    stepped: Literal["before", "after"]
    """before: the first epoch (iteration) already runs at the second value"""


@schema("scheduler", "bnnrepro.optim.schedules.Cosine")
@dataclass
class Cosine(Moving):
    """Half a cosine."""

    final: NotNegative
    """value at the end"""
    span: Count | None
    """epochs (iterations) until the end value, which then stays; null: the whole run"""


@schema("scheduler", "bnnrepro.optim.schedules.Step")
@dataclass
class Step(Moving):
    """Drops by a factor."""

    step_size: Count | None
    """epochs (iterations) between two drops; null with milestones"""
    milestones: Annotated[list[Count], Length(1)] | None
    """epochs (iterations) after which it drops; null with step_size"""
    factor: Share
    """what each drop multiplies by"""


@schema("scheduler", "bnnrepro.optim.schedules.Exponential")
@dataclass
class Exponential(Moving):
    """A geometric decay."""

    final_factor: Share
    """ratio of the last value to the first"""


# Loggers and presets


@schema("logger", "none")
@dataclass
class NoLogger:
    """Nothing but the run's own files."""

    name: Literal["none"]
    """which logger"""


@schema("logger", "tensorboard")
@dataclass
class TensorBoard:
    """TensorBoard."""

    name: Literal["tensorboard"]
    """which logger"""


@schema("logger", "wandb")
@dataclass
class WandB:
    """Weights & Biases."""

    name: Literal["wandb"]
    """which logger"""
    project: Text
    """project that the run is filed under"""
    entity: Text | None
    """user or team; null: the account's own"""
    mode: Literal["offline", "online"]
    """offline: files that `wandb sync` sends later"""
    group: Text | None
    """group of runs"""
    tags: list[Text]
    """labels"""


@dataclass
class Preset:
    """How much of the protocol is run: upper bounds."""

    name: Name
    """stands in every result"""
    epochs: Count | None
    """at most so many epochs; null: all"""
    train_limit: Annotated[int, Range(2)] | None
    """at most so many training images; null: all"""
    test_limit: Count | None
    """at most so many test images; null: all"""
    # Defaults stand here too, for the config.yaml of runs that are older than these keys.
    width: Share = 1.0
    """the hidden layers' share of the model's units and channels; 1: all"""
    stand_in: Literal["digits", "shapes"] | None = None
    """data in the place of a set that has to be fetched; null: the set itself"""


@dataclass
class Optimizer:
    """How a method's work is done; changes no number beyond rounding."""

    compile: Literal["auto", "on", "off"]
    """torch.compile for the update; auto: where a long run gains by it"""


@dataclass
class Evaluate:
    """How a trained network is judged; never part of the signature."""

    samples: Annotated[int, Range(1, 1_000_000)]
    """C, draws from the posterior that the mean prediction averages"""
    average: Literal["probabilities", "logits"]
    """what is averaged: probabilities (the paper, equation 26) or logits (its program)"""
    ece_bins: Annotated[int, Range(1, 10_000)]
    """bins of the expected calibration error"""
    ood: Text | None = None
    """data set of other images, whose test set shall be told from this one's; null: none"""


@dataclass
class Config:
    """A run: the typed tree that ``bnnrepro.run`` takes."""

    seed: Annotated[int, Range(0)]
    """fixes split, initial weights, order of batches, augmentation and sampling"""
    epochs: Count
    """passes over the training set (of each task, if several); a preset may shorten them"""
    batch_size: Annotated[int, Range(2)]
    """images in a step"""
    dataset: Any
    """what is trained on"""
    model: Any
    """the network"""
    method: Any
    """the rule that trains the weights"""
    scheduler: Any
    """how the method's step size moves"""
    preset: Preset
    """how much of the protocol is run"""
    optimizer: Optimizer
    """how the method's work is done"""
    precision: Literal["float32", "tf32", "bf16", "auto"]
    """arithmetic of the training steps; float32 is the published protocols', tf32 needs a GPU, auto
    is bf16 where that is measured to be faster, else float32"""
    compile_network: bool
    """torch.compile for the training steps' forward and backward pass"""
    evaluate: Evaluate
    """how the network is judged"""
    logger: Any
    """where curves go besides metrics.csv"""
    out: Text
    """folder of all runs"""
    device: Annotated[str, Pattern(r"auto|cpu|cuda(:\d+)?", "auto, cpu, cuda or cuda:N")]
    """auto: a GPU where there is one"""
    threads: Annotated[int, Range(1, 1024)] | None
    """CPU threads; null: torch's choice"""
    summary: bool
    """print the model's layers and count its bits before training"""
    checkpoint_every: Count
    """epochs between two checkpoints"""
    checkpoint_seconds: NotNegative
    """at least so many seconds between two checkpoints"""
    stop_after: Count | None
    """stop after this epoch; the same command without it goes on from there"""
    on_done: Literal["skip", "rerun"]
    """what to do with a run that is done already"""
    on_failed: Literal["retry", "skip"]
    """what to do with a run that failed before"""
    # Defaults stand here too, for the config.yaml of runs that are older than these keys.
    code: Literal["warn", "strict"] = "warn"
    """strict: refuse to start with another code than the run was submitted with"""
    fail_fast: bool = False
    """in a sweep: the first failure cancels the other runs"""
    runs_per_job: Annotated[int, Range(1, 10_000)] = 1
    """in a sweep on a cluster: runs that share a job, one after another or side by side"""

    @property
    def effective_epochs(self) -> int:
        """Epochs that are really run: the preset's, where it is shorter, of all tasks in a row."""
        of_a_task = min(self.epochs, self.preset.epochs or self.epochs)
        return of_a_task * int(getattr(self.dataset, "tasks_in_a_row", lambda: 1)())

    @property
    def effective_model(self) -> Any:
        """The model that is really built: the preset's, where it is narrower."""
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
