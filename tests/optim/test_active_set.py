"""The places of the active weights are always those that a plain search finds."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bnnrepro.optim.kernels.active_set import FEW, SPARSITY, ActiveSet, mark
from bnnrepro.optim.kernels.chunks import flat

REACH = 9.0
SIZES = [0, 1, 7, 8, 63, 64, 65, 4096, 4097, 64 * 64 * 9 + 3, (1 << 19) + 5]


def far_and_near(size: int, share: float, seed: int = 0) -> torch.Tensor:
    source = torch.Generator().manual_seed(seed)
    scale = torch.where(torch.rand(size, generator=source) < share, 1.0, 1e6)
    return scale * (1 + torch.rand(size, generator=source)) * (-1) ** torch.arange(size)


def plain(values: torch.Tensor) -> torch.Tensor | None:
    places = (flat(values).abs() <= REACH).nonzero().squeeze(1)
    return places if len(places) <= values.numel() // SPARSITY else None


def assert_right(active: ActiveSet) -> torch.Tensor | None:
    places = active.places()
    expected = None if active.crowded else plain(active.values)  # few values: the sample may err
    assert (places is None) == (expected is None)
    if places is not None and expected is not None:
        assert places.dtype == torch.int64
        assert torch.equal(places, expected)
    return places


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("share", [0.0, 0.002, 0.03, 0.14, 0.3, 1.0])
def test_places_are_found_again_after_each_change(size, share):
    values = far_and_near(size, share)
    active = ActiveSet(values, REACH)
    assert_right(active)
    for seed, next_share in enumerate([share, 0.002, share / 2, 1.0, share]):
        fresh = far_and_near(size, next_share, seed)
        some = torch.rand(size) < (1.0 if seed == 3 else 0.1)
        values.copy_(torch.where(some, fresh, values))
        assert_right(active)


@given(
    size=st.sampled_from([64, 200, 5000]),
    rounds=st.lists(st.tuples(st.integers(0, 99), st.booleans(), st.booleans()), max_size=8),
    share=st.sampled_from([0.0, 0.01, 0.2]),
)
def test_marks_may_be_written_by_the_update_or_not_and_often(size, rounds, share):
    values = far_and_near(size, share)
    active = ActiveSet(values, REACH)
    for seed, marking, asked in rounds:
        source = torch.Generator().manual_seed(seed)
        values[torch.randint(size, (1 + seed % 9,), generator=source)] = 2.0 if seed % 2 else 1e6
        if marking:
            mark(active.marks, values, REACH)
            active.marked()
        if asked:
            assert_right(active)
            assert active.places() is active.places()
    assert_right(active)


def test_a_dense_layout_of_any_order():
    values = far_and_near(4 * 6 * 5 * 5, 0.05).view(4, 6, 5, 5)
    last = values.contiguous(memory_format=torch.channels_last)
    active = ActiveSet(last, REACH)
    places = assert_right(active)
    assert places is not None
    assert len(places) > 0
    last[2, 3] = 1.0
    assert_right(active)
    assert active.marks.stride() == last.stride()


def test_nan_is_not_active():
    values = torch.tensor([float("nan"), 1.0, float("inf"), -float("inf")] + [1e6] * 8)
    active = ActiveSet(values, REACH)
    assert active.places().tolist() == [1]


@pytest.mark.parametrize("count", [0, 1, 640 // FEW, 640 // FEW + 1, 640 // SPARSITY])
def test_few_and_many_are_found_alike(count):
    values = torch.full((640,), 1e6)
    places = torch.randperm(640, generator=torch.Generator().manual_seed(count))[:count]
    values[places] = REACH
    assert torch.equal(ActiveSet(values, REACH).places(), places.sort().values)
