"""A sweep's points, composed quickly, are exactly what Hydra composes of each alone."""

from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf

from bnnrepro.cli.run import main
from bnnrepro.config.compose import explain, hydra_session
from bnnrepro.config.protocol import check_protocol
from bnnrepro.config.validation import check
from bnnrepro.errors import UserError
from bnnrepro.launch.sweep_points import Points, load_master

CHOICES = [
    *("method=ste", "method=bop", "method=full_precision", "method=pmf", "method=nope"),
    *("dataset=mnist", "dataset=cifar10", "dataset=shapes", "dataset=snelson"),
    *("dataset=label_folder", "dataset=null", "dataset=[mnist]"),
    *("model=vgg", "model=toy_mlp", "model@other=mlp", "+model@other=mlp", "~model"),
    *("scheduler=step", "scheduler=exponential", "~scheduler", "~scheduler=cosine"),
    *("preset=quick", "preset=smoke", "logger=wandb", "logger@logger=wandb", "+logger=wandb"),
    *("experiment=short_mnist_bop", "experiment=figure5_ste", "+experiment=figure5_ste"),
    *("experiment=short_mnist_bayesbinn", "sweep=table6"),
    *("protocol=cifar10", "protocol=nowhere", "~protocol", "+protocol.bayesbinn.lr=0.1"),
    *("cluster=example_cpu", "+group/nowhere=1"),
]
VALUES = [
    *("seed=3", "seed=x", "seed=1.0", "seed=true", "seed=null", "seed=", "seed='3'", "+seed=1"),
    *("epochs=7", "epochs=${seed}", "epochs='${seed}'", r"epochs='\${seed}'", "epochs=???"),
    *("out='a b'", 'out="it\'s"', "out=a\\,b", "out=${oc.env:HOME}", "out=${nowhere}", "out=${"),
    *("out=${dataset.name}/${method.name}", "out=${hydra.job.override_dirname}"),
    *("out=${hydra:job.name}", "out=${oc.select:hydra.overrides.task,none}", "out=[]"),
    *("method.lr=1e-3", "method.lr=${epochs}", "method.lr=1_000", "method.nokey=1"),
    *("+method.new=1", "++method.lr=2", "+method.deep.new=1", "++method.new={a:1,b:[1,{c:2}]}"),
    *("~method.lr", "~method.nokey", "~epochs=40", "~epochs=41", "~stop_after", "~method"),
    *("model.hidden=[8,9]", "model.hidden=[]", "+model.hidden=[4]", "model.hidden.0=3"),
    *("model.hidden=${oc.select:protocol.mlp.hidden,[1]}", "protocol.mlp.hidden=[7]"),
    *("+protocol.mlp.hidden=[7]", "++protocol.quick.epochs=9", "+protocol.exponential={}"),
    *("model={dropout:0.5}", "+model={dropout:0.5}", "++method={lr:3}", "dataset.augment={pad:1}"),
    *("dataset.augment.pad=2", "dataset.mean=[0.5]", "dataset.mean=[[0.5],x]", "dataset.name=n"),
    *("evaluate={samples:3}", "evaluate=3", "evaluate.samples.x=1", "compile=null", "a.b.c=1"),
    *("preset.epochs=2", "preset.name=quick", "scheduler.final=0", "logger.tags=[a,b]"),
    *("nokey=1", "+nokey=1", "++nokey=1", "+nokey.x=${seed}", "seed", "=1", "se ed=1"),
    *("hydra.job.name=n", "+hydra.new=1", "hydra={job:{name:n}}", "hydra.searchpath=[x]"),
    *("~hydra", "hydra/launcher=local", "seed=1,2", "seed=range(3)", "seed=interval(0,1)"),
]


@pytest.fixture(scope="module")
def loader() -> Iterator[Any]:
    with hydra_session() as hydra:
        hydra.config_loader.get_group_options = cache(hydra.config_loader.get_group_options)
        yield hydra.config_loader


@pytest.fixture(scope="module")
def master(loader: Any) -> DictConfig:
    return load_master(loader, ["hydra.job.num=1", "seed=0,1"])


def described(cfg: DictConfig) -> list[object]:
    """All that can be told of a config: values with their types, flags, what it resolves to."""
    flags = {key: node._metadata.flags for key, node in nodes(cfg, "")}
    try:
        resolved = repr(check(cfg))
    except UserError as error:
        resolved = str(error)
    hydra: Any = repr(OmegaConf.to_container(cfg.hydra, resolve=False))
    return [repr(OmegaConf.to_container(cfg, resolve=False)), hydra, flags, resolved]


def nodes(node: Any, key: str) -> Iterator[tuple[str, Any]]:
    if OmegaConf.is_dict(node) and not (node._is_none() or node._is_missing()):
        yield key, node
        for name, below in node.items_ex(resolve=False):
            yield from nodes(below, f"{key}.{name}")


def by_hydra(loader: Any, master: DictConfig, point: Sequence[str]) -> Any:
    """What Hydra composes of a point, or how that is refused."""
    try:
        cfg = loader.load_sweep_config(master, list(point))
        check_protocol(cfg, loader)
    except UserError as error:
        return str(error)
    except Exception as error:
        lines = [*map(str, master.hydra.overrides.hydra), *point]
        return str(explain(error, loader, lines))
    return described(cfg)


