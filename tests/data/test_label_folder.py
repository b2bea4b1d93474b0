"""Folders of images and labels: pixels are the files', and every fault is named."""

import os
import re
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from bnnrepro.data import label_folder
from bnnrepro.errors import UserError


def write(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def root(tmp_path):
    """Three training and two validation images of 8 rows and 6 columns, one unlabelled."""
    random = np.random.default_rng(0)
    for split, numbers in (("train", (0, 2, 10)), ("val", (11, 12))):
        for number in numbers:
            image = random.integers(0, 256, (8, 6), dtype=np.uint8)
            write(tmp_path / f"{split}_imgs/img_{number}.png", image)
            label = np.where(image > 100, 255, 0).astype(np.uint8)
            write(tmp_path / f"{split}_labels/label_{number}.png", label)
    write(tmp_path / "test_imgs/img_0.png", random.integers(0, 256, (8, 6), dtype=np.uint8))
    return tmp_path


def loaded(root):
    return label_folder.load(root=root, augment={"rotate": False})


def refused(match, root, **options):
    with pytest.raises(UserError, match=match) as caught:
        label_folder.load(root=root, **options)
    assert len(str(caught.value).splitlines()) <= 2


def test_pixels_and_labels_are_the_files_in_the_order_of_their_numbers(root):
    data = loaded(root)
    assert data.train.names == ("img_0", "img_2", "img_10")
    assert data.test.names == ("img_11", "img_12")
    assert (data.facts.shape, data.facts.classes) == ((1, 8, 6), ("membrane", "cell"))
    for k, number in enumerate((0, 2, 10)):
        with Image.open(root / f"train_imgs/img_{number}.png") as image:
            assert np.array_equal(data.train.inputs[k, 0].numpy(), np.asarray(image))
    assert torch.equal(data.train.targets, (data.train.inputs[:, 0] > 100).byte())
    assert data.unlabelled.names == ("img_0",)
    pixels = data.train.inputs.double() / 255
    assert data.facts.mean == pytest.approx([float(pixels.mean())], abs=1e-9)
    assert data.facts.std == pytest.approx([float(pixels.std(correction=0))], abs=1e-9)


def test_the_unlabelled_folder_may_be_missing_and_a_folder_isbi_em_may_hold_all(root, tmp_path):
    shutil.rmtree(root / "test_imgs")
    first = loaded(root)
    assert first.unlabelled is None
    for part in ("train_imgs", "train_labels", "val_imgs", "val_labels"):
        shutil.copytree(root / part, tmp_path / "above" / "isbi-em" / part)
    assert loaded(tmp_path / "above").facts.fingerprint == first.facts.fingerprint


def test_the_fingerprint_is_of_content_not_of_place_or_form(root, tmp_path):
    first = loaded(root).facts.fingerprint
    assert first
    moved = root / "moved"
    for part in ("train_imgs", "train_labels", "val_imgs", "val_labels"):
        shutil.copytree(root / part, moved / part)
    path = moved / "train_imgs/img_2.png"
    with Image.open(path) as image:
        pixels = np.array(image)
    Image.fromarray(pixels).save(path, compress_level=0)
    assert loaded(moved).facts.fingerprint == first
    pixels[0, 0] ^= 1
    Image.fromarray(pixels).save(path)
    changed = loaded(moved).facts.fingerprint
    assert changed != first
    label = moved / "train_labels/label_2.png"
    with Image.open(label) as image:
        Image.fromarray(255 - np.array(image)).save(label)
    assert loaded(moved).facts.fingerprint not in (first, changed)


def test_a_label_of_another_size_is_named(root):
    write(root / "train_labels/label_2.png", np.zeros((8, 7), np.uint8))
    refused(r"(?s)sizes differ.*label_0.png is 6x8.*label_2.png is 7x8", root)
    for number in (0, 2, 10):
        write(root / f"train_labels/label_{number}.png", np.eye(9, dtype=np.uint8) * 255)
    refused(r"img_0.png is 6x8, its label label_0.png 9x9", root)


def test_splits_of_different_sizes_are_named(root):
    for folder, name in (("val_imgs", "img"), ("val_labels", "label")):
        for number in (11, 12):
            write(root / f"{folder}/{name}_{number}.png", np.eye(9, dtype=np.uint8) * 255)
    refused("train_imgs and val_imgs are 6x8 and 9x9", root)


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ("train_labels/label_2.png", r"train_imgs has 3 files, train_labels 2: img_2.png"),
        ("val_imgs/img_12.png", r"val_labels has 2 files, val_imgs 1: label_12.png"),
    ],
)
def test_an_image_or_label_without_its_partner_is_named(root, missing, words):
    (root / missing).unlink()
    refused(words, root)


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("train_imgs/label_3.png", "img_N.png"),
        ("train_labels/img_3.png", "label_N.png"),
        ("val_imgs/img_13.PNG", "img_N.png"),
        ("val_labels/13.png", "label_N.png"),
        ("test_imgs/label_1.png", "img_N.png"),
        ("test_imgs/img_1 (copy).png", "img_N.png"),
    ],
)
def test_a_png_of_another_name_is_refused(root, file, name):
    folder, _, wrong = file.partition("/")
    write(root / file, np.eye(8, 6, dtype=np.uint8) * 255)
    refused(rf"{folder} has {re.escape(wrong)}; its files are named {name}", root)


