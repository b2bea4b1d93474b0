"""Evaluation at the mode, and at the mean over draws from the posterior."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from bnnrepro.data.batches import Source
from bnnrepro.optim import BinaryOptimizer
from bnnrepro.seeds import derive
from bnnrepro.training.precision import arithmetic
from bnnrepro.training.task import Task


@torch.inference_mode()
def outputs_and_targets(
    model: nn.Module, source: Source, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Return the model's outputs, one row per sample, and the targets, in the source's order."""
    model.eval()
    outputs, targets = [], []
    with arithmetic("float32", device):
        for inputs, labels in source.epoch(0):
            outputs.append(model(inputs.to(device)))
            targets.append(labels.to(device))
    return torch.cat(outputs), torch.cat(targets)


def draws(
    model: nn.Module,
    optimizer: BinaryOptimizer,
    source: Source,
    device: torch.device,
    *,
    samples: int,
    seed: int = 0,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield outputs and targets of the whole source for each draw from the posterior.

    The draws come from a random stream of their own, so that evaluation never changes training. A
    draw is used for all samples of the source.

    Args:
        model: the network whose parameters the optimizer owns.
        optimizer: the method.
        source: the samples.
        device: where the model lives.
        samples: number of draws C, >= 1.
        seed: the run's seed.

    Raises:
        ValueError: if the source changes the order of its samples between draws.
    """
    first: Tensor | None = None
    stream = torch.Generator(device).manual_seed(derive(seed, "evaluate"))
    for _ in range(samples):
        previous, optimizer.generator = optimizer.generator, stream
        try:
            with optimizer.sampled_params():
                outputs, targets = outputs_and_targets(model, source, device)
        finally:
            optimizer.generator = previous
        if first is not None and not torch.equal(first, targets):
            raise ValueError("data: must give the same samples each time; shuffle=False")
        first = targets
        yield outputs, targets


@torch.inference_mode()
def average_outputs(
    model: nn.Module,
    optimizer: BinaryOptimizer,
    source: Source,
    device: torch.device,
    *,
    task: Task,
    samples: int,
    average: str = "probabilities",
    seed: int = 0,
) -> tuple[Tensor, Tensor, Tensor]:
    """Average the predictions of draws from the posterior; see ``draws``.

    Args:
        model: the network whose parameters the optimizer owns.
        optimizer: the method.
        source: the samples.
        device: where the model lives.
        task: turns outputs into predictions.
        samples: number of draws C, >= 1.
        average: ``probabilities`` (equation (26) of the BayesBiNN paper) or ``logits`` (as the
            published program does).
        seed: the run's seed.

    Returns:
        Predictions, their standard deviation over the draws (one row per sample), and targets.
    """
    total = squares = targets = None
    for outputs, labels in draws(model, optimizer, source, device, samples=samples, seed=seed):
        targets = labels
        drawn = (task.predict(outputs) if average == "probabilities" else outputs).double()
        total = drawn if total is None else total + drawn
        squares = drawn.square() if squares is None else squares + drawn.square()
    assert total is not None
    assert squares is not None
    assert targets is not None
    mean = total / samples
    spread = (squares / samples - mean.square()).clamp_min(0).sqrt()
    return (mean if average == "probabilities" else task.from_outputs(mean)), spread, targets