def by_points(points: Points, point: Sequence[str]) -> Any:
    try:
        return described(points.compose(point))
    except UserError as error:
        return str(error)


@pytest.fixture(scope="module")
def points(loader: Any, master: DictConfig) -> Points:
    """Used by many tests in turn, as by the points of a long sweep."""
    return Points(loader, master)


def kinds() -> Iterator[Any]:
    """Every fourth in the fast suite: Hydra's own composing takes a tenth of a second."""
    for number, word in enumerate([*CHOICES, *VALUES]):
        yield pytest.param(word, marks=[pytest.mark.slow] if number % 4 else [])


@pytest.mark.parametrize("word", list(kinds()))
def test_every_kind_of_override(loader: Any, master: DictConfig, points: Points, word: str) -> None:
    point = ["method=pmf", word, "seed=5"]
    wanted = by_hydra(loader, master, point)
    assert by_points(points, point) == wanted
    if not isinstance(wanted, str):  # nothing is kept of what is refused
        assert by_points(points, point) == wanted, "a second time"


# None of these is refused whatever the others are: else most combinations would be errors.
AT_EASE = [
    *("method=ste", "method=bop", "method=pmf", "dataset=mnist", "dataset=cifar10"),
    *("dataset=shapes", "dataset=snelson", "model=vgg", "scheduler=step", "scheduler=exponential"),
    *("preset=quick", "preset=smoke", "experiment=figure5_ste", "protocol=mnist"),
    *("seed=3", "epochs=${seed}", "out='a b'", "out=${method.name}", "preset.epochs=2"),
    *("++method.lr=2", "++method.new={a:1,b:[1,{c:2}]}", "++model.hidden=[8,9]", "~stop_after"),
    *("++model={dropout:0.5}", "++protocol.mlp.hidden=[7]", "++protocol.quick.epochs=9"),
    *(
        "++dataset.augment.pad=2",
        "++dataset={mean:[0.5]}",
        "++scheduler.final=0",
        "hydra.verbose=x",
    ),
]
LINES = st.lists(st.sampled_from(AT_EASE), min_size=2, max_size=6, unique=True)


@pytest.mark.slow
@settings(deadline=None, max_examples=150)
@given(point=LINES)
def test_combinations(loader: Any, master: DictConfig, points: Points, point: list[str]) -> None:
    assert by_points(points, point) == by_hydra(loader, master, point)


def test_files_are_merged_once_for_a_choice(
    loader: Any, master: DictConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever values there are: numbers, lists, mappings, new keys, interpolations."""
    merged: list[tuple[str, ...]] = []
    whole = Points._whole

    def counted(self: Points, point: Sequence[str]) -> DictConfig:
        merged.append(tuple(point))
        return whole(self, point)

    monkeypatch.setattr(Points, "_whole", counted)
    points = Points(loader, master)
    values = ["model.hidden=[8]", "+method.new=1", "out=${seed}", "++evaluate={samples:3}"]
    for method in ("method=ste", "method=bop"):
        for seed in range(5):
            for value in values:
                cfg = points.compose([method, f"seed={seed}", value])
                assert cfg.seed == seed
    assert merged == [("method=ste",), ("method=bop",)]


def test_points_do_not_change_each_other(loader: Any, master: DictConfig) -> None:
    points = Points(loader, master)
    first = points.compose(["seed=1"])
    first.seed = 7
    first.model.hidden.append(3)
    assert described(points.compose(["seed=1"])) == by_hydra(loader, master, ["seed=1"])


@pytest.mark.parametrize(
    ("launcher", "bad"),
    [
        *(("sequential", each) for each in ("method.lr=-1", "method.nokey=1", "dataset=nope")),
        *(("local", each) for each in ("method.lr=-1", "epochs=x")),
    ],
)
def test_a_sweep_is_still_checked_whole(
    bad: str,
    launcher: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The last of many points is wrong: nothing is started, and nothing left behind."""
    monkeypatch.chdir(tmp_path)
    key, _, value = bad.partition("=")
    good = {"method.lr": "1e-3", "epochs": "3", "dataset": "digits"}.get(key, "1")
    line = ["-m", "method=ste,bop", f"hydra/launcher={launcher}", f"{key}={good},{value}"]
    assert main([*line, "seed=range(20)"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {key}=")
    assert not list(tmp_path.iterdir())


def test_a_config_file_that_changes_during_a_sweep_changes_none_of_its_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "method").mkdir()
    shipped = (Path(__file__).parents[2] / "conf" / "method" / "ste.yaml").read_text()
    mine = tmp_path / "method" / "mine.yaml"
    mine.write_text(shipped)
    with hydra_session(config_dir=str(tmp_path)) as hydra:
        points = Points(hydra.config_loader, load_master(hydra.config_loader, ["method=mine"]))
        sweep = [["method=mine", "seed=1"], ["method=mine", "hydra.job.name=x"]]
        before = points.check(sweep)
        mine.write_text(shipped.replace("lr: 1e-2", "lr: 1e-1"))
        assert [check(points.compose(each)) for each in sweep] == before
