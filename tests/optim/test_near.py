"""The places of the weights that noise can turn: always those that a plain search finds."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bnnrepro.optim.kernels import active_set as module
from bnnrepro.optim.kernels.active_set import SHARE, Near, mark, merged, true_places
from bnnrepro.optim.kernels.chunks import flat

REACH = 9.0
SIZES = [0, 1, 7, 8, 63, 64, 65, 4096, 4097, 64 * 64 * 9 + 3, (1 << 19) + 5]


def far_and_near(size: int, share: float, seed: int = 0) -> torch.Tensor:
    source = torch.Generator().manual_seed(seed)
    scale = torch.where(torch.rand(size, generator=source) < share, 1.0, 1e6)
    return scale * (1 + torch.rand(size, generator=source)) * (-1) ** torch.arange(size)


def plain(values: torch.Tensor) -> torch.Tensor | None:
    found = (flat(values).abs() <= REACH).nonzero().squeeze(1)
    return found if len(found) <= values.numel() // SHARE else None


def assert_right(near: Near) -> torch.Tensor | None:
    found, wanted = near.places(), plain(near.values)
    assert (found is None) == (wanted is None)
    if found is not None and wanted is not None:
        assert found.dtype == torch.int64
        assert torch.equal(found, wanted)
    return found


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("share", [0.0, 0.002, 0.03, 0.24, 0.3, 1.0])
def test_places_are_found_and_followed(size, share):
    values = far_and_near(size, share)
    near = Near(values, REACH)
    assert_right(near)
    for seed, other in enumerate([share, 0.002, share / 2, 1.0, share]):
        fresh = far_and_near(size, other, seed)
        some = torch.rand(size) < (1.0 if seed == 3 else 0.1)
        values.copy_(torch.where(some, fresh, values))
        assert_right(near)


@given(
    size=st.sampled_from([64, 200, 5000]),
    rounds=st.lists(st.tuples(st.integers(0, 99), st.booleans(), st.booleans()), max_size=8),
    share=st.sampled_from([0.0, 0.01, 0.2]),
)
def test_marks_may_be_written_by_the_update_or_not_and_often(size, rounds, share):
    values = far_and_near(size, share)
    near = Near(values, REACH)
    for seed, marking, asked in rounds:
        source = torch.Generator().manual_seed(seed)
        values[torch.randint(size, (1 + seed % 9,), generator=source)] = 2.0 if seed % 2 else 1e6
        if marking:
            mark(near.marks, values, REACH)
            near.marked()
        if asked:
            assert_right(near)
            assert near.places() is near.places()
    assert_right(near)


def test_a_dense_layout_of_any_order():
    values = far_and_near(4 * 6 * 5 * 5, 0.05).view(4, 6, 5, 5)
    last = values.contiguous(memory_format=torch.channels_last)
    near = Near(last, REACH)
    found = assert_right(near)
    assert found is not None
    assert len(found) > 0
    last[2, 3] = 1.0
    assert_right(near)
    assert near.marks.stride() == last.stride()


def test_no_number_is_not_near():
    values = torch.tensor([float("nan"), 1.0, float("inf"), -float("inf")] + [1e6] * 8)
    near = Near(values, REACH)
    assert near.places().tolist() == [1]


@given(st.sets(st.integers(0, 300)), st.sets(st.integers(0, 300)))
def test_merged(one, other):
    one -= other
    lists = (torch.tensor(sorted(each), dtype=torch.int64) for each in (one, other))
    assert merged(*lists).tolist() == sorted(one | other)


@pytest.mark.parametrize("size", [8, 4096, 4096 * 8, 4096 * 64])
def test_true_places(size):
    marks = torch.rand(size) < 0.01
    assert torch.equal(true_places(marks), marks.nonzero().squeeze(1))


def test_what_did_not_change_is_not_searched(monkeypatch):
    values = far_and_near(100_000, 0.02)
    near = Near(values, REACH)
    near.places()
    searched = []
    within = module._within
    monkeypatch.setattr(
        module, "_within", lambda marks, words: searched.append(len(words)) or within(marks, words)
    )
    values[[5, 70_000]] = 3.0
    assert_right(near)
    assert max(searched) <= 2
