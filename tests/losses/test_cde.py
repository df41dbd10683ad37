"""The CDE loss against the paper's sum, closed forms and its laws."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from reference import cde_loss as loop
from reference import softmax
from strategies import masses, trained

from photoz_losses import CDELoss, RedshiftBins, cde_loss


@given(trained())
def test_equals_the_papers_integral(case):
    bins, logits, z = case
    rows = zip(logits.tolist(), z.tolist(), strict=True)
    expected = [loop(bins.edges.tolist(), softmax(row), value) for row, value in rows]
    got = cde_loss(logits, z, bins, reduction="none")
    torch.testing.assert_close(got, torch.tensor(expected, dtype=torch.float64))


def test_closed_forms_of_a_spike_and_of_a_flat_density():
    bins = RedshiftBins.uniform(0.0, 0.4, 4)
    spike = torch.tensor([[99.0, 0.0, 0.0, 0.0]])
    torch.testing.assert_close(cde_loss(spike, torch.tensor([0.05]), bins), torch.tensor(-10.0))
    torch.testing.assert_close(cde_loss(spike, torch.tensor([0.35]), bins), torch.tensor(10.0))
    flat = torch.zeros(1, 4)
    torch.testing.assert_close(cde_loss(flat, torch.tensor([0.35]), bins), torch.tensor(-2.5))


@given(st.data())
def test_lowest_in_expectation_at_the_true_density(data):
    bins = RedshiftBins(np.cumsum([0.0, 0.1, 0.3, 0.05, 0.2]))
    truth = data.draw(masses(4, batch=1)).squeeze(0)
    other = data.draw(masses(4, batch=1)).squeeze(0)

    def expected(probs):
        logits = (probs + 1e-300).log().expand(4, 4)
        return (truth * cde_loss(logits, bins.centers, bins, reduction="none")).sum()

    gap = ((truth - other).square() / bins.widths).sum()
    torch.testing.assert_close(expected(other) - expected(truth), gap, rtol=1e-9, atol=1e-9)


@given(trained(), st.floats(0.1, 10))
def test_scales_as_one_over_the_unit_of_redshift(case, scale):
    bins, logits, z = case
    wider = RedshiftBins(scale * bins.edges, validate=None)
    at = bins.centers[bins.index(z)]
    torch.testing.assert_close(
        scale * cde_loss(logits, scale * at, wider), cde_loss(logits, at, bins)
    )


@given(trained(), st.sampled_from(["mean", "sum", "none"]))
def test_function_and_module_reduce_the_same_values(case, reduction):
    bins, logits, z = case
    each = cde_loss(logits, z, bins, reduction="none")
    expected = {"mean": each.mean(), "sum": each.sum(), "none": each}[reduction]
    value = cde_loss(logits, z, bins, reduction=reduction)
    torch.testing.assert_close(value, expected, rtol=1e-14, atol=1e-14)
    assert torch.equal(CDELoss(bins, reduction=reduction)(logits, z), value)
    assert torch.equal(CDELoss(bins)(logits, z), cde_loss(logits, z, bins, reduction="mean"))


def test_an_unknown_reduction_is_refused_when_the_module_is_made():
    with pytest.raises(ValueError, match="reduction must be one of 'mean', 'sum', 'none'"):
        CDELoss(RedshiftBins.uniform(0.0, 0.4, 4), reduction="average")


@pytest.mark.parametrize(
    ("given_type", "result"),
    [
        (torch.float64, torch.float64),
        (torch.float32, torch.float32),
        (torch.bfloat16, torch.float32),
    ],
    ids=str,
)
def test_result_type(given_type, result):
    bins = RedshiftBins([0.0, 0.1, 0.15, 0.4])
    logits = torch.tensor([[0.5, 1.5, -1.0]], dtype=given_type)
    z = torch.tensor([0.12], dtype=torch.float64)
    value = cde_loss(logits, z, bins)
    assert value.dtype == result
    exact = cde_loss(logits.double(), z, bins).to(result)
    torch.testing.assert_close(value, exact, rtol=1e-6, atol=0)


def test_a_redshift_that_escapes_the_check_poisons_value_and_gradient():
    bins = RedshiftBins([0.0, 0.1, 0.15, 0.4], validate=False)
    logits = torch.zeros(4, 3, requires_grad=True)
    value = cde_loss(logits, torch.tensor([0.1, 0.5, torch.nan, -0.1]), bins, reduction="none")
    assert value.isnan().tolist() == [False, True, True, True]
    value.sum().backward()
    assert logits.grad.isnan().all(-1).tolist() == [False, True, True, True]


@given(trained())
def test_leading_dimensions_are_free(case):
    bins, logits, z = case
    each = cde_loss(logits, z, bins, reduction="none")
    for single, *row in zip(each, logits, z, strict=True):
        value = cde_loss(*row, bins, reduction="none")
        torch.testing.assert_close(value, single, rtol=1e-13, atol=1e-13)
    stacked = torch.stack([logits, logits.flip(0)]), torch.stack([z, z.flip(0)])
    value = cde_loss(*stacked, bins, reduction="none")
    torch.testing.assert_close(value, torch.stack([each, each.flip(0)]), rtol=1e-13, atol=1e-13)
