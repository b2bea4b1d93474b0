"""The architectures, one file each: plain modules, unaware of binary weights."""
