"""The uniform numbers that an optimizer's noise is made of."""

import numpy as np

from bnnrepro.optim.kernels.noise import LEVELS, random_bits


def of_bits(bits):
    """(k + 1/2) / 2^16, in float64."""
    return (bits.double() + (LEVELS + 1) / 2) / LEVELS


def uniforms_like(pattern, generator=None):
    """Those of the next draw of a tensor's weights, in NumPy."""
    return np.asarray(of_bits(random_bits(pattern, generator)))
