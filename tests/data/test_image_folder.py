import errno
import itertools
import logging
import os
import shutil
import struct
import tarfile
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from bnnrepro.config.compose import compose
from bnnrepro.config.instantiation import instantiate
from bnnrepro.data import image_folder
from bnnrepro.errors import UserError
from bnnrepro.importing import torchvision
from bnnrepro.runs.signature import signature


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
    assert data.facts.shape == (3, 6, 4)
    assert data.facts.classes == ("cat", "dog")
    assert data.train.targets.tolist() == [0, 0, 0, 1, 1, 1]
    assert data.test.targets.tolist() == [0, 0, 1, 1]
    for pixels, seed in zip(data.train.inputs, [0, 1, 2, 10, 11, 12], strict=True):
        assert np.array_equal(pixels.permute(1, 2, 0).numpy(), np.asarray(image(seed)))


def test_channel_statistics_are_measured(make_tree):
    data = image_folder.load(root=make_tree())
    pixels = data.train.inputs.double() / 255
    assert data.facts.mean == pytest.approx(pixels.mean((0, 2, 3)).tolist(), abs=1e-9)
    assert data.facts.std == pytest.approx(pixels.std((0, 2, 3), correction=0).tolist(), abs=1e-9)


def test_a_grayscale_tree_has_one_channel_and_one_colour_image_makes_it_three(make_tree):
    root = make_tree(mode="L")
    gray = image_folder.load(root=root)
    assert gray.facts.shape == (1, 6, 4)
    image(99).save(root / "test" / "cat" / "0.png")
    colour = image_folder.load(root=root)
    assert colour.facts.shape == (3, 6, 4)
    assert (colour.train.inputs == gray.train.inputs).all()


def test_val_is_the_test_set_where_there_is_no_other_and_the_log_says_so(make_tree, caplog):
    caplog.set_level(logging.INFO)
    assert len(image_folder.load(root=make_tree(test="val")).test) == 4
    assert "val is the test set" in caplog.text


def test_size_resizes_every_image(make_tree):
    root = make_tree()
    image(99, shape=(9, 9)).save(root / "test" / "dog" / "1.png")
    data = image_folder.load(root=root, size=5)
    assert data.facts.shape == (3, 5, 5)
    expected = image(0).resize((5, 5), Image.Resampling.BILINEAR)
    assert np.array_equal(data.train.inputs[0].permute(1, 2, 0).numpy(), np.asarray(expected))


def test_the_fingerprint_is_of_content_not_of_place(make_tree, tmp_path):
    root = make_tree()
    first = image_folder.load(root=root).facts.fingerprint
    moved = root.rename(tmp_path / "elsewhere")
    assert image_folder.load(root=moved).facts.fingerprint == first
    assert image_folder.load(root=moved, size=6).facts.fingerprint != first
    (moved / "train" / "cat" / "0.png").rename(moved / "train" / "cat" / "00.png")
    renamed = image_folder.load(root=moved).facts.fingerprint
    assert renamed != first
    Image.new("RGB", (4, 6)).save(moved / "train" / "cat" / "00.png")
    assert image_folder.load(root=moved).facts.fingerprint not in (first, renamed)


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
    refused(r"train/dog/2.png.*16 bits a channel", root=path.parents[2])


def test_sixteen_bits_of_a_colour_are_not_halved_silently(make_tree):
    """Pillow opens such a picture as RGB of 8 bits."""
    path = make_tree() / "train" / "dog" / "2.png"
    rows = b"".join(b"\0" + bytes([18, 52] * 3 * 4) for _ in range(6))
    header = struct.pack(">IIBBBBB", 4, 6, 16, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    written = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(written))
    refused(r"train/dog/2.png.*16 bits a channel: 8 are needed", root=path.parents[2])


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
    refused("neither test/ nor val/.*dataset.test_split", root=tmp_path / "empty")
    (tmp_path / "empty" / "test").mkdir()
    refused("no images in train", root=tmp_path / "empty")


