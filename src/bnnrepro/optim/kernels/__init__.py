"""What makes the methods fast and changes nothing else: memory, chunks, compiled kernels."""
