"""Odd input that is legal, and what it gives: the documented results, not errors."""

import pytest
import torch
from errors.table import BINS, FLUX, IMAGES, LOGITS, NAN, PHOTOMETRY, PROBS, Z

from photoz_losses import (
    FluxLoss,
    RedshiftBins,
    cde_loss,
    cross_entropy,
    crps_loss,
    flux_loss,
    flux_residual,
    invariance_loss,
    metrics,
    rotation_derivative_loss,
)
from photoz_losses.io import load_predictions, save_predictions
from photoz_losses.transforms import dihedral, resample_background, source_mask


@pytest.mark.parametrize("loss", [cross_entropy, cde_loss, crps_loss])
def test_an_empty_batch_has_no_mean_and_a_sum_of_zero(loss):
    assert loss(LOGITS[:0], Z[:0], BINS).isnan()
    assert loss(LOGITS[:0], Z[:0], BINS, reduction="sum") == 0
    assert loss(LOGITS[:0], Z[:0], BINS, reduction="none").shape == (0,)


LOSSES = {
    "cross_entropy": lambda x: cross_entropy(x, Z, BINS, reduction="none"),
    "cde_loss": lambda x: cde_loss(x, Z, BINS, reduction="none"),
    "crps_loss": lambda x: crps_loss(x, Z, BINS, reduction="none"),
    "flux_loss": lambda x: flux_loss(x, torch.ones(2, 4, 3), reduction="none"),
    "flux_loss of residuals": lambda x: flux_loss(LOGITS, x[..., None], reduction="none"),
    "invariance_loss": lambda x: invariance_loss(LOGITS, x, reduction="none"),
    "rotation_derivative_loss": lambda x: rotation_derivative_loss(LOGITS, x, reduction="none"),
}


@pytest.mark.parametrize("bad", [NAN, float("inf")])
@pytest.mark.parametrize("name", LOSSES)
def test_what_overflowed_in_the_network_stays_visible_in_its_galaxy(name, bad):
    """No error: loss scaling of half precision has to see it, and skips the step."""
    logits = LOGITS.clone()
    logits[0, 1] = bad
    value = LOSSES[name](logits)
    assert value.isfinite().tolist() == [False, True]


@pytest.mark.parametrize("size", [1e4, 1e12, 5e18])
def test_logits_far_apart_have_a_finite_distance_in_every_space(size):
    """Up to where the square leaves float32, where an error says so."""
    view, other = torch.tensor([[-1.0, -size]]), torch.tensor([[-size, -1.0]])
    assert invariance_loss(view, other, space="logits") == torch.tensor(2 * (size - 1) ** 2)
    assert rotation_derivative_loss(view, other, space="logits") == torch.tensor(size**2 + 1)
    assert invariance_loss(view, other) == 2
    assert invariance_loss(view, other, distance="symmetric_kl") == torch.tensor(2 * (size - 1))


@pytest.mark.parametrize("metric", [metrics.crps, metrics.pit, metrics.coverage])
def test_metrics_take_an_empty_batch(metric):
    value = metric(PROBS[:0], Z[:0], BINS)
    assert value.isnan() if value.ndim == 0 else value.shape == (0,)


@pytest.mark.parametrize("flux", [0 * FLUX, -FLUX], ids=["all zero", "negative"])
def test_a_spectrum_without_flux_has_no_usable_band_and_no_loss(flux):
    residual, band_weight = flux_residual(PHOTOMETRY, flux, Z, BINS)
    assert not residual.any()
    assert not band_weight.any()
    loss = FluxLoss(BINS)
    assert loss(LOGITS, residual, band_weight) == 0
    assert loss.unusable == 2


@pytest.mark.parametrize("options", [{}, {"unbiased": True}, {"correlated": True}])
def test_a_constant_image_has_no_noise_and_stays(options):
    assert torch.equal(resample_background(IMAGES, **options), IMAGES)


def test_an_image_of_one_pixel_stays():
    pixel = torch.ones(2, 5, 1, 1)
    assert torch.equal(resample_background(pixel), pixel)
    assert torch.equal(dihedral(pixel, torch.tensor([3, 6])), pixel)


def test_the_background_of_an_oblong_image_is_redrawn():
    noise = torch.randn(1, 1, 6, 9, generator=torch.Generator().manual_seed(0))
    view = resample_background(noise, generator=torch.Generator().manual_seed(1))
    assert view.shape == noise.shape
    assert not torch.equal(view, noise)


def test_pixels_that_are_nan_stay_nan_and_spoil_no_other():
    noise = torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    noise[..., 3, 4] = NAN
    for view in (resample_background(noise), dihedral(noise, torch.tensor([0]))):
        assert view.isnan().sum() == 1
        assert view[..., 3, 4].isnan()


@pytest.mark.parametrize("suffix", [".npz", ".h5"])
@pytest.mark.parametrize("z_spec", [[NAN, 0.1], [-0.001, 0.9]], ids=["unknown", "outside"])
def test_files_keep_redshifts_of_which_no_score_is_defined(tmp_path, suffix, z_spec):
    """Scores count and refuse them; without looking, and only then, they answer NaN."""
    path, z_spec = tmp_path / f"p{suffix}", torch.tensor(z_spec)
    save_predictions(path, PROBS, BINS, z_spec)
    found = load_predictions(path)
    assert torch.equal(found.z_spec.nan_to_num(5.0), z_spec.nan_to_num(5.0))
    bad = int((~z_spec.isfinite() | (z_spec < 0) | (z_spec > 0.4)).sum())
    with pytest.raises(ValueError, match=f"z_spec must lie .* {bad} of 2 do not"):
        metrics.crps(found.probs, found.z_spec, found.bins)
    silent = RedshiftBins(found.bins.edges, validate=False)
    scores = metrics.crps(found.probs, found.z_spec, silent, reduction="none")
    assert scores.isnan().sum() == bad


def test_a_constant_image_has_no_source():
    mask, sources = source_mask(IMAGES, missing="keep", deblend=False)
    assert not sources.any()
    assert mask.all() or not mask.any()
