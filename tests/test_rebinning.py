"""Masses on other bins: the CDF at the new edges, nothing lost, and back again."""

import numpy as np
import pytest
import reference
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from strategies import graded, masses, redshift_bins

from photoz_losses import RedshiftBins, rebin
from photoz_losses.metrics import cde_loss, crps, pit


@st.composite
def other_bins(draw, bins, refine=False):
    """Any edges between, and including, the outer ones of `bins`; or more edges besides its own."""
    place = draw(hnp.arrays(float, st.integers(1, 8), elements=st.floats(0.01, 0.99)))
    low, high = bins.edges[0], bins.edges[-1]
    inner = (low + torch.from_numpy(place) * (high - low)).round(decimals=6)
    inner = inner[(inner > low) & (inner < high)]
    known = bins.edges if refine else torch.stack([low, (low + high) / 2, high])
    return RedshiftBins(torch.cat([known, inner]).unique())


@given(st.data())
def test_new_masses_are_differences_of_the_cdf(data):
    bins = data.draw(redshift_bins())
    probs, new = data.draw(masses(len(bins))), data.draw(other_bins(bins))
    cdf = [
        [reference.cdf(bins.edges.tolist(), row, z) for z in new.edges.tolist()]
        for row in probs.tolist()
    ]
    np.testing.assert_allclose(rebin(probs, bins, new), np.diff(cdf), rtol=1e-9, atol=1e-12)


@given(st.data())
def test_mass_is_kept_and_never_negative(data):
    bins = data.draw(redshift_bins())
    probs, new = data.draw(masses(len(bins))), data.draw(other_bins(bins))
    moved = rebin(probs, bins, new)
    assert (moved >= 0).all()
    torch.testing.assert_close(moved.sum(-1), torch.ones(len(probs)).double())


@given(graded(), st.data())
def test_finer_bins_hold_the_same_density_and_lead_back(case, data):
    bins, probs, z_spec = case
    finer = data.draw(other_bins(bins, refine=True))
    fine = rebin(probs, bins, finer)
    torch.testing.assert_close(rebin(fine, finer, bins), probs, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(finer.mean(fine), bins.mean(probs))
    torch.testing.assert_close(pit(fine, z_spec, finer), pit(probs, z_spec, bins))
    for score in (crps, cde_loss):
        torch.testing.assert_close(score(fine, z_spec, finer), score(probs, z_spec, bins))


@given(redshift_bins(), st.data())
def test_the_same_bins_change_nothing(bins, data):
    probs = data.draw(masses(len(bins)))
    torch.testing.assert_close(rebin(probs, bins, bins), probs, rtol=1e-14, atol=0)


@given(redshift_bins(), st.data())
def test_wider_bins_hold_nothing_where_nothing_was(bins, data):
    probs = data.draw(masses(len(bins)))
    wider = RedshiftBins(torch.cat([bins.edges[:1] - 0.9, bins.edges, bins.edges[-1:] + 1]))
    moved = rebin(probs, bins, wider)
    assert (moved[:, [0, -1]] == 0).all()
    torch.testing.assert_close(moved[:, 1:-1], probs)


def test_mass_outside_raises_or_is_conditioned_away():
    bins, new = RedshiftBins([0.0, 1.0, 2.0, 3.0]), RedshiftBins([0.0, 0.5, 1.5])
    probs = torch.tensor([[0.25, 0.25, 0.5], [0.5, 0.5, 0.0], [0.0, 0.0, 1.0]])
    with pytest.raises(ValueError, match=r"new_bins, \[0, 1.5\].* 1 of a density.*renormalize"):
        rebin(probs, bins, new)
    moved = rebin(probs, bins, new, outside="renormalize")
    expected = torch.tensor([[1 / 3, 2 / 3], [1 / 3, 2 / 3], [torch.nan, torch.nan]])
    torch.testing.assert_close(moved, expected, equal_nan=True)


def test_where_values_are_not_read_lost_mass_is_nan():
    bins, new = RedshiftBins([0.0, 1.0, 2.0]), RedshiftBins([0.0, 0.5, 1.0])
    compiled = torch.compile(lambda x: rebin(x, bins, new), fullgraph=True, backend="eager")
    moved = compiled(torch.tensor([[0.5, 0.5], [1.0, 0.0]]))
    assert moved.isnan().all(-1).tolist() == [True, False]


@pytest.mark.parametrize(
    ("given_type", "result"),
    [(torch.float64, torch.float64), (torch.float32, torch.float32), (torch.half, torch.float32)],
    ids=str,
)
def test_result_type_and_leading_dimensions(given_type, result):
    bins = RedshiftBins.uniform(0.0, 1.0, 4)
    probs = torch.full((2, 3, 4), 0.25, dtype=given_type)
    moved = rebin(probs, bins, RedshiftBins.uniform(0.0, 1.0, 3))
    assert moved.dtype == result
    torch.testing.assert_close(moved, torch.full((2, 3, 3), 1 / 3, dtype=result))
