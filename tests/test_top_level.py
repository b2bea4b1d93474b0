"""What ``import bnnrepro`` gives, and what it does not load."""

import subprocess
import sys

import pytest

import bnnrepro


def test_the_top_level_loads_nothing_heavy() -> None:
    code = (
        "import sys, bnnrepro, bnnrepro.config, bnnrepro.cli.run, bnnrepro.runs; "
        "loaded = {'torch', 'sklearn', 'wandb', 'matplotlib', 'torchvision'} & set(sys.modules); "
        "sys.exit(f'loaded: {loaded}' if loaded else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_running_loads_no_data_sets_package() -> None:
    code = (
        "import sys, bnnrepro.experiment, bnnrepro.tasks; "
        "heavy = {'sklearn', 'scipy', 'wandb', 'matplotlib', 'torchvision'} & set(sys.modules); "
        "sys.exit(f'loaded: {heavy}' if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_top_level_has_what_it_promises() -> None:
    assert {name: getattr(bnnrepro, name) for name in bnnrepro.__all__}
    with pytest.raises(AttributeError, match="no attribute 'Trainr'"):
        bnnrepro.Trainr  # noqa: B018


def test_the_facades_run_stays_a_function_whatever_is_imported() -> None:
    import bnnrepro.api

    assert callable(bnnrepro.run)
    assert bnnrepro.run is bnnrepro.api.run


def test_dir_lists_what_there_is() -> None:
    assert dir(bnnrepro) == sorted([*bnnrepro.__all__, "__version__"])