@pytest.mark.parametrize(
    "declared",
    [{"shape": [3, 4, 6]}, {"classes": 3}, {"size": 0}, {"mean": [0.5], "std": [0.5]}],
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
    assert data.train.targets.bincount().tolist() == [20] * 10
    assert data.facts.classes[0] == "airplane"
    assert data.facts.mean == pytest.approx([0.49, 0.48, 0.45], abs=0.05)


def test_other_pixels_in_files_of_the_same_names_and_sizes_are_other_data(make_tree):
    root = make_tree()
    path = root / "train" / "cat" / "0.png"
    rows = (image(1), image(2))
    names = []
    for row in rows:
        row.save(path, compress_level=0)
        names.append((path.stat().st_size, image_folder.load(root=root).facts.fingerprint))
    (size, first), (same_size, second) = names
    assert size == same_size
    assert first != second


def test_the_fingerprint_tells_labels_from_names_alone(make_tree):
    """The same pictures, sorted otherwise into the classes, are other data."""
    root = make_tree()
    first = image_folder.load(root=root).facts.fingerprint
    cat, dog = (root / "train" / kind / "0.png" for kind in ("cat", "dog"))
    held = cat.read_bytes()
    cat.write_bytes(dog.read_bytes())
    dog.write_bytes(held)
    assert image_folder.load(root=root).facts.fingerprint != first


def test_another_rule_of_decoding_makes_other_runs(make_tree, monkeypatch):
    root = make_tree()
    first = image_folder.load(root=root).facts.fingerprint
    monkeypatch.setattr(image_folder, "DECODING", "another")
    assert image_folder.load(root=root).facts.fingerprint != first


def checkpoints(folder):
    (folder / ".ipynb_checkpoints").mkdir()
    image(7).save(folder / ".ipynb_checkpoints" / "0-checkpoint.png")


HIDDEN = {
    "a notebook's checkpoints beside the classes": lambda root: [
        checkpoints(root / split) for split in ("train", "test")
    ],
    "a notebook's checkpoints in a class": lambda root: checkpoints(root / "train" / "cat"),
    "macOS's other half of a file": lambda root: (root / "train/cat/._0.png").write_bytes(b"\0\5"),
    "macOS's folder of an archive": lambda root: (root / "train" / "__MACOSX").mkdir(),
    "a link to the folder above": lambda root: (root / "train/cat/up").symlink_to(".."),
    "a link to the folder itself": lambda root: (root / "train/cat/up").symlink_to("."),
    "a link to a folder above as a class": lambda root: (root / "train/up").symlink_to(".."),
    "a link to its folder as a class": lambda root: (root / "train/all").symlink_to("."),
    "a hidden class": lambda root: (root / "train" / ".git").mkdir(),
}


@pytest.mark.parametrize("hide", HIDDEN.values(), ids=HIDDEN)
def test_what_programs_leave_in_folders_is_no_data(hide, make_tree):
    root = make_tree()
    plain = image_folder.load(root=root)
    hide(root)
    data = image_folder.load(root=root)
    assert data.facts == plain.facts
    assert torch.equal(data.train.inputs, plain.train.inputs)


def test_files_come_in_the_order_in_which_torchvision_has_them(make_tree, tmp_path):
    root = make_tree()
    for name in ("cat/b/1.png", "cat/b/a/0.png", "cat/b-1/0.png", "cat/.5.png", "cat/10.png"):
        (root / "train" / name).parent.mkdir(exist_ok=True)
        shutil.copy(root / "train/cat/0.png", root / "train" / name)
    (tmp_path / "far").mkdir()
    shutil.copy(root / "train/cat/0.png", tmp_path / "far" / "0.PNG")
    (root / "train" / "dog" / "linked").symlink_to(tmp_path / "far")
    expected = torchvision().datasets.ImageFolder(root / "train").samples
    found = image_folder.find_files(root / "train")
    files = [(path, label) for label, paths in enumerate(found.values()) for path in paths]
    assert [(str(path), label) for path, label in files] == [
        file for file in expected if "/." not in file[0]
    ]
    assert any(path.name == "0.PNG" for path, _ in files)


def test_the_endings_are_torchvision_s():
    assert image_folder.ENDINGS == torchvision().datasets.folder.IMG_EXTENSIONS


def test_files_of_other_kinds_are_named(make_tree, caplog):
    root = make_tree()
    for name in ("moving.gif", "another.GIF", "notes"):
        (root / "train" / "dog" / name).write_bytes(b"")
    assert len(image_folder.load(root=root).train) == 6
    assert "train: left out, as no images of a class: files " in caplog.text
    assert all(part in caplog.text for part in ("1 .gif", "1 .GIF", "1 without"))


def test_an_image_beside_the_classes_is_named(make_tree, caplog):
    root = make_tree()
    image(5).save(root / "train" / "stray.png")
    assert len(image_folder.load(root=root).train) == 6
    assert "train: left out, as no images of a class: files 1 .png" in caplog.text


@pytest.mark.parametrize("name", ["caf\udce9", "two\nlines"])
def test_a_class_whose_name_cannot_be_printed_is_refused(name, make_tree):
    root = make_tree()
    for split in ("train", "test"):
        (root / split / "cat").rename(root / split / name)
    refused("must be UTF-8 text", root=root)


def test_a_file_whose_name_is_not_utf8_is_an_image_like_others(make_tree):
    root = make_tree()
    (root / "train/cat/0.png").rename(root / "train/cat/caf\udce9.png")  # the byte E9
    data = image_folder.load(root=root)
    assert len(data.train) == 6
    assert data.facts.fingerprint


def test_a_folder_that_cannot_be_read_is_not_passed_over(make_tree, monkeypatch):
    """Otherwise a run would train on fewer images than there are, without a word."""
    root = make_tree()
    below = root / "train" / "cat" / "more"
    below.mkdir()
    scandir = os.scandir

    def failing(path="."):
        if os.fspath(path) == os.fspath(below):
            raise PermissionError(errno.EACCES, "Permission denied", str(below))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", failing)
    part = compose("dataset=image_folder", f"dataset.root={root}").dataset
    with pytest.raises(UserError, match=rf"^dataset.root={below}: cannot be read \(Permission"):
        instantiate(part)


@pytest.mark.parametrize("kind", ["pipe", "folder", "device"])
def test_what_is_no_regular_file_is_refused_and_not_waited_for(make_tree, kind):
    root = make_tree()
    strange = root / "train" / "cat" / "strange.png"
    if kind == "pipe":
        os.mkfifo(strange)
    elif kind == "device":
        strange.symlink_to("/dev/zero")
    else:
        strange.mkdir()
        shutil.copy(root / "train" / "cat" / "0.png", strange)
        assert len(image_folder.load(root=root).train) == 7  # a folder is one like any other
        return
    refused(r"strange\.png is no regular file", root=root)


@pytest.mark.parametrize("train", ["train", "."])
def test_a_share_of_the_images_is_the_test_set_where_there_is_none(tmp_path, train):
    for number in range(20):
        path = tmp_path / train / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4), number).save(path)
    (tmp_path / "log.txt").write_text("not an image")
    data = image_folder.load(root=tmp_path, test_split=0.25)
    shades = [samples.inputs[:, 0, 0, 0].tolist() for samples in (data.train, data.test)]
    assert [len(each) for each in shades] == [15, 5]
    assert sorted(shades[0] + shades[1]) == list(range(20))
    for samples in (data.train, data.test):
        assert (samples.inputs[:, 0, 0, 0] % 2 == samples.targets).all()
    again = image_folder.load(root=tmp_path, test_split=0.25)
    assert torch.equal(again.test.inputs, data.test.inputs)
    words = [f"dataset.root={tmp_path}", "dataset=image_folder"]
    plain, split = (compose(*words, f"dataset.test_split={share}") for share in (0, 0.25))
    del (older := plain.to_dict())["dataset"]["test_split"]
    assert signature(plain.identity()) == signature(older) != signature(split.identity())
