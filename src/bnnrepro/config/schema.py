"""The schema: one dataclass per option of a group, with each field's range and its ``--help`` text.

Values are in ``conf/``, not here; a test compares the two sets of keys. A part of bnnrepro is
registered by the ``_target_`` of its YAML file; any other part is checked against its signature.
The schemas of single data sets and models are in ``datasets.py`` and ``models.py``.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
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

RENAMED = {
    "optimizer": "compile.optimizer",
    "optimizer.compile": "compile.optimizer",
    "compile_network": "compile.network",
    "code": "on_code_change (warn or error)",
    "runs_per_job": "hydra.launcher.runs_per_job (with -m hydra/launcher=local or slurm)",
}
"""Keys of an earlier version, by their names now."""

REGISTRY: dict[tuple[str, str], type] = {}
Class = TypeVar("Class", bound=type)
AnyModel = TypeVar("AnyModel", bound="Model")


def register(group: str, key: str) -> Callable[[Class], Class]:
    """Register a dataclass as the schema of a group's ``_target_`` (or its name, without one)."""

    def decorate(cls: Class) -> Class:
        REGISTRY[group, key] = cls
        cls.group = group  # type: ignore[attr-defined]
        return cls

    return decorate


@dataclass
class Part:
    """The keys of every part of a run; ``group`` is the config group that it was chosen in."""

    group: ClassVar[str]

    _target_: str
    """the Python class or function that is called"""
    name: Name
    """short name, used for folders and in tables"""


@dataclass
class DataSet(Part):
    """The base of all data sets."""

    task: ClassVar[str | None] = None
    """name of the task learnt on it; None: unknown before the data are loaded"""
    inputs: ClassVar[str | None] = None
    """kind of the inputs, ``images`` or ``points``; None: unknown"""
    for_task: ClassVar[tuple[str, ...]] = ()
    """keys that the task reads; the loader need not accept them"""

    def tasks_in_a_row(self) -> int:
        """Return the number of tasks trained in sequence, each for the run's epochs."""
        return 1


@dataclass
class Model(Part):
    """The base of all models."""

    tasks: ClassVar[tuple[str, ...] | None] = ("classification",)
    """the tasks that it can be trained on; None: any"""
    inputs: ClassVar[str | None] = "images"
    """kind of the inputs, as of a data set; None: any"""

    def minimum_size(self) -> int:
        """Return the smallest height and width of which the model's pooling leaves a pixel."""
        return 1

    def narrowed(self: AnyModel, share: float) -> AnyModel:
        """Return the model with a share of its ``channels`` and ``hidden`` units, at least one."""
        widths: dict[str, Any] = {
            key: [max(1, round(share * units)) for units in getattr(self, key)]
            for key in ("channels", "hidden")
            if isinstance(getattr(self, key, None), list)
        }
        return replace(self, **widths)


# Methods


@dataclass
class Method(Part):
    """The base of all methods."""

    scheduled: ClassVar[str | None] = "lr"
    """the key that a scheduler changes; None: there is none"""


@register("method", "bnnrepro.optim.BayesBiNN")
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
    """S, Monte-Carlo samples of the weights per step"""
    train_set_scale: Positive
    """factor of the training set's size in the update"""
    prior: Number
    """natural parameter of the prior"""
    init: Positive
    """initial absolute value of the natural parameters"""


@dataclass
class Adam(Method):
    """The base of all methods that use Adam."""

    lr: Positive
    """Adam's learning rate"""


@register("method", "bnnrepro.optim.STE")
@dataclass
class STE(Adam):
    """Straight-through estimator."""

    grad_clip: Positive | None
    """largest absolute value of a gradient's element, clipped beyond; null: no clipping"""
    weight_clip: Positive
    """largest absolute value of a real-valued shadow weight, clamped after each step"""
    betas: Betas
    """Adam's decay rates of the two moments"""
    eps: Positive
    """Adam's epsilon"""


@register("method", "bnnrepro.optim.FullPrecision")
@dataclass
class FullPrecision(Adam):
    """Real-valued weights."""

    betas: Betas
    """Adam's decay rates of the two moments"""
    eps: Positive
    """Adam's epsilon"""
    weight_decay: NotNegative
    """Adam's weight decay"""


@register("method", "bnnrepro.optim.Bop")
@dataclass
class Bop(Method):
    """Bop."""

    scheduled: ClassVar[str | None] = "adaptivity_rate"

    threshold: NotNegative
    """tau: a weight flips where weight times momentum exceeds it"""
    adaptivity_rate: Share
    """gamma: weight of the newest gradient in the moving average"""


@register("method", "bnnrepro.optim.PMF")
@dataclass
class PMF(Adam):
    """Proximal mean-field."""

    rho: Annotated[float, Range(1)]
    """growth factor of beta, the sharpness of the softmax, which starts at 1"""
    beta_interval: Count
    """iterations between two increases of beta"""
    beta_max: Annotated[float, Range(1)]
    """largest beta"""
    weight_decay: NotNegative
    """Adam's weight decay"""


# Schedulers


@dataclass
class Scheduler(Part):
    """The base of all schedulers."""


@register("scheduler", "bnnrepro.optim.schedules.Constant")
@dataclass
class Constant(Scheduler):
    """A constant value."""


