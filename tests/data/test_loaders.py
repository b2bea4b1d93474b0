"""A loader checks the values of its keys before anything is read."""

import inspect
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import yaml

from bnnrepro.constraints import meanings
from bnnrepro.data import image_folder, label_folder, mnist, shapes, table, torch_dataset
from bnnrepro.data.dataset import Arrays, Loader, dataset
from bnnrepro.data.images import ImageSet
from bnnrepro.errors import UserError

FILES = sorted((Path(__file__).parents[2] / "conf" / "dataset").glob("*.yaml"))


def loaders():
    names = {yaml.safe_load(path.read_text())["_target_"] for path in FILES}
    return [
        getattr(import_module(n.rpartition(".")[0]), n.rpartition(".")[2]) for n in sorted(names)
    ]


@pytest.mark.parametrize("load", loaders(), ids=lambda load: f"{load.__module__}.{load.__name__}")
def test_a_loader_says_what_its_kind_is(load):
    assert isinstance(load, Loader)
    keys = inspect.signature(load).parameters
    assert load.task or load is table.load  # which the file tells
    assert load.inputs in ("images", "points")
    assert set(load.for_task) <= set(keys)
    assert load.tasks_in_a_row is None or load.tasks_in_a_row in keys
    assert not any("see " in text for text in meanings(load).values())


@pytest.mark.parametrize(
    ("load", "values", "words"),
    [
        (mnist.load, {"mean": None}, "dataset.mean=null: .*both"),
        (mnist.load, {"classes": 1}, "dataset.classes=1: must be a whole number >= 2 or null"),
        (mnist.load, {"augment": {"pad": 28}}, "dataset.augment.pad=28: must be smaller .*28x28"),
        (mnist.load, {"augment": {"pat": 2}}, "dataset.augment.pat=2: no such key"),
        (mnist.load, {"std": [0.1, 0.1], "mean": [0, 0]}, "dataset.mean=.*length 1, one number a"),
        (image_folder.load, {"size": 9, "shape": [3, 8, 8]}, "dataset.size=9: contradicts"),
        (shapes.load, {"crop": 65, "shape": [1, 64, 64]}, "dataset.crop=65: .*at most 64"),
    ],
)
def test_values_are_checked_before_anything_is_read(load, values, words, tmp_path):
    root = {"root": tmp_path / "nothing"} if "root" in load.own else {}
    with pytest.raises(UserError, match=words):
        load(**root | values)
    assert not list(tmp_path.iterdir())


def test_unknown_and_missing_keys_are_type_errors():
    with pytest.raises(TypeError, match="flop"):
        shapes.load(flop=1)
    with pytest.raises(TypeError, match="root"):
        image_folder.load()


def test_a_default_must_be_a_key_of_the_kind():
    def load() -> Arrays:
        raise NotImplementedError

    with pytest.raises(KeyError, match="clases"):
        dataset(ImageSet, clases=3)(load)


def test_loaders_are_cheap_to_import():
    """So that --help costs no more than torch."""
    modules = {load.__module__ for load in loaders()}
    code = f"import sys, {', '.join(sorted(modules))}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"sklearn", "torchvision", "PIL", "pandas"} & set(done.stdout.split())


def test_only_what_is_read_from_a_users_folder_is_not_fixed():
    """A plan of a sweep reads such data, whose content names the runs' folders."""
    read = {image_folder.load, label_folder.load, table.load, torch_dataset.load}
    assert {load for load in loaders() if not load.fixed} == read
