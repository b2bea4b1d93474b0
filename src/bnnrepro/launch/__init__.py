"""Sweeps beyond one process: what is left to do, fixed at submission, run in jobs, waited for."""
