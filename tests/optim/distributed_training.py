"""Train each method on two processes, as documented and not; print how many weights differ."""

import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from bnnrepro.optim import param_groups

from .methods_under_test import METHODS


def weights_that_differ(method, documented):
    rank = distributed.get_rank()
    torch.manual_seed(rank)
    network = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    generator = torch.Generator().manual_seed(0 if documented else rank)
    optimizer = None if documented else method(param_groups(network), generator=generator)
    model = DistributedDataParallel(network)
    optimizer = optimizer or method(param_groups(network), generator=generator)
    data = torch.Generator().manual_seed(rank)
    for _ in range(10):
        x, targets = (torch.randn(6, width, generator=data) for width in (4, 2))
        with optimizer.sampled_params(train=True):
            (model(x) - targets).square().mean().backward()
        optimizer.step()
    own = torch.cat([p.detach().flatten() for p in network.parameters()])
    first = own.clone()
    distributed.broadcast(first, 0)
    differing = (first != own).sum()
    distributed.all_reduce(differing)
    return int(differing)


if __name__ == "__main__":
    distributed.init_process_group("gloo")
    for method in METHODS:
        figures = [weights_that_differ(method, documented) for documented in (True, False)]
        if distributed.get_rank() == 0:
            print(method.label, *figures, flush=True)
    distributed.destroy_process_group()
