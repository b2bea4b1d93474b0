"""Run folders: layout, signature, status, lock, metrics and result; queries over many runs."""
