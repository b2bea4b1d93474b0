import pytest
import torch

from bnnrepro.data.batches import Samples
from bnnrepro.data.dataset import Arrays
from bnnrepro.data.images import Augment, ImageSet
from bnnrepro.errors import UserError

IMAGES = torch.zeros(4, 1, 2, 3, dtype=torch.uint8)
CLASSES = torch.tensor([0, 1, 2, 1])


@pytest.mark.parametrize(
    ("inputs", "targets", "error"),
    [
        (IMAGES.float(), CLASSES, ValueError),
        (IMAGES.int(), CLASSES, TypeError),
        (IMAGES, CLASSES.int(), TypeError),
        (IMAGES[0], CLASSES, ValueError),
        (IMAGES, CLASSES[:3], ValueError),
        (IMAGES, CLASSES - 1, ValueError),
        (IMAGES, IMAGES, ValueError),
        (IMAGES, IMAGES[:, 0, :1], ValueError),
    ],
)
def test_tensors_that_do_not_fit_are_refused(inputs, targets, error):
    with pytest.raises(error):
        Samples(inputs, targets)


def test_each_name_is_of_a_sample():
    with pytest.raises(ValueError, match="3 names for 4 inputs"):
        Samples(IMAGES, CLASSES, ("a", "b", "c"))


def test_a_subset_keeps_all_of_a_sample_together_in_the_order_asked_for():
    images = torch.arange(5, dtype=torch.uint8).view(5, 1, 1, 1)
    whole = Samples(images, torch.arange(5), tuple("abcde"))
    part = whole.subset(torch.tensor([4, 0, 2]))
    assert part.targets.tolist() == [4, 0, 2]
    assert part.inputs.flatten().tolist() == [4, 0, 2]
    assert part.names == ("e", "a", "c")


def image_set(test=IMAGES, classes=("a", "b", "c"), **keys):
    arrays = Arrays(Samples(IMAGES, CLASSES), Samples(test, CLASSES), classes)
    return ImageSet(arrays, **{"name": "x", "mean": (0.0,), "std": (1.0,)} | keys)


def test_the_shape_is_the_images_shape():
    assert image_set().facts.shape == (1, 2, 3)


@pytest.mark.parametrize("changed", [{"classes": ("a", "b")}, {"test": IMAGES.transpose(2, 3)}])
def test_a_data_set_refuses_samples_that_do_not_fit(changed):
    with pytest.raises(ValueError, match=r"\d"):
        image_set(**changed)


def test_a_constant_channel_cannot_be_measured():
    with pytest.raises(UserError, match=r"dataset.std=\[0.0\]: a constant channel"):
        image_set(mean=None, std=None)


def test_a_padding_as_large_as_the_image_is_refused():
    with pytest.raises(UserError, match=r"dataset.augment.pad=2: must be smaller than .* 2x3"):
        image_set(augment=Augment(pad=2))
