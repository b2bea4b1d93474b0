"""What a run leaves on disk: its folder, signature, status, metrics and result."""
