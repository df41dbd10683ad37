"""What the CDE loss and the CRPS, scores of one density at one redshift, have in common."""

from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import trained
from torch import Tensor, nn

from photoz_losses import CDELoss, CRPSLoss, RedshiftBins, cde_loss, crps_loss


class Score(NamedTuple):
    function: Callable[..., Tensor]
    module: Callable[..., nn.Module]


SCORES = {"cde": Score(cde_loss, CDELoss), "crps": Score(crps_loss, CRPSLoss)}
both = pytest.mark.parametrize("score", SCORES.values(), ids=SCORES)


@both
@given(trained(), st.sampled_from(["mean", "sum", "none"]))
def test_function_and_module_reduce_the_same_values(score, case, reduction):
    bins, logits, z = case
    each = score.function(logits, z, bins, reduction="none")
    expected = {"mean": each.mean(), "sum": each.sum(), "none": each}[reduction]
    value = score.function(logits, z, bins, reduction=reduction)
    torch.testing.assert_close(value, expected, rtol=1e-14, atol=1e-14)
    assert torch.equal(score.module(bins, reduction=reduction)(logits, z), value)
    assert torch.equal(
        score.module(bins)(logits, z), score.function(logits, z, bins, reduction="mean")
    )


@both
def test_an_unknown_reduction_is_refused_when_the_module_is_made(score):
    with pytest.raises(ValueError, match="reduction must be one of 'mean', 'sum', 'none'"):
        score.module(RedshiftBins.uniform(0.0, 0.4, 4), reduction="average")


@both
@pytest.mark.parametrize(
    ("given_type", "result"),
    [
        (torch.float64, torch.float64),
        (torch.float32, torch.float32),
        (torch.bfloat16, torch.float32),
    ],
    ids=str,
)
def test_result_type(score, given_type, result):
    bins = RedshiftBins([0.0, 0.1, 0.15, 0.4])
    logits = torch.tensor([[0.5, 1.5, -1.0]], dtype=given_type)
    z = torch.tensor([0.31], dtype=torch.float64)  # far from the mean: no digits cancel
    value = score.function(logits, z, bins)
    assert value.dtype == result
    exact = score.function(logits.double(), z, bins).to(result)
    torch.testing.assert_close(value, exact, rtol=1e-6, atol=0)


@both
def test_a_redshift_that_escapes_the_check_poisons_value_and_gradient(score):
    bins = RedshiftBins([0.0, 0.1, 0.15, 0.4], validate=False)
    logits = torch.zeros(4, 3, requires_grad=True)
    value = score.function(
        logits, torch.tensor([0.1, 0.5, torch.nan, -0.1]), bins, reduction="none"
    )
    assert value.isnan().tolist() == [False, True, True, True]
    value.sum().backward()
    assert logits.grad.isnan().all(-1).tolist() == [False, True, True, True]


@both
@given(trained())
def test_leading_dimensions_are_free(score, case):
    bins, logits, z = case
    each = score.function(logits, z, bins, reduction="none")
    for single, *row in zip(each, logits, z, strict=True):
        value = score.function(*row, bins, reduction="none")
        torch.testing.assert_close(value, single, rtol=1e-13, atol=1e-13)
    stacked = torch.stack([logits, logits.flip(0)]), torch.stack([z, z.flip(0)])
    value = score.function(*stacked, bins, reduction="none")
    torch.testing.assert_close(value, torch.stack([each, each.flip(0)]), rtol=1e-13, atol=1e-13)