@pytest.mark.parametrize("file", ["img_02.png", "img_002.png"])
def test_two_files_of_one_number_are_named(root, file):
    write(root / f"train_imgs/{file}", np.eye(8, 6, dtype=np.uint8) * 255)
    refused(rf"train_imgs has {file} and img_2.png, which are one number", root)


def test_hidden_files_are_passed_over_and_what_is_no_png_is_named(root, caplog):
    first = loaded(root)
    for name in ("README.txt", "Thumbs.db", "._img_0.png", ".DS_Store"):
        (root / "train_imgs" / name).write_bytes(b"something else")
    assert loaded(root).facts.fingerprint == first.facts.fingerprint
    assert "train_imgs: left out, as no PNG: files 1 .txt, 1 .db" in caplog.text


def with_palette(*colours):
    """A picture of 0 and 255 with the first and second of these colours."""

    def make(image):
        made = Image.fromarray(np.asarray(image) // 255)
        made.putpalette(sum(colours, ()))
        return made

    return make


MASKS = {
    "0 and 1": lambda image: image.point(lambda value: value // 255),
    "one bit": lambda image: image.convert("1"),
    "RGB": lambda image: image.convert("RGB"),
    "opaque RGBA": lambda image: image.convert("RGBA"),
    "opaque LA": lambda image: image.convert("LA"),
    "a grey palette": with_palette((0, 0, 0), (255, 255, 255)),
    "a coloured palette": with_palette((0, 0, 0), (128, 0, 0)),
}


@pytest.mark.parametrize("kind", MASKS)
def test_labels_in_the_forms_in_which_programs_write_them_are_the_same_labels(root, kind):
    first = loaded(root).facts.fingerprint
    for path in root.glob("*_labels/*.png"):
        with Image.open(path) as image:
            MASKS[kind](image).save(path)
    assert loaded(root).facts.fingerprint == first


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda image: image.convert("RGB").point(lambda v: v // 2 + 1), "the value 1; 0 and 255"),
        (lambda image: Image.merge("RGB", (image, image, Image.new("L", (6, 8)))), "are colours"),
        (lambda image: Image.merge("LA", (image, image)), "parts of it are transparent"),
    ],
)
def test_labels_without_two_grey_values_are_refused(root, make, words):
    with Image.open(root / "val_labels/label_12.png") as image:
        make(image).save(root / "val_labels/label_12.png")
    refused(words, root)


def test_a_pipe_is_refused_and_not_waited_for(root):
    os.mkfifo(root / "train_imgs/img_3.png")
    refused(r"img_3\.png is no regular file", root)


@pytest.mark.parametrize("value", [1, 128, 254])
def test_an_unknown_value_in_a_label_is_named(root, value):
    label = np.eye(8, 6, dtype=np.uint8) * 255
    label[3, 3] = value
    write(root / "val_labels/label_12.png", label)
    refused(rf"label_12.png has the value {value}; 0 and 255", root)


@pytest.mark.parametrize("value", [0, 255])
@pytest.mark.parametrize(("split", "numbers"), [("train", (0, 2, 10)), ("val", (11, 12))])
def test_labels_of_one_class_are_refused(root, split, numbers, value):
    for number in numbers:
        write(root / f"{split}_labels/label_{number}.png", np.full((8, 6), value, np.uint8))
    refused(rf"{split}_labels are all {value}; two values", root)


@pytest.mark.parametrize("folder", ["train_imgs", "train_labels", "val_imgs", "val_labels"])
def test_a_folder_that_is_missing_or_empty_is_named(root, folder):
    shutil.rmtree(root / folder)
    refused(rf"no folder .*{folder}; train_imgs/img_N.png with", root)
    (root / folder).mkdir()
    refused(rf"no images in .*{folder}", root)


@pytest.mark.parametrize("content", [b"", b"no image", "truncated"])
def test_an_unreadable_file_is_named(root, content):
    path = root / "train_labels/label_10.png"
    path.write_bytes(path.read_bytes()[:50] if content == "truncated" else content)
    refused("label_10.png cannot be read", root)


def test_colour_and_sixteen_bits_are_refused(root):
    Image.new("RGB", (6, 8), "red").save(root / "train_imgs/img_2.png")
    refused("img_2.png .*8-bit grey", root)
    write(root / "train_imgs/img_2.png", np.full((8, 6), 40_000, np.uint16))
    refused("img_2.png .*16 bits a channel: 8 are", root)


def test_turning_needs_squares(root):
    refused(r"dataset.augment.rotate=true.*6x8", root)
    label_folder.load(root=root, crop=6)
    refused(r"dataset.crop=7.*at most 6", root, crop=7)


def test_isbi_is_isbis_alone(root):
    with pytest.raises(UserError, match=r"not ISBI's images .*dataset=label_folder takes any"):
        label_folder.isbi(root=root)


@pytest.mark.realdata
def test_the_real_micrographs_are_recognised(real_data):
    data = label_folder.isbi(root=real_data, crop=388)
    assert label_folder.load(root=real_data).facts.fingerprint == label_folder.ISBI
    assert (len(data.train), len(data.test), len(data.unlabelled)) == (24, 6, 30)
    assert data.facts.shape == (1, 512, 512)
    assert data.facts.fingerprint is None
    assert float(data.test.targets.double().mean()) == pytest.approx(0.8035, abs=1e-4)
