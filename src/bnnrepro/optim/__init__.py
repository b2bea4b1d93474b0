"""The methods: each rule for training binary weights is a torch optimizer in a file of its own."""

from bnnrepro.optim.adaste import AdaSTE
from bnnrepro.optim.base import BinaryOptimizer
from bnnrepro.optim.bayesbinn import BayesBiNN
from bnnrepro.optim.bimu import BiMU
from bnnrepro.optim.bop import Bop
from bnnrepro.optim.bop2 import Bop2
from bnnrepro.optim.full_precision import FullPrecision
from bnnrepro.optim.groups import param_groups
from bnnrepro.optim.md_tanh import MDTanhS
from bnnrepro.optim.metaplasticity import Metaplasticity
from bnnrepro.optim.pmf import PMF
from bnnrepro.optim.prox_connect import ProxConnect
from bnnrepro.optim.ste import STE

__all__ = [
    "PMF",
    "STE",
    "AdaSTE",
    "BayesBiNN",
    "BiMU",
    "BinaryOptimizer",
    "Bop",
    "Bop2",
    "FullPrecision",
    "MDTanhS",
    "Metaplasticity",
    "ProxConnect",
    "param_groups",
]
