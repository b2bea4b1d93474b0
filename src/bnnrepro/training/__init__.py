"""Training: the loop, its callbacks, checkpoints and progress; it knows no task."""
