"""Train with the BayesBiNN authors' own program on permuted MNIST, and print the entropy.

    git clone https://github.com/team-approx-bayes/BayesBiNN
    python benchmarks/authors_program.py BayesBiNN --root data --tasks 1

Optimizer, network and schedule are the authors' files (at commit 67e0c6f), imported unchanged, with
the defaults of ``main_permute_mnist_CL.py``, or with another value of some; the images and their
order are ours. Printed is the posterior's entropy in bits: the average over the weights, as figure
4 of the paper gives it, and of each layer.
"""

import importlib.util
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR

from bnnrepro.cli.exit_code import command_parser, exits, refuse_in_a_line
from bnnrepro.data import mnist
from bnnrepro.data.permuted import permutations
from bnnrepro.errors import UserError
from bnnrepro.optim.posterior import entropy_bits

OPTIMIZER, NETWORK = "optimizers/BayesBiNN.py", "models/models.py"
DEFAULTS = {
    "epochs": 100,
    "batch-size": 100,
    "lr": 1e-3,
    "temperature": 1e-2,
    "train-samples": 1,
    "momentum": 0.0,
    "units": 100,
    "train-set-size": 60_000,
}


def imported(checkout: Path, name: str) -> ModuleType:
    """Return one of the authors' files as a module.

    Raises:
        UserError: the folder does not hold it.
    """
    file = checkout / name
    spec = importlib.util.spec_from_file_location(f"authors_{file.stem}", file)
    if spec is None or spec.loader is None or not file.is_file():
        raise UserError("checkout", str(checkout), f"must hold {name}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def train_task(
    optimizer: Any, network: nn.Module, images: Tensor, labels: Tensor, use: Any
) -> None:
    """Train on one task as their ``train_model_cl`` does, without its tests of every epoch."""
    optimizer.param_groups[0]["lr"] = use.lr
    schedule = CosineAnnealingLR(optimizer, T_max=use.epochs, eta_min=1e-16)
    for epoch in range(1, use.epochs + 1):
        schedule.step()  # before the epoch: the first value is never used
        losses = []
        for batch in torch.randperm(len(images)).split(use.batch_size):

            def closure(batch: Tensor = batch) -> tuple[Tensor, Tensor]:
                outputs = network(images[batch])
                return nn.functional.cross_entropy(outputs, labels[batch]), outputs

            losses.append(optimizer.step(closure)[0])
        if epoch % 10 == 0 or epoch == use.epochs:
            print(f"epoch {epoch}  loss {torch.stack(losses).mean():.4f}  {entropies(optimizer)}")


def entropies(optimizer: Any) -> str:
    """Return the average entropy of all weights, and of each layer's."""
    bits = entropy_bits(optimizer.state["lamda"].double())
    sizes = [parameter.numel() for parameter in optimizer.param_groups[0]["params"]]
    layers = " ".join(f"{layer.mean():.3f}" for layer in bits.split(sizes))
    return f"entropy {bits.mean():.4f} bits; by layer {layers}"


@exits
def main(argv: Sequence[str]) -> int:
    """Train and print; exit code 2 if a file is missing."""
    parser = command_parser("authors_program", __doc__ or "")
    parser.prog = "authors_program.py"
    refuse_in_a_line(parser, argv)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--root", default="data", help="folder of MNIST")
    for name, default in {"tasks": 5, "seed": 0, **DEFAULTS}.items():
        parser.add_argument(f"--{name}", type=type(default), default=default)
    use = parser.parse_args(argv)
    rule = imported(use.checkout, OPTIMIZER).BayesBiNN
    perceptron = imported(use.checkout, NETWORK).MLP_CL_h100
    warnings.filterwarnings("ignore", "Detected call of `lr_scheduler.step")
    torch.manual_seed(use.seed)
    train = mnist.load.arrays(use.root, download=False).train
    images = (train.inputs.flatten(1).float() / 255 - 0.1307) / 0.3081
    network = perceptron(784, 10, use.units, eps=1e-4, momentum=0.15, batch_affine=False).train()
    optimizer = rule(
        network,
        train_set_size=use.train_set_size,
        lr=use.lr,
        betas=use.momentum,
        num_samples=use.train_samples,
        temperature=use.temperature,
    )
    for task, order in enumerate(permutations(use.tasks, 784, use.seed), start=1):
        train_task(optimizer, network, images[:, order], train.targets, use)
        print(f"task {task}: {entropies(optimizer)}", flush=True)
        optimizer.state["prior_lamda"] = optimizer.state["lamda"]
    return 0


if __name__ == "__main__":
    sys.exit(main())
