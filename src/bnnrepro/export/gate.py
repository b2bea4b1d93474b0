"""The gate: a file is kept only if it computes what the network computes.

Outputs are compared with the network's in float64, since float32's own error may be the larger one;
metrics of the whole test set with the network's in float32, and these with the run's.
"""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NoReturn

import torch
from torch import Tensor, nn

from bnnrepro.errors import UserError
from bnnrepro.export.subject import Subject
from bnnrepro.runs import provenance

TOLERANCE = 1e-4
"""The largest difference of an output from float64; relative where that is above 1.

Of a network of which float32 itself gives larger ones, as with BatchNorm statistics of a few
batches, four times these."""

METRIC_TOLERANCE = 1e-5
FEW = 64
"""Samples that a slow program is compared on, without their metrics."""

REFERENCED = 500
"""Samples whose outputs are computed in float64, up to a whole batch; metrics are of all."""

Compute = Callable[[Tensor], Tensor]
"""Returns the outputs of normalised inputs."""


@dataclass(frozen=True)
class Expected:
    """Inputs, their outputs in float64, and the error and the metrics of float32."""

    pairs: Sequence[tuple[Tensor, Tensor]]
    error: float
    metrics: Mapping[str, float]


def expected_of(subject: Subject) -> Expected:
    """Compute what every file must give."""
    exact = copy.deepcopy(subject.model).double()
    most = -(-REFERENCED // len(subject.batches[0]))
    pairs = [(x, computed(exact, x.double())) for x in islice(subject.batches, most)]
    error = max(float((computed(subject.model, x) - y).abs().max()) for x, y in pairs)
    return Expected(pairs, error, measured(subject, lambda x: computed(subject.model, x)))


@torch.inference_mode()
def computed(model: nn.Module, inputs: Tensor) -> Tensor:
    """Return a network's outputs."""
    outputs: Tensor = model(inputs)
    return outputs


def measured(subject: Subject, compute: Compute) -> dict[str, float]:
    """Return the task's metrics of all samples; none without targets."""
    if subject.targets is None or subject.run is None:
        return {}
    task = subject.run.trainer.task
    outputs = torch.cat([compute(inputs) for inputs in subject.batches])
    return task.measure(task.predict(outputs), subject.targets)


def same_bits(file: str, subject: Subject, state: Mapping[str, Tensor]) -> nn.Module:
    """Return the network with the state read from a file; UserError if any bit differs."""
    own = subject.model.state_dict()
    wrong = [n for n in own if n not in state or not torch.equal(own[n], state[n])]
    if wrong := [*wrong, *(state.keys() - own.keys())]:
        refuse(file, wrong[0], "must be as in the network")
    model, inputs = copy.deepcopy(subject.model), subject.batches[0]
    model.load_state_dict(dict(state))
    if not torch.equal(computed(model, inputs), computed(subject.model, inputs)):
        refuse(file, "outputs", "must be those of the network, to the bit")
    return model


def check(
    file: str, subject: Subject, expected: Expected, compute: Compute, most: int | None = None
) -> float:
    """Compare what a file computes with what it must; return the largest difference from float64.

    Args:
        file: its name.
        subject: what was exported.
        expected: of the subject.
        compute: what the file computes, of any number of samples.
        most: samples to compare, without their metrics; None: all.

    Raises:
        UserError: an output, a class or a metric differs.
    """
    pairs = [(inputs[:most], outputs[:most]) for inputs, outputs in expected.pairs]
    if most is not None:
        pairs = pairs[: -(-most // len(pairs[0][0]))]
    alike = [pair for pair in pairs if pair[0].shape[1:] == pairs[0][0].shape[1:]][:3]
    few = [torch.cat(side)[:3] for side in zip(*alike, strict=True)]
    pairs += [(few[0], few[1]), (few[0][:1], few[1][:1])]
    worst = max(_difference(file, compute(x), y, 4 * expected.error) for x, y in pairs)
    if most is None:
        metrics = measured(subject, compute)
        for name, value in expected.metrics.items():
            if not _agree(subject, name, metrics[name], value):
                refuse(file, f"{name} {metrics[name]:.8g}", f"must be {value:.8g}, the network's")
    return worst


def _difference(file: str, outputs: Tensor, exact: Tensor, allowed: float) -> float:
    if outputs.shape != exact.shape:
        refuse(file, str(tuple(outputs.shape)), f"outputs must be of {tuple(exact.shape)}")
    bound = (TOLERANCE * exact.abs().clamp_min(1)).clamp_min(allowed)
    difference = (outputs.double() - exact).abs()
    if not bool((difference <= bound).all()):
        worst = float(difference.nan_to_num(nan=torch.inf).max())
        refuse(file, f"off by {worst:.3g}", f"outputs must be within {TOLERANCE:g} of float64's")
    if exact.shape[1] > 1:
        first, second = exact.topk(2, 1).values.unbind(1)
        sure = first - second > 2 * bound.amax(1)
        if not torch.equal(outputs.argmax(1)[sure], exact.argmax(1)[sure]):
            refuse(file, "argmax", "the class of a sample differs from float64's")
    return float(difference.max())


def beside_the_run(subject: Subject, metrics: Mapping[str, float]) -> str:
    """Compare metrics computed here with the run's ``result.json``; return the words for it.

    Raises:
        UserError: they differ, although processor, thread count and torch are the run's.
    """
    if subject.run is None or not metrics:
        return ""
    stored = subject.run.result[subject.which][subject.split]["mode"]
    known = [name for name in metrics if name in stored]
    other = [name for name in known if not _agree(subject, name, metrics[name], stored[name])]
    if not other:
        return "as in result.json"
    words = ", ".join(f"{name} {stored[name]:.8g}" for name in other)
    there, here = subject.environment, provenance.describe([])
    same = all(there.get(key) == here[key] for key in ("cpu", "threads", "platform", "versions"))
    if same and str(subject.run.result["device"]).startswith("cpu"):
        refuse("result.json", words, "must be what the run's own machine computes now")
    return f"in result.json, from another machine, {words}"


def _agree(subject: Subject, name: str, value: float, other: float) -> bool:
    """Return whether two values of a metric are the same up to rounding; an accuracy is exact.

    A sample at the edge of a bin of the calibration error may be in either of two. A segmentation
    has so many pixels that some are undecided.
    """
    assert subject.run is not None
    assert subject.targets is not None
    if name == "accuracy" and subject.run.result["task"] == "classification":
        return value == other
    bound = METRIC_TOLERANCE * max(1.0, abs(other))
    if math.isnan(value) or math.isnan(other):  # the IoU of a class that does not occur
        return math.isnan(value) and math.isnan(other)
    return abs(value - other) <= bound + (name == "ece") / len(subject.targets)


def refuse(file: str, found: str, allowed: str) -> NoReturn:
    """Raise the UserError of a file that is not kept."""
    raise UserError(file, found, f"{allowed}; nothing was kept")
