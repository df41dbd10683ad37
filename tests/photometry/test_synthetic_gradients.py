"""Gradients of the flux in bands in the spectrum and in the shift."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from photometry.spectroscopy import (
    SDSS_GRID,
    observed,
    off_the_knots,
    shifts,
    spectra,
)
from reference import C_ANGSTROM, filter_integral, trapezoid_weights

from photoz_losses import RedshiftBins
from photoz_losses.photometry import FilterSet, SyntheticPhotometry

DENOMINATORS = ["covered", "full"]
UNIT = C_ANGSTROM / 5000.0**2  # brings the flux in bands to about 1, where gradcheck looks


def coefficients(wavelength, x, y, nu, denominator):
    """What each pixel's flux counts, nu^2 w lambda R / denominator; zero where nothing is."""
    weights = trapezoid_weights(wavelength)
    response = np.interp(nu * wavelength, x, y, left=0.0, right=0.0)
    covered = np.sum(weights * C_ANGSTROM / wavelength * response)
    whole = filter_integral(x, y)
    below = covered if denominator == "covered" else whole
    counts = nu**2 * weights * wavelength * response / below if covered > 0 else 0 * wavelength
    return torch.from_numpy(counts), covered / whole


def assert_gradient_is_the_coefficients(photometry, wavelength, flux, nu, filters, denominator):
    jacobian = torch.autograd.functional.jacobian(lambda f: photometry(f, nu)[0], flux)
    for c, shift in enumerate(nu.tolist()):
        for b, curve in enumerate(zip(filters.wavelengths, filters.responses, strict=True)):
            x, y = (values.numpy() for values in curve)
            expected, coverage = coefficients(wavelength, x, y, shift, denominator)
            if coverage > 1e-3:
                error = (jacobian[c, b] - expected).abs().max()
                assert error <= 1e-10 * expected.max()
            elif coverage == 0:
                assert (jacobian[c, b] == 0).all()


@given(denominator=st.sampled_from(DENOMINATORS), case=observed())
def test_gradient_in_flux_is_what_each_pixel_counts(denominator, case):
    wavelength, filters, flux, nu = case
    assume(off_the_knots(wavelength, filters, nu, 1e-6))
    photometry = SyntheticPhotometry(filters, wavelength, denominator=denominator)
    assert_gradient_is_the_coefficients(photometry, wavelength, flux, nu, filters, denominator)


@pytest.mark.parametrize("denominator", DENOMINATORS)
def test_gradient_in_flux_of_sdss_bands_is_what_each_pixel_counts(denominator):
    filters = FilterSet.from_speclite("sdss2010-*")
    photometry = SyntheticPhotometry(filters, SDSS_GRID, denominator=denominator)
    flux = torch.from_numpy(np.random.default_rng(0).normal(size=len(SDSS_GRID)))
    nu = torch.tensor([0.77, 1.0, 1.31], dtype=torch.float64)
    assert_gradient_is_the_coefficients(photometry, SDSS_GRID, flux, nu, filters, denominator)


@settings(max_examples=20)  # each is some hundred evaluations
@given(
    denominator=st.sampled_from(DENOMINATORS),
    case=observed(most_pixels=8),
    masked=st.booleans(),
)
def test_gradcheck_in_flux_and_shift(denominator, case, masked):
    wavelength, filters, flux, nu = case
    # gradcheck moves nu by 1e-6, and so a pixel by less than 0.02 A
    assume(off_the_knots(wavelength, filters, nu, 0.02))
    valid = torch.arange(len(flux)) % 4 > 0 if masked else None
    photometry = SyntheticPhotometry(filters, wavelength, denominator=denominator)
    # a sliver of a filter turns with the shift faster than gradcheck's step can follow
    coverage = photometry(flux, nu, valid)[1]
    assume(((coverage == 0) | (coverage > 0.02)).all())
    assume((coverage < 1).all())  # coverage is held at 1 from there on
    assert torch.autograd.gradcheck(
        lambda flux, nu: photometry(UNIT * flux, nu, valid),
        (flux.requires_grad_(), nu.requires_grad_()),
        rtol=1e-4,
    )


@pytest.mark.parametrize("denominator", DENOMINATORS)
def test_every_gradient_is_finite_where_bands_are_partly_or_wholly_uncovered(denominator):
    filters = FilterSet.from_speclite("sdss2010-*")
    photometry = SyntheticPhotometry(filters, SDSS_GRID, denominator=denominator)
    flux = torch.from_numpy(np.random.default_rng(0).normal(size=(3, len(SDSS_GRID))))
    centers = RedshiftBins.uniform(0.0, 0.4, 180).centers
    nu = (1 + centers) / (1 + torch.tensor([[0.02], [0.15], [0.38]], dtype=torch.float64))
    valid = torch.ones(flux.shape, dtype=torch.bool)
    valid[1, 1000:2500] = False
    valid[2] = False
    flux, nu = flux.requires_grad_(), nu.requires_grad_()
    bands, coverage = photometry(flux, nu, valid)
    assert (coverage == 0).any()
    assert ((coverage > 0) & (coverage < 1e-3)).any()
    assert (coverage > 0.99).any()
    (UNIT * bands.sum() + coverage.sum()).backward()
    assert flux.grad.isfinite().all()
    assert nu.grad.isfinite().all()
    assert (flux.grad[~valid] == 0).all()
    assert (nu.grad[2] == 0).all()


@given(spectra(40), shifts(3))
def test_gradients_are_finite_on_any_shift_on_knots_and_jumps_too(flux, nu):
    wavelength = np.linspace(3000.0, 9000.0, 40)
    filters = FilterSet(["jump", "spike"], [[5000, 6000], [5000, 5500, 6000]], [[1, 1], [0, 1, 0]])
    nu = torch.cat([nu, torch.ones(1, dtype=torch.float64)]).requires_grad_()
    flux.requires_grad_()
    bands, coverage = SyntheticPhotometry(filters, wavelength)(flux, nu)
    (UNIT * bands.sum() + coverage.sum()).backward()
    assert flux.grad.isfinite().all()
    assert nu.grad.isfinite().all()


def test_low_precision_flux_gets_its_gradient_in_its_own_precision():
    filters = FilterSet.from_speclite("sdss2010-r")
    flux = torch.ones(len(SDSS_GRID), dtype=torch.bfloat16, requires_grad=True)
    bands, _ = SyntheticPhotometry(filters, SDSS_GRID)(flux, torch.ones(1))
    (UNIT * bands).sum().backward()
    assert flux.grad.dtype == torch.bfloat16
    assert flux.grad.isfinite().all()
    assert flux.grad.sum() > 0
