"""The redshift least likely to be an outlier: no other redshift holds more mass in its window."""

import numpy as np
import pytest
import reference
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from strategies import graded, redshift_bins

from photoz_losses import RedshiftBins

FLAT = 1e-6  # as documented
thresholds = st.floats(0.01, 0.5)


def risk(bins, probs, z_phot, threshold):
    return reference.expected_outlier_rate(bins.edges.tolist(), probs.tolist(), z_phot, threshold)


@given(graded(), thresholds, hnp.arrays(float, 30, elements=st.floats(0, 1)))
def test_no_other_redshift_has_a_lower_expected_outlier_rate(case, threshold, place):
    bins, probs, _ = case
    best = bins.best(probs, threshold)
    low, high = bins.edges[0].item(), bins.edges[-1].item()
    others = low + place * (high - low)
    kinks = (bins.edges.numpy()[:, None] + threshold * np.array([-1, 1])).ravel()
    for row, z in zip(probs, best.tolist(), strict=True):
        least = risk(bins, row, z, threshold)
        for other in (*others, *kinks.clip(low, high), bins.median(row).item()):
            assert least <= risk(bins, row, other, threshold) + FLAT + 1e-12


@given(graded(), thresholds)
def test_it_lies_within_the_grid_and_keeps_the_type(case, threshold):
    bins, probs, _ = case
    best = bins.best(probs, threshold)
    assert best.dtype == torch.float64
    assert ((best >= bins.edges[0]) & (best <= bins.edges[-1])).all()
    assert bins.best(probs.float(), threshold).dtype == torch.float32


@given(redshift_bins(min_bins=3), st.data())
def test_a_spike_narrower_than_the_window_is_in_the_middle_of_what_holds_it(bins, data):
    spike = data.draw(st.integers(0, len(bins) - 1))
    threshold = 0.45
    low, high = bins.edges[spike].item(), bins.edges[spike + 1].item()
    first, last = high * (1 - threshold) - threshold, low * (1 + threshold) + threshold
    if first > last:
        return  # wider than the window
    inside = np.clip([first, last], bins.edges[0].item(), bins.edges[-1].item())
    best = bins.best(torch.eye(len(bins)).double()[spike], threshold)
    assert best.item() == pytest.approx(inside.mean(), abs=1e-9)


def test_it_takes_the_heavier_of_two_peaks_where_the_mean_is_in_neither():
    bins = RedshiftBins.log1p(0.0, 3.0, 60)
    probs = torch.zeros(60)
    light, heavy = bins.index(torch.tensor([0.3, 2.5]))
    probs[light], probs[heavy] = 0.45, 0.55
    assert abs(bins.best(probs, 0.1) - 2.5) < 0.15 * 3.5
    assert bins.pdf(probs, bins.mean(probs)) == 0


@given(graded(), thresholds, st.data())
def test_splitting_a_bin_of_constant_density_changes_no_risk(case, threshold, data):
    bins, probs, _ = case
    split = data.draw(st.integers(0, len(bins) - 1))
    finer = RedshiftBins(torch.cat([bins.edges, bins.centers[split : split + 1]]).sort().values)
    share = (finer.widths[split] / bins.widths[split]).reshape(1, 1)
    own = probs[:, split : split + 1]
    fine = torch.cat([probs[:, :split], own * share, own * (1 - share), probs[:, split + 1 :]], -1)
    pairs = zip(bins.best(probs, threshold), finer.best(fine, threshold), strict=True)
    for row, (one, other) in zip(probs, pairs, strict=True):
        one_risk, other_risk = (risk(bins, row, z.item(), threshold) for z in (one, other))
        assert abs(one_risk - other_risk) <= FLAT + 1e-12


def test_masses_that_escape_the_check_give_nan():
    bins = RedshiftBins([0.0, 0.5, 1.0], validate=False)
    best = bins.best(torch.tensor([[0.5, 0.5], [2.0, 2.0], [torch.nan, 0.5]]))
    assert best.isnan().tolist() == [False, True, True]
