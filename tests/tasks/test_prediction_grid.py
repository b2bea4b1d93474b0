"""The prediction grid is written only for points in one or two dimensions."""

from types import SimpleNamespace

import torch

from bnnrepro.tasks import prediction_grid


def test_of_images_no_more_than_a_batch_is_looked_at(tmp_path):
    """The whole of MNIST would be 170 MB as float32, CIFAR-10 600, larger folders more."""

    class Images:
        def epoch(self, number):
            yield torch.zeros(5, 1, 8, 8), torch.zeros(5, dtype=torch.int64)
            raise AssertionError("a second batch was asked for")

    prediction_grid.write(
        SimpleNamespace(source=Images()), tmp_path, samples=2, average="probabilities"
    )
    assert not list(tmp_path.iterdir())
