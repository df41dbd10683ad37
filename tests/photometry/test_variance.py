"""Errors of measurement: variance of the flux in bands, and bands left out for their noise."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from photometry.spectroscopy import SDSS_GRID
from reference import flux_in_band, flux_variance
from scipy.stats import chi2

from photoz_losses import RedshiftBins, flux_residual
from photoz_losses.photometry import FilterSet, SyntheticPhotometry, relative_variance

SDSS = FilterSet.from_speclite("sdss2010-*")
GRID = np.linspace(4000.0, 8000.0, 201)
FILTERS = FilterSet(
    ["inside", "half", "outside"],
    [[4500, 5300, 6000], [7400, 7900, 8700], [9000, 9500, 9900]],
    [[0, 1, 0]] * 3,
)
PHOTOMETRY = SyntheticPhotometry(FILTERS, GRID)
BINS = RedshiftBins.uniform(0.0, 0.4, 6)
ONE = torch.ones(1, dtype=torch.float64)


def draw(*shape: int, seed: int = 0, low: float = 0.5, high: float = 2.0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).uniform(low, high, shape))


def loop(wavelength, ivar, filters, nu, denominator="covered") -> tuple[torch.Tensor, torch.Tensor]:
    """Variance and coverage of one spectrum, (C, B) each."""
    table = []
    for shift in nu.tolist():
        for x, y in zip(filters.wavelengths, filters.responses, strict=True):
            curve = x.numpy(), y.numpy(), shift
            variance = flux_variance(wavelength, ivar.numpy(), *curve, denominator)
            table.append((variance, flux_in_band(wavelength, ivar.numpy(), *curve)[1]))
    return torch.tensor(table).double().reshape(len(nu), len(filters), 2).unbind(-1)


# The variance ------------------------------------------------------------------------------------


@pytest.mark.parametrize("denominator", ["covered", "full"])
@pytest.mark.parametrize("survey", ["sdss2010-*", "lsst2023-*"])
def test_variance_equals_the_sum_of_squared_coefficients(survey, denominator):
    # measured: 2e-10 for SDSS, 3e-9 for LSST's y
    filters = FilterSet.from_speclite(survey)
    ivar, nu = draw(len(SDSS_GRID)), torch.linspace(0.72, 1.38, 7, dtype=torch.float64)
    photometry = SyntheticPhotometry(filters, SDSS_GRID, denominator=denominator)
    variance = photometry.variance(ivar, nu)
    expected, coverage = loop(SDSS_GRID, ivar, filters, nu, denominator)
    assert variance.dtype == torch.float64
    seen = coverage > 1e-3
    assert seen.any()
    assert ((variance - expected).abs()[seen] <= 1e-8 * expected[seen]).all()
    assert (variance[coverage == 0] == 0).all()


@pytest.mark.parametrize("grid", ["linear", "any"])
def test_variance_on_other_grids_equals_the_sum_of_squared_coefficients(grid):
    wavelength = GRID if grid == "linear" else 12000 - np.geomspace(8000, 4000, 201)
    photometry = SyntheticPhotometry(FILTERS, wavelength)
    assert photometry.squares.grid == grid
    ivar, nu = draw(2, 201), torch.linspace(0.4, 2.5, 15, dtype=torch.float64)
    variance = photometry.variance(ivar, nu)
    for row in range(2):
        expected, coverage = loop(wavelength, ivar[row], FILTERS, nu)
        seen = coverage > 1e-3
        assert ((variance[row] - expected).abs()[seen] <= 1e-8 * expected[seen]).all()
        assert (variance[row][coverage == 0] == 0).all()


def test_variance_is_that_of_many_noisy_spectra():
    # 4,000 draws: the sum of squares over the variance is chi-square with as many degrees
    draws, nu = 4000, torch.tensor([0.9, 1.0, 1.1], dtype=torch.float64)
    ivar = draw(201, low=1.0, high=100.0)
    noise = np.random.default_rng(11).normal(size=(draws, 201)) / ivar.sqrt().numpy()
    flux = 1.0 + np.sin(GRID / 300.0) ** 2
    clean, coverage = PHOTOMETRY(torch.from_numpy(flux), nu)
    noisy, _ = PHOTOMETRY(torch.from_numpy(flux + noise), nu)
    statistic = ((noisy - clean).square().sum(0) / PHOTOMETRY.variance(ivar, nu))[coverage > 0]
    assert len(statistic) == 5
    low, high = chi2.ppf([1e-4, 1 - 1e-4], draws)  # 0.92 and 1.08 times the degrees
    assert ((statistic > low) & (statistic < high)).all()


@given(st.integers(-400, 400), st.integers(-20, 20))
def test_variance_is_inverse_to_ivar_and_free_of_overflow(power, other):
    ivar, nu = draw(201, seed=other + 20), torch.tensor([0.9, 1.0], dtype=torch.float64)
    scaled = PHOTOMETRY.variance(2.0**power * ivar, nu)
    assert torch.equal(scaled, 2.0**-power * PHOTOMETRY.variance(ivar, nu))


def test_cgs_numbers_neither_underflow_nor_overflow():
    flux, ivar = 1e-17 * draw(1, 201), 1e36 * draw(1, 201, seed=1)  # an error of 1e-18
    for dtype in (torch.float64, torch.float32):
        variance = PHOTOMETRY.variance(ivar.to(dtype), ONE)
        expected = 1e-36 * PHOTOMETRY.variance(1e-36 * ivar, ONE)
        torch.testing.assert_close(variance, expected, rtol=1e-6, atol=0)
        assert (variance[..., :2] > 0).all()
        relative = relative_variance(PHOTOMETRY, flux.to(dtype), ivar.to(dtype))
        same = relative_variance(PHOTOMETRY, 1e17 * flux, 1e-34 * ivar)
        torch.testing.assert_close(relative, same, rtol=1e-6, atol=0)


def test_disjoint_pixels_add_up_with_the_full_denominator():
    photometry = SyntheticPhotometry(FILTERS, GRID, denominator="full")
    ivar, nu = draw(201), torch.linspace(0.8, 1.4, 9, dtype=torch.float64)
    cut = torch.arange(201) < 90
    # errors of infinite ivar are none; a huge ivar leaves the other part's variance
    low = photometry.variance(torch.where(cut, ivar, 1e200), nu)
    high = photometry.variance(torch.where(cut, 1e200, ivar), nu)
    whole = photometry.variance(ivar, nu)
    torch.testing.assert_close(low + high, whole, rtol=1e-9, atol=1e-12 * whole.max().item())


@given(st.lists(st.booleans(), min_size=201, max_size=201), st.booleans())
def test_pixels_of_zero_ivar_count_nowhere(trusted, masked):
    trusted, nu = torch.tensor(trusted), torch.tensor([0.9, 1.0, 1.2], dtype=torch.float64)
    valid = draw(201) > 0.6 if masked else None
    ivar = torch.where(trusted, draw(201, seed=1), 0.0)
    both = trusted if valid is None else trusted & valid
    variance = PHOTOMETRY.variance(ivar, nu, valid)
    assert torch.equal(variance, PHOTOMETRY.variance(draw(201, seed=1), nu, both))
    assert variance.isfinite().all()
    _, coverage = PHOTOMETRY(draw(201), nu, both)
    assert (variance[coverage == 0] == 0).all()
    assert (variance[coverage > 1e-3] > 0).all()


def test_invalid_pixels_may_hold_any_ivar():
    nu, valid = torch.tensor([0.9, 1.0]).double(), draw(201) > 0.6
    expected = PHOTOMETRY.variance(draw(201, seed=1), nu, valid)
    for anything in (torch.nan, torch.inf, -1.0):
        ivar = torch.where(valid, draw(201, seed=1), anything)
        assert torch.equal(PHOTOMETRY.variance(ivar, nu, valid), expected)


def test_what_no_pixel_reaches_has_variance_zero_and_float64_is_given_back():
    variance = PHOTOMETRY.variance(draw(201).float(), torch.tensor([0.01, 1.0, 100.0]))
    assert variance.dtype == torch.float64
    assert (variance[[0, 2]] == 0).all()
    assert (variance[1] > 0).tolist() == [True, True, False]


def test_leading_dimensions_broadcast_and_blocks_change_nothing():
    ivar, nu = draw(2, 3, 201), draw(3, 4, low=0.8, high=1.2)
    variance = PHOTOMETRY.variance(ivar, nu)
    assert variance.shape == (2, 3, 4, 3)
    assert torch.equal(variance[1, 2], PHOTOMETRY.variance(ivar[1, 2], nu[2]))
    in_blocks = SyntheticPhotometry(FILTERS, GRID, chunk_bytes=1)
    assert torch.equal(in_blocks.variance(ivar, nu), variance)


# As a fraction of the flux -----------------------------------------------------------------------


def test_relative_variance_is_the_variance_over_the_flux_squared():
    flux, ivar = draw(4, 201), draw(4, 201, seed=1)
    ivar[:, 3::9] = 0.0
    valid = draw(4, 201, seed=2) > 0.55
    relative = relative_variance(PHOTOMETRY, flux, ivar, valid=valid)
    assert relative.shape == (4, 3)
    assert relative.dtype == torch.float64
    own = valid & (ivar > 0)
    bands = PHOTOMETRY(flux, ONE, own)[0].squeeze(-2)
    variance = PHOTOMETRY.variance(ivar, ONE, valid).squeeze(-2)
    assert torch.equal(relative[:, :2], (variance / bands.square())[:, :2])
    assert relative[:, 2].isinf().all()  # no pixel there


@pytest.mark.parametrize("level", [0.0, -1.0])
def test_relative_variance_is_infinite_where_flux_is_not_above_zero(level):
    flux = torch.stack([draw(201), torch.full((201,), level, dtype=torch.float64)])
    relative = relative_variance(PHOTOMETRY, flux, torch.ones_like(flux))
    assert relative[0, :2].isfinite().all()
    assert relative[1].isinf().all()


@given(st.integers(-60, 60))
def test_relative_variance_does_not_see_a_grey_scale(power):
    flux, ivar = draw(3, 201), draw(3, 201, seed=1)
    scaled = relative_variance(PHOTOMETRY, 2.0**power * flux, 2.0 ** (-2 * power) * ivar)
    assert torch.equal(scaled, relative_variance(PHOTOMETRY, flux, ivar))


def test_relative_variance_of_a_single_spectrum_is_refused_with_the_mend():
    with pytest.raises(ValueError, match=r"flux must have shape \(N, L\), got .*unsqueeze\(0\)"):
        relative_variance(PHOTOMETRY, draw(201), draw(201))


def test_relative_variance_has_no_gradient():
    relative = relative_variance(PHOTOMETRY, draw(2, 201).requires_grad_(), draw(2, 201))
    assert not relative.requires_grad


# min_snr -----------------------------------------------------------------------------------------


def signal_to_noise(flux, ivar) -> torch.Tensor:
    """Phi'(1) over its error, one galaxy and band at a time; pixels of zero ivar left out."""
    table = torch.zeros(len(flux), len(FILTERS), dtype=torch.float64)
    for n in range(len(flux)):
        own = (ivar[n] > 0).numpy()
        assert np.diff(np.flatnonzero(own)).max() == 1  # one stretch, so that no gap opens
        for b, (x, y) in enumerate(zip(FILTERS.wavelengths, FILTERS.responses, strict=True)):
            curve = x.numpy(), y.numpy(), 1.0
            bands, _ = flux_in_band(GRID[own], flux[n].numpy()[own], *curve)
            variance = flux_variance(GRID[own], ivar[n].numpy()[own], *curve)
            table[n, b] = bands / variance**0.5 if variance > 0 else 0.0
    return table


