"""Hydra plugins: bnnrepro's launchers and sweeper."""
