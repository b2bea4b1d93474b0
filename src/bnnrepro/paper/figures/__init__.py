"""Figures, one module each, drawn from run folders alone."""
