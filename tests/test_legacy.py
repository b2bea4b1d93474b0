"""Old JSON files: translated value by value, refused by name, run through the same front door."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cases import first_fast

from bnnrepro.cli import legacy
from bnnrepro.config.compose import compose
from bnnrepro.errors import UserError
from bnnrepro.runs.result import read_result

PAGE = (Path(__file__).parents[1] / "docs" / "legacy.md").read_text(encoding="utf-8")
EXAMPLE = re.search(r"```json\n(.*?)```", PAGE, re.DOTALL)[1]
COMMANDS = [
    line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()
]

BAYESBINN = {"mc_steps": 3, "temperature": 1e-8, "evaluate_steps": 7}
CLIPPED = {"grad_clip_value": 0.5, "weight_clip_value": 2}
OWN = {"bayesbinn": BAYESBINN, "ste": CLIPPED, "full_precision": CLIPPED}
METHODS = {
    "bayesbinn": {
        "temperature": 1e-8,
        "momentum": 0.99,
        "train_samples": 3,
        "train_set_scale": 1,
        "stale_mean": False,
        "prior": 0,
        "init": 10,
    },
    "ste": {"grad_clip": 0.5, "weight_clip": 2, "betas": [0.9, 0.999], "eps": 1e-8},
    "full_precision": {"betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0},
}
MLP = {"norm_momentum": 0.3, "norm_eps": 1e-3, "norm_position": "before_activation"}
CONVOLUTIONAL = {"norm_eps": 1e-3, "conv_norm_momentum": 0.3, "linear_norm_momentum": 0.1}
MODELS = {
    "BinaryConnect": ("mnist", 784, {"hidden": [2048] * 3, "dropout": 0.4, **MLP}),
    "SimpleBinaryConnect": ("mnist", 784, {"hidden": [100, 100], "dropout": 0, **MLP}),
    "LRNetSmall": ("mnist", 1, {"channels": [32, 64], "hidden": [512], **CONVOLUTIONAL}),
    "LRNetBig": (
        "cifar10",
        3,
        {"channels": [128, 128, 256, 256, 512, 512], "hidden": [1024], **CONVOLUTIONAL},
    ),
    "VGGBinaryConnect": (
        "cifar100",
        3,
        {
            "channels": [128, 128, 256, 256, 512, 512],
            "hidden": [1024, 1024],
            "norm_position": "before_activation",
            **CONVOLUTIONAL,
        },
    ),
}
NAMES = {
    "BinaryConnect": "mlp",
    "SimpleBinaryConnect": "mlp",
    "LRNetSmall": "lrnet_small",
    "LRNetBig": "lrnet_big",
    "VGGBinaryConnect": "vgg",
}


def old_file(program="bayesbinn", architecture="BinaryConnect", **changes):
    dataset, inputs, _ = MODELS[architecture]
    content = {
        "dataset": dataset,
        "input_shape": inputs,
        "output_shape": 100 if dataset == "cifar100" else 10,
        "data_augmentation": True,
        "epochs": 123,
        "criterion": "crossentropy",
        "validation_split": 0.25,
        "lr_scheduler": "cosine",
        "batch_size": 64,
        "lr_init": 7e-4,
        "lr_final": 1e-9,
        "drop_prob": 0.4,
        "batch_affine": False,
        "model_architecture": architecture,
        "momentum": 0.3,
        "eps": 1e-3,
        **OWN[program],
        **changes,
    }
    return {key: value for key, value in content.items() if value is not ...}


def translated(program, content, **more):
    translation = legacy.translate(program, content, **more)
    return compose(*translation.overrides).to_dict(), translation.notes


def notes_of(program="bayesbinn", architecture="BinaryConnect", **changes):
    return "\n".join(legacy.translate(program, old_file(program, architecture, **changes)).notes)


@pytest.mark.parametrize("architecture", MODELS)
@pytest.mark.parametrize("program", METHODS)
def test_every_value_of_a_file_arrives_in_the_typed_config(program, architecture):
    config, _ = translated(program, old_file(program, architecture))
    dataset, _, model = MODELS[architecture]
    assert config["dataset"].pop("name") == dataset
    assert config["dataset"]["validation_split"] == 0.25
    assert config["dataset"]["augment"] == {"pad": 4, "flip": dataset != "mnist"}
    assert config["epochs"] == 123
    assert config["batch_size"] == 64
    del config["model"]["_target_"], config["method"]["_target_"], config["scheduler"]["_target_"]
    assert config["model"] == {"name": NAMES[architecture], **model}
    assert config["method"] == {"name": program, "lr": 7e-4, **METHODS[program]}
    assert config["scheduler"] == {
        "name": "cosine",
        "final": 1e-9,
        "span": 500,
        "per": "epoch",
        "stepped": "after",
        "warmup": 0,
    }
    sampled = program == "bayesbinn"
    assert config["evaluate"]["samples"] == (7 if sampled else 10)
    assert config["evaluate"]["average"] == ("logits" if sampled else "probabilities")
    assert config["logger"] == {"name": "none"}


def test_optional_keys_may_be_missing():
    config, _ = translated(
        "ste", old_file("ste", "VGGBinaryConnect", momentum=..., eps=..., drop_prob=...)
    )
    assert config["model"]["norm_eps"] == 1e-5
    assert config["model"]["conv_norm_momentum"] == 0.2


@pytest.mark.parametrize("written", ["CIFAR10", "Cifar10", "cifar10"])
def test_a_data_set_is_named_in_any_case_and_without_augmentation_has_none(written):
    content = old_file("ste", "LRNetBig", dataset=written, data_augmentation=False)
    config, _ = translated("ste", content)
    assert config["dataset"]["name"] == "cifar10"
    assert config["dataset"]["augment"] == {"pad": 0, "flip": False}


def test_a_program_needs_only_its_own_keys():
    for program, own in legacy.PROGRAM_KEYS.items():
        keys = {key for keys in legacy.PROGRAM_KEYS.values() for key in keys}
        foreign = {key: ... for key in keys if key not in own}
        legacy.translate(program, old_file(program, **foreign))


def test_without_draws_evaluation_stays_as_it_is():
    config, notes = translated("bayesbinn", old_file(evaluate_steps=0))
    assert config["evaluate"] == compose().to_dict()["evaluate"]
    assert "logits" not in "\n".join(notes)


def test_wandb_on_chooses_the_logger():
    config, notes = translated("ste", old_file("ste"), wandb=True)
    assert config["logger"]["name"] == "wandb"
    assert any("wandb_on" in note for note in notes)


def test_the_cosine_spans_500_epochs_of_a_shorter_run():
    from bnnrepro.config import instantiate

    content = old_file("ste", epochs=190, lr_final=0.0)
    schedule = instantiate(compose(*legacy.translate("ste", content).overrides).scheduler)
    assert schedule.value(1.0, 190, 190) == pytest.approx(schedule.value(1.0, 190, 500))
    assert schedule.value(1.0, 250, 190) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("said", "program", "architecture", "changes"),
    [
        ("kept: method.momentum=0.99", "bayesbinn", "BinaryConnect", {}),
        ("kept: method.train_set_scale=1", "bayesbinn", "LRNetBig", {}),
        ("kept: the cosine spans 500 epochs", "full_precision", "BinaryConnect", {}),
        ("kept: the mean prediction averages logits", "bayesbinn", "BinaryConnect", {}),
        ("repaired: BatchNorm after convolutions", "bayesbinn", "LRNetBig", {}),
        ("repaired: lr stays at lr_final", "ste", "BinaryConnect", {"epochs": 600}),
        ("repaired: eps=0.001 is used", "ste", "BinaryConnect", {}),
        ("repaired: momentum=0.3 is used", "bayesbinn", "BinaryConnect", {}),
        ("repaired: gradients and weights", "full_precision", "BinaryConnect", {}),
        ("changed: one task", "bayesbinn", "SimpleBinaryConnect", {}),
        ("ignored: drop_prob", "ste", "VGGBinaryConnect", {}),
        ("ignored: mc_steps, temperature", "ste", "BinaryConnect", BAYESBINN),
        ("ignored: grad_clip_value", "bayesbinn", "BinaryConnect", CLIPPED),
    ],
)
def test_what_differs_is_said_in_one_line_each(said, program, architecture, changes):
    assert notes_of(program, architecture, **changes).count(said) == 1


@pytest.mark.parametrize(
    ("unsaid", "program", "architecture", "changes"),
    [
        ("momentum", "ste", "BinaryConnect", {}),
        ("train_set_scale", "bayesbinn", "BinaryConnect", {}),
        ("BatchNorm", "bayesbinn", "VGGBinaryConnect", {}),
        ("lr stays", "ste", "BinaryConnect", {"epochs": 500}),
        ("eps=", "ste", "BinaryConnect", {"eps": 1e-4}),
        ("momentum=0.15", "bayesbinn", "BinaryConnect", {"momentum": 0.15}),
        ("ignored", "bayesbinn", "BinaryConnect", {}),
    ],
)
def test_what_does_not_differ_is_not_said(unsaid, program, architecture, changes):
    assert unsaid not in notes_of(program, architecture, **changes)


@pytest.mark.parametrize(
    ("program", "architecture", "changes", "words"),
    [
        ("bayesbinn", "BinaryConnect", {"batchsize": 3}, "batchsize=3 'batch_size'"),
        ("bayesbinn", "BinaryConnect", {"dataset": "minst"}, "dataset=minst 'mnist' cifar100"),
        ("bayesbinn", "BinaryConnect", {"dataset": 3}, "dataset=3 mnist"),
        ("bayesbinn", "BinaryConnect", {"dataset": ...}, "dataset= missing"),
        ("bayesbinn", "BinaryConnect", {"temperature": ...}, "temperature= missing bayesbinn"),
        ("ste", "BinaryConnect", {"grad_clip_value": ...}, "grad_clip_value= missing ste"),
        ("ste", "BinaryConnect", {"drop_prob": ...}, "drop_prob= missing"),
        ("ste", "BinaryConnect", {"criterion": "mse"}, "criterion=mse crossentropy"),
        ("ste", "BinaryConnect", {"lr_scheduler": "step"}, "lr_scheduler=step cosine"),
        (
            "ste",
            "BinaryConnect",
            {"model_architecture": "VGGBinaryConect"},
            "model_architecture=VGGBinaryConect 'VGGBinaryConnect'",
        ),
        ("ste", "BinaryConnect", {"model_architecture": None}, "model_architecture=null LRNetBig"),
        ("ste", "BinaryConnect", {"epochs": "500"}, "epochs=500 whole"),
        ("ste", "BinaryConnect", {"epochs": 0}, "epochs=0 >= 1"),
        ("ste", "BinaryConnect", {"epochs": True}, "epochs=true whole"),
        ("ste", "BinaryConnect", {"batch_size": 1}, "batch_size=1 >= 2"),
        ("ste", "BinaryConnect", {"data_augmentation": 1}, "data_augmentation=1 true or false"),
        ("ste", "BinaryConnect", {"validation_split": 1.0}, "validation_split=1.0 [0, 1)"),
        ("ste", "BinaryConnect", {"lr_init": float("nan")}, "lr_init=nan number"),
        ("ste", "BinaryConnect", {"lr_final": 1}, "lr_final=1 lr_init=0.0007"),
        ("ste", "BinaryConnect", {"weight_clip_value": 0}, "weight_clip_value=0 > 0"),
        ("ste", "BinaryConnect", {"batch_affine": True}, "batch_affine=true false"),
        ("ste", "BinaryConnect", {"input_shape": 1}, "input_shape=1 784 pixels mnist"),
        ("ste", "VGGBinaryConnect", {"input_shape": 3072}, "input_shape=3072 3 channels cifar100"),
        ("ste", "BinaryConnect", {"output_shape": 100}, "output_shape=100 10 mnist"),
        ("ste", "VGGBinaryConnect", {"dataset": "mnist"}, "VGGBinaryConnect 32x32 mnist 28x28"),
        ("ste", "LRNetSmall", {"dataset": "cifar10"}, "LRNetSmall 28x28 cifar10 32x32"),
        ("bayesbinn", "BinaryConnect", {"mc_steps": 0}, "mc_steps=0 >= 1"),
        ("bayesbinn", "BinaryConnect", {"evaluate_steps": -1}, "evaluate_steps=-1 >= 0"),
    ],
)
def test_a_bad_file_is_refused_by_key_value_and_what_is_allowed(
    program, architecture, changes, words
):
    with pytest.raises(UserError) as refused:
        legacy.translate(program, old_file(program, architecture, **changes))
    message = str(refused.value)
    assert all(word in message for word in words.split())
    assert "\n" not in message


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "cannot be read"), ("{", "is not JSON"), ("[1]", "JSON object"), ("\xff", "not JSON")],
)
def test_a_file_that_holds_no_object_is_refused(tmp_path, capsys, content, words):
    path = tmp_path / "old.json"
    if content is not None:
        path.write_bytes(content.encode("latin-1"))
    assert legacy.main(["ste", str(path)]) == 2
    printed = capsys.readouterr()
    assert str(path) in printed.err
    assert words in printed.err
    assert printed.out == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["st", "FILE"], "'ste'"),
        (["ste", "FILE", "wandb_no"], "'wandb_on'"),
        (["ste", "FILE", "--prnt"], "--prnt"),
        (["ste"], "file"),
    ],
)
def test_a_bad_command_line_is_refused(tmp_path, capsys, arguments, words):
    path = tmp_path / "old.json"
    path.write_text(json.dumps(old_file("ste")))
    assert legacy.main([str(path) if each == "FILE" else each for each in arguments]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.startswith("error: ")


def test_an_override_that_does_not_exist_is_refused_by_the_front_door(tmp_path, capsys):
    path = tmp_path / "old.json"
    path.write_text("\ufeff" + json.dumps(old_file("ste")))  # with a byte-order mark
    assert legacy.main(["ste", str(path), f"out={tmp_path}/runs", "sede=1"]) == 2
    assert "'seed'" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_the_printed_line_is_what_is_composed_and_passes_overrides_on(tmp_path, capsys):
    path = tmp_path / "old.json"
    content = old_file("ste", "SimpleBinaryConnect")
    path.write_text(json.dumps(content))
    assert legacy.main(["ste", str(path), "--print", "wandb_on", "seed=4", "--", "epochs=2"]) == 0
    printed = capsys.readouterr()
    words = shlex.split(printed.out)
    assert words[:2] == ["python", "run.py"]
    config = compose(*words[2:])
    assert (config.seed, config.epochs, config.logger.name) == (4, 2, "wandb")
    assert words[2:-2] == legacy.translate("ste", content, wandb=True).overrides
    assert all(line.startswith("note: ") for line in printed.err.splitlines())


def on_the_page(command, folder, **environment):
    (folder / "mnist.json").write_text(EXAMPLE)
    words = shlex.split(command)
    assert words[0] == "bnnrepro"
    return subprocess.run(
        [sys.executable, "-m", *words],
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout


@pytest.mark.parametrize("command", first_fast(each for each in COMMANDS if "--print" in each))
def test_commands_on_the_page_print_a_line(tmp_path, command):
    line = on_the_page(command, tmp_path)
    assert line.startswith("python run.py dataset=mnist method=")
    assert [each.name for each in tmp_path.iterdir()] == ["mnist.json"]
    if command == COMMANDS[0]:
        assert f"```text\n{line}```" in PAGE


@pytest.mark.slow
@pytest.mark.realdata
@pytest.mark.parametrize("command", [each for each in COMMANDS if "--print" not in each])
def test_commands_on_the_page_run(tmp_path, real_data, command):
    assert "preset=smoke" in command
    small = f"{command} device=cpu threads=1 model.hidden=[16]"
    printed = on_the_page(small, tmp_path, BNNREPRO_DATA=str(real_data))
    last = printed.splitlines()[-1]
    assert last.startswith("result: ")
    result = read_result(tmp_path / last.removeprefix("result: "))
    assert (result["preset"], result["method"], result["n_test"]) == ("smoke", "bayesbinn", 100)


def test_importing_the_module_imports_no_torch():
    code = "import sys, bnnrepro.cli.legacy; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