@pytest.mark.parametrize("quadrature", ["midpoint", "trapezoid"])
@pytest.mark.parametrize("least", [3.0, 10.0, 30.0])
def test_a_band_is_usable_where_its_flux_stands_above_its_error(quadrature, least):
    rng = np.random.default_rng(3)
    flux = torch.from_numpy(rng.normal(0.3, 1.0, (40, 201)))
    ivar = torch.from_numpy(rng.uniform(0.5, 1.5, (40, 201)) * 10 ** rng.uniform(-1, 4, (40, 1)))
    ivar[::2, :15] = 0.0
    z_spec = torch.from_numpy(rng.uniform(0.01, 0.39, 40))
    ratio = signal_to_noise(flux, ivar)
    assert ((ratio - least).abs() > 1e-6).all()
    options = {"ivar": ivar, "quadrature": quadrature, "min_coverage": 0.3}
    residual, weight = flux_residual(PHOTOMETRY, flux, z_spec, BINS, min_snr=least, **options)
    all_of_it, before = flux_residual(PHOTOMETRY, flux, z_spec, BINS, **options)
    usable = ratio >= least
    assert torch.equal(weight, before * usable)
    assert torch.equal(residual, torch.where(usable.unsqueeze(-2), all_of_it, 0.0))
    assert 0 < weight.sum() < before.sum()


