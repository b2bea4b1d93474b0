"""How bnnrepro runs Hydra's sweeps."""