@dataclass
class Moving(Scheduler):
    """The base of all schedulers that change the value."""

    per: Literal["epoch", "iteration"]
    """how often the value changes"""
    stepped: Literal["before", "after"]
    """before: the first epoch (iteration) already runs at the second value"""


@register("scheduler", "bnnrepro.optim.schedules.Cosine")
@dataclass
class Cosine(Moving):
    """Half a cosine."""

    final: NotNegative
    """value at the end"""
    span: Count | None
    """epochs (iterations) until the final value, which then stays; null: the whole run"""


@register("scheduler", "bnnrepro.optim.schedules.Step")
@dataclass
class Step(Moving):
    """Drops by a factor."""

    step_size: Count | None
    """epochs (iterations) between two drops; null with milestones"""
    milestones: Annotated[list[Count], Length(1)] | None
    """epochs (iterations) after which it drops; null with step_size"""
    factor: Share
    """factor of each drop"""


@register("scheduler", "bnnrepro.optim.schedules.Exponential")
@dataclass
class Exponential(Moving):
    """A geometric decay."""

    final_factor: Share
    """ratio of the final value to the first"""


# Loggers and presets


@dataclass
class Logger:
    """The base of all loggers."""

    name: Name
    """which logger"""


@register("logger", "none")
@dataclass
class NoLogger(Logger):
    """Nothing but the run's own files."""


@register("logger", "tensorboard")
@dataclass
class TensorBoard(Logger):
    """TensorBoard."""


@register("logger", "wandb")
@dataclass
class WandB(Logger):
    """Weights & Biases."""

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
    """Upper bounds that shorten the protocol."""

    name: Name
    """name of these bounds, recorded in every result"""
    epochs: Count | None
    """maximum number of epochs; null: no maximum"""
    train_limit: Annotated[int, Range(2)] | None
    """maximum number of training samples; null: no maximum"""
    test_limit: Count | None
    """maximum number of test samples; null: no maximum"""
    # Defaults are for the config.yaml of runs that are older than these keys.
    width: Share = 1.0
    """fraction of the hidden layers' units and channels that is kept; 1: all"""
    stand_in: Literal["digits", "shapes"] | None = None
    """data used instead of a data set that must be downloaded; null: the data set itself"""


@dataclass
class Compile:
    """Use of torch.compile; changes no number beyond rounding."""

    optimizer: Literal["auto", "on", "off"]
    """for the method's update; auto: where it pays off in a long run"""
    network: bool
    """for the training steps' forward and backward pass"""


@dataclass
class Evaluate:
    """Evaluation of a trained network; never part of the signature."""

    samples: Annotated[int, Range(1, 1_000_000)]
    """C, posterior samples that the mean prediction averages"""
    average: Literal["probabilities", "logits"]
    """quantity averaged: probabilities (the paper, equation 26) or logits (its program)"""
    ece_bins: Annotated[int, Range(1, 10_000)]
    """bins of the expected calibration error"""
    ood: Text | None = None
    """data set whose test images serve as out-of-distribution data; null: none"""


@dataclass
class Config:
    """A run: the typed tree that ``bnnrepro.run`` takes."""

    seed: Annotated[int, Range(0)]
    """fixes split, initial weights, batch order, augmentation and sampling"""
    epochs: Count
    """passes over the training set, of each task if there are several; a preset may limit them"""
    batch_size: Annotated[int, Range(2)]
    """training samples per step"""
    dataset: DataSet
    """the data set"""
    model: Model
    """the network"""
    method: Method
    """the rule that trains the weights"""
    scheduler: Scheduler
    """schedule of the method's step size"""
    preset: Preset
    """limits on the protocol"""
    compile: Compile
    """use of torch.compile"""
    precision: Literal["float32", "tf32", "bf16", "auto"]
    """arithmetic of the training steps; float32 is the published protocols', tf32 needs a GPU, auto
    is bf16 where that is measured to be faster, else float32"""
    evaluate: Evaluate
    """evaluation of the trained network"""
    logger: Logger
    """destination of the curves besides metrics.csv"""
    out: Text
    """folder of all runs"""
    device: Annotated[str, Pattern(r"auto|cpu|cuda(:\d+)?", "auto, cpu, cuda or cuda:N")]
    """auto: a GPU if there is one"""
    threads: Annotated[int, Range(1, 1024)] | None
    """CPU threads; null: torch's choice"""
    summary: bool
    """print the model's layers and count its bits before training"""
    checkpoint_every: Count
    """epochs between two checkpoints"""
    checkpoint_seconds: NotNegative
    """minimum number of seconds between two checkpoints"""
    stop_after: Count | None
    """stop after this epoch; the same command without it resumes from there"""
    on_done: Literal["skip", "rerun"]
    """action for a run that is done already"""
    on_failed: Literal["retry", "skip"]
    """action for a run that failed before"""
    # Defaults are for the config.yaml of runs that are older than these keys.
    on_code_change: Literal["warn", "error"] = "warn"
    """error: refuse to start with other code than the run was submitted with"""
    fail_fast: bool = False
    """in a sweep: the first failure cancels the other runs"""

    @property
    def effective_epochs(self) -> int:
        """The epochs trained in all tasks together, after the preset's limit."""
        return min(self.epochs, self.preset.epochs or self.epochs) * self.dataset.tasks_in_a_row()

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
