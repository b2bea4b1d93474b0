import pytest
import torch

from bnnrepro.data.dataset import Augmentation, ImageData, Split

IMAGES = torch.zeros(4, 1, 2, 3, dtype=torch.uint8)
LABELS = torch.tensor([0, 1, 2, 1])


@pytest.mark.parametrize(
    ("images", "labels", "error"),
    [
        (IMAGES.float(), LABELS, TypeError),
        (IMAGES, LABELS.int(), TypeError),
        (IMAGES[0], LABELS, ValueError),
        (IMAGES, LABELS[:3], ValueError),
        (IMAGES, LABELS - 1, ValueError),
    ],
)
def test_a_split_refuses_tensors_that_do_not_fit(images, labels, error):
    with pytest.raises(error):
        Split(images, labels)


def test_a_subset_keeps_images_and_labels_together_in_the_order_asked_for():
    images = torch.arange(5, dtype=torch.uint8).view(5, 1, 1, 1)
    part = Split(images, torch.arange(5)).subset(torch.tensor([4, 0, 2]))
    assert part.labels.tolist() == [4, 0, 2]
    assert part.images.flatten().tolist() == [4, 0, 2]


def image_data(**changed):
    split = Split(IMAGES, LABELS)
    given = {
        "name": "x", "train": split, "test": split, "classes": ("a", "b", "c"),
        "mean": (0.0,), "std": (1.0,), "augmentation": None,
    }  # fmt: skip
    return ImageData(**(given | changed))


def test_the_shape_is_the_images_shape():
    assert image_data().shape == (1, 2, 3)


@pytest.mark.parametrize(
    "changed",
    [
        {"classes": ("a", "b")},
        {"mean": (0.0, 0.0)},
        {"std": ()},
        {"std": (0.0,)},
        {"test": Split(IMAGES.transpose(2, 3), LABELS)},
    ],
)
def test_a_data_set_refuses_parts_that_do_not_fit(changed):
    with pytest.raises(ValueError, match=r"\d"):
        image_data(**changed)


def test_a_negative_pad_is_refused():
    with pytest.raises(ValueError, match="pad is -1"):
        Augmentation(pad=-1)
