"""Classifiers of torchvision and timm, by their names: learned BatchNorm scales, biases, depthwise
convolutions, attention."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.optim.methods_under_test import METHODS, are_signs
from torch import nn

import bnnrepro
from bnnrepro.cli import run as cli
from bnnrepro.config import instantiate
from bnnrepro.config.parts import check_part
from bnnrepro.models.summary import summarise
from bnnrepro.optim import param_groups

SHAPE = (3, 32, 32)
MODELS = {
    "torchvision.models.resnet18": {},
    "torchvision.models.mobilenet_v2": {"width_mult": 0.25},  # depthwise convolutions
    "torchvision.models.squeezenet1_1": {},  # biases, no normalisation
    "timm.models.resnet10t": {},
    "timm.models.mobilenetv3_small_050": {},
    "timm.models.vit_tiny_patch16_224": {"img_size": 32, "patch_size": 8, "depth": 2},
}


def build(target, shape=SHAPE, classes=7):
    part = check_part("model", {"_target_": target, "name": "theirs", **MODELS[target]})
    torch.manual_seed(0)
    return instantiate(part, shape=shape, classes=classes)


def names(groups, binary):
    return {name for g in groups if g["binary"] == binary for name, _ in g["params"]}


@pytest.mark.parametrize("target", MODELS)
def test_weights_are_binary_and_biases_and_normalisations_are_real(target):
    model = build(target)
    norms = (nn.BatchNorm2d, nn.LayerNorm)
    scales = {
        f"{name}.{own}"
        for name, module in model.named_modules()
        if isinstance(module, norms)
        for own, _ in module.named_parameters()
    }
    groups = param_groups(model)
    shapes = {name: p.shape for name, p in model.named_parameters()}
    assert names(groups, True) == {n for n in shapes if len(shapes[n]) >= 2}
    assert names(groups, False) == {n for n in shapes if len(shapes[n]) < 2} >= scales
    summary = summarise(model, SHAPE)
    assert summary.binary == sum(shapes[name].numel() for name in names(groups, True))
    assert summary.parameters == sum(shape.numel() for shape in shapes.values())


def test_tokens_and_position_embeddings_can_stay_real():
    model = build("timm.models.vit_tiny_patch16_224")
    binary = names(param_groups(model), True)
    real = {"cls_token", "pos_embed"}
    assert names(param_groups(model, real=sorted(real)), True) == binary - real < binary


@pytest.mark.parametrize("planes", [1, 4])
def test_timms_models_take_images_of_any_number_of_channels(planes):
    model = build("timm.models.resnet10t", (planes, 32, 32)).eval()
    assert model(torch.zeros(2, planes, 32, 32)).shape == (2, 7)


@pytest.mark.parametrize("target", ["torchvision.models.mobilenet_v2", list(MODELS)[-1]])
@pytest.mark.parametrize(
    "method", [m for m in METHODS if m.label.endswith("defaults")], ids=lambda m: m.label
)
def test_every_method_trains_them(method, target):
    model = build(target)
    groups = param_groups(model)
    optimizer = method.seeded(groups)
    start = {name: p.detach().clone() for name, p in model.named_parameters()}
    inputs, labels = torch.randn(8, *SHAPE), torch.arange(8) % 7
    for _ in range(2):
        with optimizer.sampled_params(train=True):
            nn.functional.cross_entropy(model(inputs), labels).backward()
        optimizer.step()
    binary = names(groups, True)
    for name, parameter in model.named_parameters():
        assert torch.isfinite(parameter).all(), name
        if name in binary:
            assert are_signs([parameter]) == method.cls.binarizes, name
        elif name.endswith("weight"):
            assert not torch.equal(parameter, start[name]), name


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a folder of colour images and a config folder."""
    monkeypatch.chdir(tmp_path)
    source = np.random.default_rng(0)
    for split, label, k in itertools.product(("train", "test"), "ab", range(6)):
        folder = tmp_path / "images" / split / label
        folder.mkdir(parents=True, exist_ok=True)
        pixels = source.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{k}.png")
    (tmp_path / "myconf" / "model").mkdir(parents=True)
    (tmp_path / "myconf" / "model" / "mobilenet.yaml").write_text(
        "_target_: torchvision.models.mobilenet_v2\nname: mobilenet\nwidth_mult: 0.25\n"
    )
    return tmp_path


RUN = ["--config-dir", "myconf", "model=mobilenet", "device=cpu", "threads=1", "epochs=1"]
FOLDER = ["dataset=image_folder", "dataset.root=images", "batch_size=6", "protocol=digits"]


def test_a_run_with_a_model_of_torchvision_is_trained_and_loaded(place, capsys):
    assert cli.main([*RUN, *FOLDER, "method=ste"]) == 0
    (result,) = place.glob("multirun/*/*/*/*/result.json")
    loaded = bnnrepro.load(result.parent, config_dir="myconf")
    features = [m for m in loaded.trainer.model.modules() if isinstance(m, nn.Conv2d)]
    assert any(m.groups == m.in_channels > 1 for m in features)
    assert are_signs([m.weight for m in features])
    assert loaded.trainer.predict(torch.zeros(1, *SHAPE)).shape == (1, 2)


def test_a_model_that_does_not_take_the_images_is_named(place, capsys):
    assert cli.main([*RUN, "dataset=digits", "method=ste"]) == 2
    words = capsys.readouterr().err.strip()
    assert "model=mobilenet: does not take inputs of shape (1, 8, 8)" in words
    assert len(words.splitlines()) <= 2
    assert not (place / "multirun").exists()
