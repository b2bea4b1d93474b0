"""The methods: each rule for training binary weights is a torch optimizer in a file of its own."""

from bnnrepro.optim.base import BinaryOptimizer
from bnnrepro.optim.bayesbinn import BayesBiNN
from bnnrepro.optim.bop import Bop
from bnnrepro.optim.full_precision import FullPrecision
from bnnrepro.optim.groups import param_groups
from bnnrepro.optim.pmf import PMF
from bnnrepro.optim.ste import STE

__all__ = ["PMF", "STE", "BayesBiNN", "BinaryOptimizer", "Bop", "FullPrecision", "param_groups"]
