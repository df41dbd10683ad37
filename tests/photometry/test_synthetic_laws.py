"""Laws of the flux in bands that need no second implementation."""

import numpy as np
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from photometry.spectroscopy import (
    SDSS_GRID,
    at_least_some_scale,
    observed,
    off_the_knots,
    shifts,
    spectra,
)

from photoz_losses.photometry import FilterSet, SyntheticPhotometry
from photoz_losses.photometry.synthetic import SPEED_OF_LIGHT

DENOMINATORS = ["covered", "full"]
ROUNDING = 1e-10  # of prefix sums, on cells that are covered to 1e-3


def assert_same_where_covered(got, expected, coverage, largest) -> None:
    assert (got - expected).abs()[coverage > 1e-3].le(ROUNDING * largest).all()


def largest_flux(wavelength, filters, flux, nu):
    largest = SyntheticPhotometry(filters, wavelength)(flux.abs(), nu)[0].max()
    return at_least_some_scale(largest, wavelength, flux, nu)


@given(denominator=st.sampled_from(DENOMINATORS), data=st.data())
def test_flux_in_bands_is_linear_in_the_spectrum(denominator, data):
    wavelength, filters, first, nu = data.draw(observed())
    second = data.draw(spectra(len(wavelength)))
    a, b = data.draw(st.floats(-3, 3)), data.draw(st.floats(-3, 3))
    photometry = SyntheticPhotometry(filters, wavelength, denominator=denominator)
    bands, coverage = photometry(a * first + b * second, nu)
    sum_of_both = a * photometry(first, nu)[0] + b * photometry(second, nu)[0]
    largest = largest_flux(wavelength, filters, 3 * (first.abs() + second.abs()), nu)
    assert_same_where_covered(bands, sum_of_both, coverage, largest)


@given(observed(), st.integers(-40, 40))
def test_flux_in_bands_scales_with_the_spectrum(case, power):
    wavelength, filters, flux, nu = case
    photometry = SyntheticPhotometry(filters, wavelength)
    bands, coverage = photometry(flux, nu)
    scaled, same_coverage = photometry(2.0**power * flux, nu)
    assert torch.equal(scaled, 2.0**power * bands)  # a power of two rounds nothing
    assert torch.equal(same_coverage, coverage)


@given(denominator=st.sampled_from(DENOMINATORS), case=observed())
def test_constant_f_nu_gives_nu_squared_times_it(denominator, case):
    # numerator and covered denominator are then the same sum, whatever the grid resolves
    wavelength, filters, _, nu = case
    flux = torch.from_numpy(SPEED_OF_LIGHT / wavelength**2)
    photometry = SyntheticPhotometry(filters, wavelength, denominator=denominator)
    bands, coverage = photometry(flux, nu)
    expected = nu.square().unsqueeze(-1).expand_as(bands)
    if denominator == "full":
        assume((coverage < 1).all())  # beyond, the trapezoid has more than the filter's integral
        expected = expected * coverage
    assert_same_where_covered(bands, expected, coverage, largest=4.0)


def test_constant_f_nu_fully_covered_by_the_full_denominator_to_trapezoid_error():
    filters = FilterSet.from_speclite("sdss2010-r")
    photometry = SyntheticPhotometry(filters, SDSS_GRID, denominator="full")
    nu = torch.linspace(0.8, 1.3, 20, dtype=torch.float64)
    bands, coverage = photometry(torch.from_numpy(SPEED_OF_LIGHT / SDSS_GRID**2), nu)
    # pixels of 1 A under a curve with bends at every 20 A: (1 / 20)^2 / 12, and less in the sum
    assert torch.allclose(bands.squeeze(-1), nu.square(), rtol=2e-4)
    assert torch.allclose(coverage, torch.ones_like(coverage), rtol=2e-4)


@given(observed())
def test_shifting_is_measuring_the_stretched_spectrum_unshifted(case):
    wavelength, filters, flux, nu = case
    nu = nu[:1]
    assume(off_the_knots(wavelength, filters, nu, 1e-6))
    stretched = nu.item() * wavelength
    assume(any(x[0] < stretched[-1] and stretched[0] < x[-1] for x in filters.wavelengths))
    bands, coverage = SyntheticPhotometry(filters, wavelength)(flux, nu)
    moved, same_coverage = SyntheticPhotometry(filters, stretched)(flux, torch.ones_like(nu))
    largest = largest_flux(wavelength, filters, flux, nu)
    assert_same_where_covered(bands, moved, coverage, largest)
    assert (coverage - same_coverage).abs().max() <= ROUNDING


