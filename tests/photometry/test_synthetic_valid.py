"""Valid masks: what a spectrum does not have counts nowhere."""

import numpy as np
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from photometry.spectroscopy import (
    SDSS_GRID,
    assert_meets_the_bounds,
    at_least_some_scale,
    filter_sets,
    observed,
    off_the_knots,
    shifts,
    spectra,
    wavelengths,
)
from reference import C_ANGSTROM, filter_integral

from photoz_losses.photometry import FilterSet, SyntheticPhotometry

DENOMINATORS = ["covered", "full"]


@st.composite
def masked(draw):
    """As `observed`, with a mask of any gaps."""
    wavelength, filters, flux, nu = draw(observed())
    valid = torch.from_numpy(draw(hnp.arrays(bool, len(wavelength))))
    return wavelength, filters, flux, nu, valid


def loop_over_intervals(wavelength, flux, filters, nu, valid, denominator):
    """Half of each interval's length times the sum of its two ends, where it has both."""
    bands, coverage = torch.zeros(2, len(nu), len(filters), dtype=torch.float64)
    for c, shift in enumerate(nu.tolist()):
        for b, (x, y) in enumerate(zip(filters.wavelengths, filters.responses, strict=True)):
            whole = filter_integral(x.tolist(), y.tolist())
            numerator, covered = 0.0, 0.0
            for k in range(len(wavelength) - 1):
                if not (valid[k] and valid[k + 1]):
                    continue
                half = (wavelength[k + 1] - wavelength[k]) / 2
                for end in (k, k + 1):
                    response = np.interp(shift * wavelength[end], x, y, left=0.0, right=0.0)
                    numerator += shift**2 * half * wavelength[end] * flux[end].item() * response
                    covered += half * C_ANGSTROM / wavelength[end] * response
            coverage[c, b] = covered / whole
            below = covered if denominator == "covered" else whole
            bands[c, b] = numerator / below if covered > 0 else 0.0
    return bands, coverage


@given(denominator=st.sampled_from(DENOMINATORS), case=masked())
def test_gaps_equal_a_loop_over_the_intervals_that_have_both_ends(denominator, case):
    wavelength, filters, flux, nu, valid = case
    assume(off_the_knots(wavelength, filters, nu, 1e-6))
    photometry = SyntheticPhotometry(filters, wavelength, denominator=denominator)
    case = (wavelength, flux, filters, nu, valid, denominator)
    largest = loop_over_intervals(wavelength, flux.abs(), *case[2:])[0].max()
    largest = at_least_some_scale(largest, wavelength, flux, nu)
    assert_meets_the_bounds(photometry(flux, nu, valid), loop_over_intervals(*case), largest)


@given(st.data())
def test_padding_with_invalid_pixels_gives_to_the_bit_what_the_own_grid_gives(data):
    wavelength = data.draw(wavelengths(least=8))
    filters, nu = data.draw(filter_sets()), data.draw(shifts(3))
    first = data.draw(st.integers(0, 3))
    end = data.draw(st.integers(5, len(wavelength)))
    own = slice(first, end)
    least, most = wavelength[first], wavelength[end - 1]
    assume(any(x[0] < most and least < x[-1] for x in filters.wavelengths))
    flux = torch.full((len(wavelength),), torch.nan, dtype=torch.float64)
    flux[own] = data.draw(spectra(end - first))
    photometry = SyntheticPhotometry(filters, wavelength)
    alone = SyntheticPhotometry(filters, wavelength[own])
    photometry.sums.grid = alone.sums.grid = "any"  # one path, so that the bits can be compared
    padded = photometry(flux, nu, flux.isfinite())
    assert all(map(torch.equal, padded, alone(flux[own], nu)))


def test_padding_on_the_sdss_grid_changes_nothing_by_arithmetic_either():
    rng, own = np.random.default_rng(0), slice(300, 3500)
    filters = FilterSet.from_speclite("sdss2010-*")
    flux = torch.full((len(SDSS_GRID),), torch.nan, dtype=torch.float64)
    flux[own] = torch.from_numpy(rng.uniform(0.5, 2.0, 3200))
    nu = torch.from_numpy(rng.uniform(0.7, 1.4, 30))
    photometry = SyntheticPhotometry(filters, SDSS_GRID)
    alone = SyntheticPhotometry(filters, SDSS_GRID[own])
    assert photometry.sums.grid == "log"
    assert alone.sums.grid == "log"
    padded = photometry(flux, nu, flux.isfinite())
    assert_meets_the_bounds(padded, alone(flux[own], nu))


@given(observed())
def test_a_mask_that_is_all_valid_is_no_mask(case):
    wavelength, filters, flux, nu = case
    photometry = SyntheticPhotometry(filters, wavelength)
    everything = torch.ones_like(flux, dtype=torch.bool)
    assert all(map(torch.equal, photometry(flux, nu, everything), photometry(flux, nu)))


@given(masked(), st.sampled_from([torch.nan, torch.inf, -torch.inf, 1e300]))
def test_invalid_pixels_may_hold_anything(case, anything):
    wavelength, filters, flux, nu, valid = case
    photometry = SyntheticPhotometry(filters, wavelength)
    other = torch.where(valid, flux, anything)
    assert all(map(torch.equal, photometry(other, nu, valid), photometry(flux, nu, valid)))


@given(observed())
def test_nothing_valid_gives_exactly_nothing(case):
    wavelength, filters, flux, nu = case
    nothing = torch.zeros_like(flux, dtype=torch.bool)
    bands, coverage = SyntheticPhotometry(filters, wavelength)(flux, nu, nothing)
    assert (bands == 0).all()
    assert (coverage == 0).all()


@given(observed())
def test_a_single_valid_pixel_spans_no_interval(case):
    wavelength, filters, flux, nu = case
    valid = torch.zeros_like(flux, dtype=torch.bool)
    valid[len(valid) // 2] = True
    bands, coverage = SyntheticPhotometry(filters, wavelength)(flux, nu, valid)
    assert (bands == 0).all()
    assert (coverage == 0).all()


@given(st.data())
def test_two_parts_that_share_a_pixel_add_up_to_the_whole(data):
    wavelength, filters, flux, nu = data.draw(observed())
    cut, pixel = data.draw(st.integers(0, len(wavelength) - 1)), torch.arange(len(wavelength))
    photometry = SyntheticPhotometry(filters, wavelength, denominator="full")
    low, low_coverage = photometry(flux, nu, pixel <= cut)
    high, high_coverage = photometry(flux, nu, pixel >= cut)
    bands, coverage = photometry(flux, nu)
    largest = photometry(flux.abs(), nu)[0].max()
    largest = at_least_some_scale(largest, wavelength, flux, nu)
    assert (low + high - bands).abs().le(1e-11 * largest).all()
    total = low_coverage + high_coverage
    assert (total.clamp(max=1) - coverage).abs().le(1e-11).all()


def test_each_spectrum_has_its_own_mask():
    rng = np.random.default_rng(0)
    filters = FilterSet.from_speclite("sdss2010-g", "sdss2010-r")
    wavelength = np.linspace(3800.0, 9200.0, 200)
    flux, nu = torch.from_numpy(rng.normal(size=(4, 200))), torch.ones(1, dtype=torch.float64)
    valid = torch.from_numpy(rng.uniform(size=(4, 200)) > 0.2)
    bands, coverage = SyntheticPhotometry(filters, wavelength)(flux, nu, valid)
    for row in range(4):
        loop = loop_over_intervals(wavelength, flux[row], filters, nu, valid[row], "covered")
        assert_meets_the_bounds((bands[row], coverage[row]), loop)
