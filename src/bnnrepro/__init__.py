"""bnnrepro: every rule for training binary-weight networks, on one identical protocol."""

__version__ = "0.1.0"
