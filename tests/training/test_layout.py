"""The layout of weights in memory is the caller's, and that of our own batches is torch's own."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from bnnrepro import Trainer
from bnnrepro.data import image_folder
from bnnrepro.data.images import normalise
from bnnrepro.training.callbacks import Callback
from bnnrepro.training.methods import method_names

SETTINGS = {"bayesbinn": {"lr": 1e-3}, "bop": {}}


def network() -> nn.Module:
    """A stride-2 1x1 convolution of four channels, whose channels-last kernel ended the process."""
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1, bias=False),
        nn.ReLU(),
        nn.Conv2d(4, 8, 1, stride=2, bias=False),
        nn.Flatten(),
        nn.Linear(8 * 16, 3, bias=False),
    )


def samples(count: int = 24) -> tuple[Tensor, Tensor]:
    return torch.randn(count, 3, 8, 8), torch.arange(count) % 3


def layouts(model: nn.Module) -> list[tuple[int, ...]]:
    return [parameter.stride() for parameter in model.parameters()]


class Watch(Callback):
    """Keeps the weights' layouts at every call, and ends the second epoch with an error."""

    def __init__(self) -> None:
        self.seen: list[list[tuple[int, ...]]] = []

    def on_fit_start(self, trainer: Trainer) -> None:
        self.seen.append(layouts(trainer.model))

    def on_batch_end(self, trainer: Trainer) -> None:
        self.seen.append(layouts(trainer.model))

    def on_epoch_end(self, trainer: Trainer, row: dict[str, float]) -> None:
        self.seen.append(layouts(trainer.model))
        if trainer.epoch == 2:
            raise KeyboardInterrupt


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("method", sorted(method_names()))
def test_the_model_keeps_its_caller_s_layout(method: str, memory_format: torch.memory_format):
    model = network()
    model[2].stride = (
        1,
        1,
    )  # with 2 torch's own kernel for the caller's layout may end the process
    model[4] = nn.Linear(8 * 64, 3, bias=False)
    model[0].to(memory_format=memory_format)
    given, watch = layouts(model), Watch()
    trainer = Trainer(model, device="cpu").compile(method, **SETTINGS.get(method, {}))
    assert layouts(model) == given
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(samples(), epochs=3, batch_size=8, callbacks=[watch])
    assert len(watch.seen) == 9
    assert all(seen == given for seen in watch.seen)
    trainer.evaluate(samples())
    assert layouts(model) == given


def test_a_state_s_weights_are_contiguous(tmp_path) -> None:
    """So they go into one vector, and into files that hold no strides."""
    trainer = Trainer(network(), device="cpu").compile("ste")
    trainer.fit(samples())
    nn.utils.parameters_to_vector(trainer.model.parameters())
    trainer.save(tmp_path / "state.pt")
    for state in (trainer.state_dict(), torch.load(tmp_path / "state.pt")):
        assert all(value.is_contiguous() for value in state["model"].values())


def reached(model: nn.Module) -> list[bool]:
    """Return a list that fills with whether each convolution's input is contiguous."""
    actual: list[bool] = []
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_pre_hook(
                lambda _, inputs: actual.append(inputs[0].is_contiguous())
            )
    return actual


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    """An image folder in colour: decoders give a pixel's channels side by side."""
    root, stream = tmp_path_factory.mktemp("colours"), np.random.default_rng(0)
    for place in range(24):
        folder = root / ("train" if place < 16 else "test") / "abc"[place % 3]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = stream.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{place}.png")
    return image_folder.load(root=root, validation_split=0.25)


def test_no_batch_of_ours_is_channels_last(colours) -> None:
    sources = colours.sources(seed=0, device="cpu", batch_size=4)
    model = network()
    actual = reached(model)
    trainer = Trainer(model, device="cpu").compile("ste")
    trainer.fit(sources.train, validation_data=sources.validation, test_data=sources.test)
    assert len(actual) == 2 * (3 + 1 + 1)
    assert all(actual)


def test_normalised_images_are_contiguous() -> None:
    images = torch.randint(0, 256, (2, 3, 4, 4), dtype=torch.uint8)
    unit = torch.ones(3)
    given = images.contiguous(memory_format=torch.channels_last)
    assert normalise(given, unit, unit).is_contiguous()
    assert torch.equal(normalise(given, unit, unit), normalise(images, unit, unit))