def test_ivar_without_min_snr_only_switches_pixels_off():
    flux, ivar, z_spec = draw(3, 201), draw(3, 201, seed=1), torch.tensor([0.1, 0.2, 0.3])
    ivar[:, ::7] = 0.0
    valid = draw(3, 201, seed=2) > 0.52
    got = flux_residual(PHOTOMETRY, flux, z_spec, BINS, ivar=ivar, valid=valid)
    expected = flux_residual(PHOTOMETRY, flux, z_spec, BINS, valid=valid & (ivar > 0))
    assert all(map(torch.equal, got, expected))
    hole = torch.where(ivar > 0, flux, torch.nan)  # what counts nowhere may hold anything
    got = flux_residual(PHOTOMETRY, hole, z_spec, BINS, ivar=ivar, valid=valid, min_snr=0.0)
    assert all(map(torch.equal, got, expected))


def test_gradients_are_finite_where_noise_switches_bands_off():
    flux, z_spec = draw(3, 201).requires_grad_(), torch.tensor([0.1, 0.2, 0.3]).double()
    ivar = draw(3, 201) * torch.tensor([[1e-6], [1.0], [0.0]]).double()
    residual, weight = flux_residual(
        PHOTOMETRY, flux, z_spec.requires_grad_(), BINS, ivar=ivar, min_snr=5.0
    )
    residual.sum().backward()
    assert weight.tolist() == [[0, 0, 0], [1, 1, 0], [0, 0, 0]]
    assert (flux.grad[[0, 2]] == 0).all()
    assert flux.grad.isfinite().all()
    assert z_spec.grad.isfinite().all()
    assert (flux.grad[1] != 0).any()


def test_a_variance_lost_in_rounding_counts_as_unknown():
    filters = FilterSet.from_speclite("sdss2010-r")
    ivar = torch.ones(1, len(SDSS_GRID))
    ivar[0, 5] = 1e-30  # its variance hides all others in the prefix sums of float64
    photometry = SyntheticPhotometry(filters, SDSS_GRID)
    variance = relative_variance(photometry, torch.ones_like(ivar), ivar)
    assert not (variance < 1e-12).any()
