"""Data sets as tensors on the device: loaders, splits, augmentation, batches."""
