"""Sweeps in other processes, local or SLURM: plan, submit, run, wait, retry, cancel."""
