"""Pictures are read as a viewer shows them, and what the system could not give is no damage."""

import errno
import os

import numpy as np
import pytest
from PIL import Image

from bnnrepro.config.compose import compose
from bnnrepro.config.instantiation import instantiate
from bnnrepro.data import decoding, image_folder, label_folder
from bnnrepro.errors import UserError

SHOWN = {  # by the EXIF standard: what the stored rows and columns stand for
    1: lambda stored: stored,
    2: np.fliplr,
    3: lambda stored: np.rot90(stored, 2),
    4: np.flipud,
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: np.rot90(stored, 2).swapaxes(0, 1),
    8: lambda stored: np.rot90(stored, 1),
}
ORIENTATION = 0x112


def random_pixels(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def save(path, image, tag=None, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    if tag is not None:
        options["exif"] = image.getexif()
        options["exif"][ORIENTATION] = tag
    image.save(path, **options)


def make_tree(root, *pictures):
    """Two classes of one picture each in train and test; further pictures in train/a."""
    for split in ("train", "test"):
        for label in ("a", "b"):
            save(root / split / label / "z.png", Image.fromarray(random_pixels(4, 4, 3)))
    for number, (ending, image, options) in enumerate(pictures):
        save(root / "train" / "a" / f"{number}.{ending}", image, **options)
    return root


@pytest.mark.parametrize("tag", SHOWN)
@pytest.mark.parametrize(
    ("ending", "channels"),
    [("png", ()), ("png", (3,)), ("tiff", ()), ("tiff", (3,)), ("webp", (3,))],
)
def test_a_picture_is_turned_as_its_exif_tag_asks(tag, ending, channels, tmp_path):
    stored = random_pixels(4, 6, *channels)
    options = {"lossless": True, "exact": True} if ending == "webp" else {}
    path = tmp_path / f"photo.{ending}"
    save(path, Image.fromarray(stored), tag=tag, **options)
    decoded = np.asarray(decoding.decode(path.read_bytes()))
    assert np.array_equal(decoded, SHOWN[tag](stored))


def test_a_jpeg_photograph_is_turned(tmp_path):
    stored = np.zeros((8, 8, 3), np.uint8)
    stored[:, :4] = 255
    root = make_tree(tmp_path, ("jpg", Image.fromarray(stored), {"tag": 6, "quality": 95}))
    photo = image_folder.load(root=root, size=8).train.inputs[0].float()
    assert photo[:, :4].mean() > 250
    assert photo[:, 4:].mean() < 5


def test_sizes_are_compared_as_shown(tmp_path):
    for number, (split, label) in enumerate((s, c) for s in ("train", "test") for c in "ab"):
        shape, tag = ((4, 6, 3), 1) if number % 2 else ((6, 4, 3), 8)
        image = Image.fromarray(random_pixels(*shape))
        save(tmp_path / split / label / "0.png", image, tag=tag)
    assert image_folder.load(root=tmp_path).facts.shape == (3, 4, 6)


def test_a_tag_that_is_no_exif_turns_nothing(tmp_path):
    path = tmp_path / "photo.png"
    stored = random_pixels(4, 6, 3)
    Image.fromarray(stored).save(path, exif=b"Exif\0\0no tags at all")
    assert np.array_equal(np.asarray(decoding.decode(path.read_bytes())), stored)


@pytest.mark.parametrize("part", ["imgs", "labels"])
@pytest.mark.parametrize("split", ["train", "val"])
def test_an_image_and_its_label_are_turned_by_one_rule(part, split, tmp_path):
    """One of the two lies on its side in its file: both are shown alike, and belong together."""
    for folder in ("train", "val"):
        image = random_pixels(6, 4)
        pixels = {"img": image, "label": np.where(image > 100, 255, 0).astype(np.uint8)}
        for name, shown in pixels.items():
            turned = folder == split and name.startswith(part[:3])
            stored = np.rot90(shown, 1) if turned else shown
            path = tmp_path / f"{folder}_{'imgs' if name == 'img' else 'labels'}/{name}_0.png"
            save(path, Image.fromarray(np.ascontiguousarray(stored)), tag=6 if turned else 1)
    data = label_folder.load(root=tmp_path, crop=2)
    for pairs in (data.train, data.test):
        assert (pairs.targets == (pairs.inputs[:, 0] > 100)).all()


def transparent_at_first(mode):
    """A picture whose pixel (0, 0) alone is transparent, how to save it, and it without alpha."""
    if mode in ("RGBA", "LA"):
        pixels = random_pixels(5, 5, 4 if mode == "RGBA" else 2)
        pixels[..., -1] = 255
        pixels[0, 0] = 0
        image = Image.fromarray(pixels, mode)
        return image, {}, image.convert(mode[:-1])
    if mode == "P":
        image = Image.fromarray(np.arange(25, dtype=np.uint8).reshape(5, 5), "P")
        image.putpalette(random_pixels(768).tobytes())
        return image, {"transparency": 0}, image.convert("RGB")
    pixels = random_pixels(5, 5, *((3,) if mode == "RGB" else ()))
    pixels[pixels == 7] = 8
    pixels[0, 0] = 7
    image = Image.fromarray(pixels)
    return image, {"transparency": 7 if mode == "L" else (7, 7, 7)}, image


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB", "L"])
def test_what_is_transparent_is_white_and_what_is_opaque_is_unchanged(mode, tmp_path):
    image, options, plain = transparent_at_first(mode)
    path = tmp_path / "cut-out.png"
    image.save(path, **options)
    decoded = decoding.on_white(decoding.decode(path.read_bytes()), plain.mode)
    expected = np.array(plain)
    expected[0, 0] = 255
    assert np.array_equal(np.asarray(decoded), expected)


@pytest.mark.parametrize("alpha", [0, 64, 128, 200, 255])
def test_half_transparent_pixels_are_mixed_with_white(alpha, tmp_path):
    pixels = random_pixels(16, 16, 4)
    pixels[..., 3] = alpha
    decoded = np.asarray(decoding.on_white(Image.fromarray(pixels, "RGBA"), "RGB"), dtype=float)
    exact = (pixels[..., :3] * (alpha / 255)) + 255 * (1 - alpha / 255)
    assert np.abs(decoded - exact).max() <= 1


def test_transparent_grey_and_colour_trees(tmp_path):
    grey = transparent_at_first("LA")[0]
    for split in ("train", "test"):
        for label in ("a", "b"):
            save(tmp_path / split / label / "0.png", grey)
    images = image_folder.load(root=tmp_path).train.inputs
    assert images.shape == (2, 1, 5, 5)
    assert images[0, 0, 0, 0] == 255
    save(tmp_path / "test" / "a" / "1.png", transparent_at_first("RGBA")[0])
    colour = image_folder.load(root=tmp_path)
    assert (colour.train.inputs == images).all()
    assert colour.test.inputs[1, :, 0, 0].tolist() == [255] * 3
    resized = image_folder.load(root=tmp_path, size=3)
    expected = np.asarray(decoding.on_white(grey, "L").resize((3, 3), Image.Resampling.BILINEAR))
    assert (resized.train.inputs.numpy() == expected).all()


@pytest.mark.parametrize("mode", ["L", "LA"])
def test_a_label_with_transparency_is_refused(mode, tmp_path):
    pixels = np.array([[0, 255], [255, 0]], np.uint8)
    for split in ("train", "val"):
        for part in ("imgs/img", "labels/label"):
            save(tmp_path / f"{split}_{part}_0.png", Image.fromarray(pixels))
    options = {"transparency": 0} if mode == "L" else {}
    image = Image.fromarray(pixels).convert(mode)
    if mode == "LA":
        image.putalpha(128)
    save(tmp_path / "train_labels/label_0.png", image, **options)
    with pytest.raises(UserError, match=r"label_0.png .*grey values are needed") as caught:
        label_folder.load(root=tmp_path)
    assert len(str(caught.value).splitlines()) == 1


TROUBLES = [
    *(
        OSError(getattr(errno, name), os.strerror(getattr(errno, name)))
        for name in ("ENOMEM", "EMFILE", "ENFILE", "EACCES", "EPERM", "EIO", "ESTALE")
    ),
    MemoryError(),
    RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
]


def of_images(root):
    return image_folder.load(root=make_tree(root), size=4)


def of_labels(root):
    image = random_pixels(6, 4)
    for split in ("train", "val"):
        save(root / f"{split}_imgs/img_0.png", Image.fromarray(image))
        label = np.where(image > 100, 255, 0).astype(np.uint8)
        save(root / f"{split}_labels/label_0.png", Image.fromarray(label))
    return label_folder.load(root=root, crop=2)


@pytest.mark.parametrize("load", [of_images, of_labels])
@pytest.mark.parametrize("during", ["reading", "decoding"])
@pytest.mark.parametrize("trouble", TROUBLES, ids=repr)
def test_a_trouble_of_the_system_is_told_as_what_it_is(
    load, during, trouble, tmp_path, monkeypatch
):
    load(tmp_path)

    def fail(*_):
        raise trouble

    if during == "reading":
        monkeypatch.setattr("pathlib.Path.read_bytes", fail)
    else:
        monkeypatch.setattr(Image.Image, "convert", fail)
    reason = getattr(trouble, "strerror", None) or "not enough memory"
    with pytest.raises(UserError, match=rf"cannot be read \({reason}\)") as caught:
        load(tmp_path)
    message = str(caught.value)
    assert ".png" in message
    assert len(message.splitlines()) == 1
    assert not any(word in message for word in ("damage", "as an image", "remove", "delete"))


@pytest.mark.parametrize(
    "error", [OSError("broken data stream"), RuntimeError("could not create decoder object")]
)
def test_broken_data_where_memory_is_short_prove_no_damage(error, tmp_path, monkeypatch):
    """What libjpeg and libwebp say when an allocation fails is what they say of damage."""

    def fail(_):
        raise error

    make_tree(tmp_path)
    monkeypatch.setattr(Image.Image, "load", fail)
    with pytest.raises(UserError, match=r"\.png cannot be read as an image \("):
        image_folder.load(root=tmp_path)
    monkeypatch.setattr(decoding, "SPARE", 1 << 62)
    with pytest.raises(UserError, match=r"\.png: cannot be read \(not enough memory\)"):
        image_folder.load(root=tmp_path)


def test_too_many_open_files_is_said_of_a_real_limit(tmp_path):
    resource = pytest.importorskip("resource")
    make_tree(tmp_path)
    part = compose("dataset=image_folder", f"dataset.root={tmp_path}", "dataset.size=4").dataset
    instantiate(part)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        with pytest.raises(UserError) as caught:
            instantiate(part)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert str(caught.value).startswith(f"dataset.root={tmp_path}")
    assert "cannot be read (Too many open files); `ulimit -n`" in str(caught.value)


@pytest.mark.parametrize("content", ["cut short", "no image", "too many pixels"])
def test_what_the_content_has_wrong_is_said_in_a_line(content, tmp_path, monkeypatch):
    path = make_tree(tmp_path) / "train" / "b" / "z.png"
    if content == "too many pixels":
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 7)
    else:
        path.write_bytes(path.read_bytes()[:-40] if content == "cut short" else b"GIF90")
    with pytest.raises(UserError, match=r"\.png cannot be read as an image \(") as caught:
        image_folder.load(root=tmp_path)
    assert len(str(caught.value).splitlines()) == 1
