import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bnnrepro.data.split import hold_out
from bnnrepro.errors import UserError


@given(n=st.integers(10, 500), percent=st.integers(10, 80), seed=st.integers(0, 2**31))
def test_every_sample_is_on_exactly_one_side_and_sizes_are_fixed(n, percent, seed):
    train, validation = hold_out(n, percent / 100, seed)
    assert torch.cat([train, validation]).sort().values.tolist() == list(range(n))
    assert len(validation) == round(n * (percent / 100))  # in that order, as documented
    assert train.tolist() == sorted(train.tolist())
    assert validation.tolist() == sorted(validation.tolist())


def test_the_seed_alone_decides():
    assert torch.equal(hold_out(100, 0.1, 3)[1], hold_out(100, 0.1, 3)[1])
    assert not torch.equal(hold_out(100, 0.1, 3)[1], hold_out(100, 0.1, 4)[1])


def test_no_fraction_holds_nothing_out():
    train, validation = hold_out(7, 0, 0)
    assert train.tolist() == list(range(7))
    assert validation.dtype == torch.int64
    assert len(validation) == 0


@pytest.mark.parametrize(
    ("n", "fraction"), [(10, 1.0), (10, -0.1), (10, 0.99), (10, 0.01), (10, float("nan"))]
)
def test_a_fraction_that_leaves_a_side_empty_is_refused(n, fraction):
    with pytest.raises(UserError, match="validation_split"):
        hold_out(n, fraction, 0)
