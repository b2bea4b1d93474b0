"""The architectures, one file each: plain modules that know nothing of binary weights."""
