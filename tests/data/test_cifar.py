import numpy as np
import pytest

from bnnrepro.data import cifar
from bnnrepro.errors import UserError


def test_what_is_fetched_is_what_is_loaded(tmp_path, small_cifar, server):
    name, source, files = small_cifar
    data = cifar.load(name=name, root=tmp_path / "data", download=True)
    for split, listed in ((data.train, source.train_list), (data.test, source.test_list)):
        contents = [files[file] for file, _ in listed]
        pixels = np.concatenate([content["data"] for content in contents])
        key = "labels" if name == "cifar10" else "fine_labels"
        labels = [label for content in contents for label in content[key]]
        assert np.array_equal(split.inputs.numpy().reshape(-1, 3072), pixels)
        assert split.targets.tolist() == labels
    assert data.facts.shape == (3, 32, 32)
    assert data.facts.classes == tuple(f"c{k}" for k in range(len(data.facts.classes)))
    cifar.load(name=name, root=tmp_path / "data", download=True)
    assert server.gets == {source.filename: 1}


def test_an_archive_that_is_there_already_is_only_unpacked(tmp_path, small_cifar, server):
    name, source, _ = small_cifar
    (tmp_path / source.filename).write_bytes((server.folder / source.filename).read_bytes())
    cifar.load(name=name, root=tmp_path, download=True)
    assert not server.gets


def test_each_damaged_file_is_named_and_fetching_mends_it(small_cifar, server):
    name, source, files = small_cifar
    for file in files:
        path = server.folder / source.base_folder / file
        path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(UserError, match=file):
            cifar.load(name=name, root=server.folder, download=False)
        cifar.load(name=name, root=server.folder, download=True)


def test_missing_data_say_how_to_get_them(tmp_path, small_cifar):
    name, source, _ = small_cifar
    with pytest.raises(UserError, match=f"no {source.__name__} there.*make data"):
        cifar.load(name=name, root=tmp_path / "data", download=False)


def test_another_name_is_refused():
    with pytest.raises(UserError, match="must be one of cifar10, cifar100"):
        cifar.load(name="cifar1O")