@given(observed())
def test_coverage_lies_between_0_and_1(case):
    wavelength, filters, flux, nu = case
    _, coverage = SyntheticPhotometry(filters, wavelength)(flux, nu)
    assert (coverage >= 0).all()
    assert (coverage <= 1).all()


@given(observed(), st.floats(1e-3, 1e3))
def test_the_scale_of_a_filter_curve_cancels(case, scale):
    wavelength, filters, flux, nu = case
    scaled = FilterSet(filters.names, filters.wavelengths, [scale * y for y in filters.responses])
    bands, coverage = SyntheticPhotometry(filters, wavelength)(flux, nu)
    same, same_coverage = SyntheticPhotometry(scaled, wavelength)(flux, nu)
    largest = largest_flux(wavelength, filters, flux, nu)
    assert_same_where_covered(bands, same, coverage, largest)
    assert (coverage - same_coverage).abs().max() <= ROUNDING


@given(observed())
def test_a_band_does_not_depend_on_the_others(case):
    wavelength, filters, flux, nu = case
    bands, coverage = SyntheticPhotometry(filters, wavelength)(flux, nu)
    for b, (name, x, y) in enumerate(
        zip(filters.names, filters.wavelengths, filters.responses, strict=True)
    ):
        alone, its_coverage = SyntheticPhotometry(FilterSet([name], [x], [y]), wavelength)(flux, nu)
        largest = largest_flux(wavelength, filters, flux, nu)
        assert_same_where_covered(bands[:, b], alone[:, 0], coverage[:, b], largest)
        assert (coverage[:, b] - its_coverage[:, 0]).abs().max() <= ROUNDING


@given(observed())
def test_of_a_positive_spectrum_every_band_is_positive_where_it_is_covered(case):
    wavelength, filters, flux, nu = case
    bands, coverage = SyntheticPhotometry(filters, wavelength)(flux.abs() + 0.1, nu)
    assert (bands[coverage > 1e-3] > 0).all()


STEPS = hnp.arrays(float, 7, elements=st.floats(10.0, 1000.0))


@given(st.floats(-5, 5), st.floats(-5, 5), shifts(1), STEPS)
def test_trapezoid_is_exact_for_a_straight_integrand(a, b, nu, steps):
    # lambda F = a + b lambda under a response of 1: its integral in closed form
    wavelength = 4000.0 + np.concatenate([[0.0], steps.cumsum()])
    low, high = wavelength[0], wavelength[-1]
    wide = FilterSet(["wide"], [[1000.0, 40000.0]], [[1.0, 1.0]])
    photometry = SyntheticPhotometry(wide, wavelength, denominator="full")
    bands, _ = photometry(torch.from_numpy((a + b * wavelength) / wavelength), nu)
    integral = a * (high - low) + b * (high**2 - low**2) / 2
    largest = abs(a) * (high - low) + abs(b) * (high**2 - low**2) / 2
    whole = SPEED_OF_LIGHT * np.log(40)
    assert abs(bands.item() - nu.item() ** 2 * integral / whole) <= 1e-12 * 4 * largest / whole


@given(st.data())
def test_splitting_intervals_of_a_straight_integrand_changes_nothing(data):
    wavelength = np.linspace(4000.0, 7000.0, 16)
    integrand = data.draw(spectra(16)).numpy()  # lambda F, straight between its pixels
    new = data.draw(st.lists(st.floats(4001.0, 6999.0), min_size=1, max_size=8, unique=True))
    finer = np.unique(np.concatenate([wavelength, new]))
    box = FilterSet(["box"], [[3000.0, 8000.0]], [[1.0, 1.0]])
    one = torch.ones(1, dtype=torch.float64)

    def flux_in_band(grid):
        flux = torch.from_numpy(np.interp(grid, wavelength, integrand) / grid)
        return SyntheticPhotometry(box, grid, denominator="full")(flux, one)[0].item()

    largest = 3000.0 * np.abs(integrand).max() / (SPEED_OF_LIGHT * np.log(8 / 3))
    assert abs(flux_in_band(finer) - flux_in_band(wavelength)) <= 1e-12 * largest


@given(denominator=st.sampled_from(DENOMINATORS), case=observed(), seed=st.permutations(range(4)))
def test_permuting_the_spectra_permutes_the_output(denominator, case, seed):
    wavelength, filters, flux, nu = case
    photometry = SyntheticPhotometry(filters, wavelength, denominator=denominator)
    batch = torch.stack([flux, flux.flip(0), 2 * flux, flux.abs()])
    bands, coverage = photometry(batch, nu)
    permuted, same_coverage = photometry(batch[list(seed)], nu)
    assert torch.equal(permuted, bands[list(seed)])
    assert torch.equal(same_coverage, coverage)
