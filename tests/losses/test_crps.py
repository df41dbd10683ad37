"""The CRPS against quadrature, closed forms, Monte Carlo and its laws."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from reference import crps as loop
from reference import softmax
from strategies import trained

from photoz_losses import CRPSLoss, RedshiftBins, crps_loss


@given(trained())
def test_equals_gauss_legendre_on_every_smooth_piece(case):
    bins, logits, z = case
    rows = zip(logits.tolist(), z.tolist(), strict=True)
    expected = [loop(bins.edges.tolist(), softmax(row), value) for row, value in rows]
    got = crps_loss(logits, z, bins, reduction="none")
    torch.testing.assert_close(got, torch.tensor(expected, dtype=torch.float64))


@given(trained())
def test_is_never_negative_and_below_the_distance_to_the_farther_end(case):
    bins, logits, z = case
    value = crps_loss(logits, z, bins, reduction="none")
    assert (value >= 0).all()
    assert (value <= torch.maximum(z - bins.edges[0], bins.edges[-1] - z) + 1e-12).all()


def test_goes_to_zero_only_for_a_spike_at_the_truth():
    spike = torch.tensor([[-500.0, 0.0, -500.0]])
    for width in (1e-2, 1e-4, 1e-6):
        bins = RedshiftBins([0.0, 0.5, 0.5 + width, 1.0])
        truth = torch.tensor([0.5 + width / 2], dtype=torch.float64)
        assert crps_loss(spike, truth, bins).item() == pytest.approx(width / 12, rel=1e-3)
        assert crps_loss(spike, torch.tensor([0.9]), bins) > 0.39


def test_equals_the_energy_form_by_sampling():
    """E|Z - z| - E|Z - Z'| / 2, an expectation that shares nothing with the integral."""
    generator = torch.Generator().manual_seed(0)
    bins = RedshiftBins([0.0, 0.1, 0.4, 0.45, 1.0])
    logits = torch.tensor([[0.3, 1.0, -0.5, 0.1]], dtype=torch.float64)
    levels = torch.rand(2, 200_000, generator=generator, dtype=torch.float64)
    first, second = bins.quantile(logits.softmax(-1).unsqueeze(0), levels)
    z = torch.tensor([0.37], dtype=torch.float64)
    energy = (first - z).abs().mean() - (first - second).abs().mean() / 2
    assert crps_loss(logits, z, bins).item() == pytest.approx(energy.item(), abs=1e-3)


@given(trained(), st.sampled_from(["mean", "sum", "none"]))
def test_function_and_module_reduce_the_same_values(case, reduction):
    bins, logits, z = case
    each = crps_loss(logits, z, bins, reduction="none")
    expected = {"mean": each.mean(), "sum": each.sum(), "none": each}[reduction]
    value = crps_loss(logits, z, bins, reduction=reduction)
    torch.testing.assert_close(value, expected, rtol=1e-14, atol=1e-14)
    assert torch.equal(CRPSLoss(bins, reduction=reduction)(logits, z), value)
    assert torch.equal(CRPSLoss(bins)(logits, z), crps_loss(logits, z, bins, reduction="mean"))


def test_an_unknown_reduction_is_refused_when_the_module_is_made():
    with pytest.raises(ValueError, match="reduction must be one of 'mean', 'sum', 'none'"):
        CRPSLoss(RedshiftBins.uniform(0.0, 0.4, 4), reduction="average")


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
    value = crps_loss(logits, z, bins)
    assert value.dtype == result
    exact = crps_loss(logits.double(), z, bins).to(result)
    torch.testing.assert_close(value, exact, rtol=1e-6, atol=0)


def test_a_redshift_that_escapes_the_check_poisons_value_and_gradient():
    bins = RedshiftBins([0.0, 0.1, 0.15, 0.4], validate=False)
    logits = torch.zeros(4, 3, requires_grad=True)
    value = crps_loss(logits, torch.tensor([0.1, 0.5, torch.nan, -0.1]), bins, reduction="none")
    assert value.isnan().tolist() == [False, True, True, True]
    value.sum().backward()
    assert logits.grad.isnan().all(-1).tolist() == [False, True, True, True]


@given(trained())
def test_leading_dimensions_are_free(case):
    bins, logits, z = case
    each = crps_loss(logits, z, bins, reduction="none")
    for single, *row in zip(each, logits, z, strict=True):
        value = crps_loss(*row, bins, reduction="none")
        torch.testing.assert_close(value, single, rtol=1e-13, atol=1e-13)
    stacked = torch.stack([logits, logits.flip(0)]), torch.stack([z, z.flip(0)])
    value = crps_loss(*stacked, bins, reduction="none")
    torch.testing.assert_close(value, torch.stack([each, each.flip(0)]), rtol=1e-13, atol=1e-13)
