import itertools
import logging
import tarfile

import numpy as np
import pytest
from PIL import Image

from bnnrepro.data import image_folder
from bnnrepro.errors import UserError


def image(seed, shape=(6, 4), mode="RGB"):
    """Random pixels: rows x columns, as an image."""
    channels = () if mode == "L" else (3,)
    pixels = np.random.default_rng(seed).integers(0, 256, (*shape, *channels), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.fixture
def make_tree(tmp_path):
    """A maker of trees: two classes with three training images and two test images each."""

    def make(test="test", **options):
        root = tmp_path / "tree"
        for seed, (folder, kind) in enumerate(itertools.product(("train", test), ("cat", "dog"))):
            (root / folder / kind).mkdir(parents=True)
            for k in range(3 if folder == "train" else 2):
                image(10 * seed + k, **options).save(root / folder / kind / f"{k}.png")
        return root

    return make


def refused(match, **options):
    with pytest.raises(UserError, match=match) as caught:
        image_folder.load(**options)
    assert len(str(caught.value).splitlines()) <= 2


def test_pixels_and_labels_are_the_files(make_tree):
    data = image_folder.load(root=make_tree())
    assert data.shape == (3, 6, 4)
    assert data.classes == ("cat", "dog")
    assert data.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert data.test.labels.tolist() == [0, 0, 1, 1]
    for found, seed in zip(data.train.images, [0, 1, 2, 10, 11, 12], strict=True):
        assert np.array_equal(found.permute(1, 2, 0).numpy(), np.asarray(image(seed)))


def test_channel_statistics_are_measured(make_tree):
    data = image_folder.load(root=make_tree())
    pixels = data.train.images.double() / 255
    assert data.mean == pytest.approx(pixels.mean((0, 2, 3)).tolist(), abs=1e-9)
    assert data.std == pytest.approx(pixels.std((0, 2, 3), correction=0).tolist(), abs=1e-9)


def test_a_grayscale_tree_has_one_channel_and_one_colour_image_makes_it_three(make_tree):
    root = make_tree(mode="L")
    gray = image_folder.load(root=root)
    assert gray.shape == (1, 6, 4)
    image(99).save(root / "test" / "cat" / "0.png")
    colour = image_folder.load(root=root)
    assert colour.shape == (3, 6, 4)
    assert (colour.train.images == gray.train.images).all()


def test_val_is_the_test_set_where_there_is_no_other_and_the_log_says_so(make_tree, caplog):
    caplog.set_level(logging.INFO)
    assert len(image_folder.load(root=make_tree(test="val")).test) == 4
    assert "val is the test set" in caplog.text


def test_size_resizes_every_image(make_tree):
    root = make_tree()
    image(99, shape=(9, 9)).save(root / "test" / "dog" / "1.png")
    data = image_folder.load(root=root, size=5)
    assert data.shape == (3, 5, 5)
    expected = image(0).resize((5, 5), Image.Resampling.BILINEAR)
    assert np.array_equal(data.train.images[0].permute(1, 2, 0).numpy(), np.asarray(expected))


def test_the_fingerprint_is_of_content_not_of_place(make_tree, tmp_path):
    root = make_tree()
    first = image_folder.load(root=root).fingerprint
    moved = root.rename(tmp_path / "elsewhere")
    assert image_folder.load(root=moved).fingerprint == first
    assert image_folder.load(root=moved, size=6).fingerprint != first
    (moved / "train" / "cat" / "0.png").rename(moved / "train" / "cat" / "00.png")
    renamed = image_folder.load(root=moved).fingerprint
    assert renamed != first
    Image.new("RGB", (4, 6)).save(moved / "train" / "cat" / "00.png")
    assert image_folder.load(root=moved).fingerprint not in (first, renamed)


def test_unequal_sizes_name_the_first_two_files(make_tree):
    root = make_tree()
    image(99, shape=(7, 4)).save(root / "train" / "dog" / "1.png")
    refused(r"(?s)dataset.size.*train/cat/0.png is 4x6, .*train/dog/1.png is 4x7", root=root)


@pytest.mark.parametrize("content", [b"", b"no image", "truncated"])
def test_an_unreadable_image_is_named(make_tree, content):
    path = make_tree() / "train" / "dog" / "2.png"
    path.write_bytes(path.read_bytes()[:-40] if content == "truncated" else content)
    refused(r"train/dog/2.png cannot be read", root=path.parents[2])


def test_sixteen_bit_images_are_refused_rather_than_clipped(make_tree):
    path = make_tree() / "train" / "dog" / "2.png"
    Image.fromarray(np.full((6, 4), 40_000, dtype=np.uint16)).save(path)
    refused(r"train/dog/2.png.*8 bits", root=path.parents[2])


def test_a_class_in_one_split_only_is_named(make_tree):
    root = make_tree()
    (root / "test" / "dog").rename(root / "test" / "wolf")
    refused("dog, wolf", root=root)


def test_one_class_is_refused(make_tree):
    root = make_tree()
    (root / "train" / "dog").rename(root / "away")
    refused("at least two", root=root)


def test_folders_without_images_are_refused(make_tree, tmp_path):
    root = make_tree()
    for path in (root / "test" / "cat").iterdir():
        path.unlink()
    refused("no images in test", root=root)
    refused("no folder", root=tmp_path / "nowhere")
    (tmp_path / "empty" / "train").mkdir(parents=True)
    refused("neither test/ nor val/", root=tmp_path / "empty")
    (tmp_path / "empty" / "test").mkdir()
    refused("no images in train", root=tmp_path / "empty")


@pytest.mark.parametrize(
    "declared", [{"shape": [3, 4, 6]}, {"classes": 3}, {"size": 0}, {"mean": [0.5]}]
)
def test_a_declared_value_that_does_not_fit_is_refused(make_tree, declared):
    refused(f"dataset.{next(iter(declared))}", root=make_tree(), **declared)


@pytest.mark.realdata
def test_real_photographs(real_data, tmp_path):
    taken = {}
    with tarfile.open(real_data / "cifar10-jpeg.tar.gz") as tar:
        for member in tar:
            folder = member.name.rsplit("/", 1)[0]
            if member.isfile() and taken.setdefault(folder, 0) < 20:
                taken[folder] += 1
                tar.extract(member, tmp_path, filter="data")
    data = image_folder.load(root=tmp_path, shape=[3, 32, 32], classes=10)
    assert (len(data.train), len(data.test)) == (200, 200)
    assert data.train.labels.bincount().tolist() == [20] * 10
    assert data.classes[0] == "airplane"
    assert data.mean == pytest.approx([0.49, 0.48, 0.45], abs=0.05)
