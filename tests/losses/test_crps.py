"""The CRPS against quadrature, closed forms, Monte Carlo and its laws."""

import pytest
import torch
from hypothesis import given
from reference import crps as loop
from reference import softmax
from strategies import trained

from photoz_losses import RedshiftBins, crps_loss


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
