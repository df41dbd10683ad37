"""Both forms of the sum over the knots, on every kind of grid, and the knots that it leaves out."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from photometry.spectroscopy import (
    SDSS_GRID,
    assert_meets_the_bounds,
    at_least_some_scale,
    double_loop,
    observed,
    off_the_knots,
)

from photoz_losses.photometry import FilterSet, SyntheticPhotometry

STEEP = "photoz_losses.photometry._filter_sums.STEEP"
FORMS = {"stretches": -1.0, "parts": float("inf")}
CLOSED = FilterSet(
    ["gentle", "zeros at both ends"],
    [[4300, 4900, 5700, 6600], [3000, 3100, 5000, 5500, 5600, 6400, 6500, 12000]],
    [[0, 1, 0.4, 0], [0, 0, 0, 1, 0.8, 0, 0, 0]],
)
GRIDS = {
    "log": 10 ** np.linspace(3.57, 3.97, 400),
    "linear": np.arange(3700.0, 9300.0, 14.0),
    "any": np.cumsum(np.concatenate([[3700.0], np.geomspace(30.0, 4.0, 400)])),  # steps that shrink
}


def spectrum(wavelength, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).uniform(0.5, 2.0, len(wavelength)))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("denominator", ["covered", "full"])
def test_both_forms_on_every_grid_equal_the_double_loop(monkeypatch, form, grid, denominator):
    monkeypatch.setattr(STEEP, FORMS[form])
    photometry = SyntheticPhotometry(CLOSED, GRIDS[grid], denominator=denominator)
    assert photometry.sums.grid == grid
    assert photometry.sums.steep == [form == "stretches"] * 2
    flux, nu = spectrum(GRIDS[grid]), torch.linspace(0.5, 2.1, 17, dtype=torch.float64)
    loop = double_loop(GRIDS[grid], flux, CLOSED, nu, denominator)
    assert_meets_the_bounds(photometry(flux, nu), loop)


@pytest.mark.parametrize("form", FORMS)
@given(case=observed())
def test_both_forms_equal_the_double_loop_on_any_filter(form, case):
    wavelength, filters, flux, nu = case
    assume(off_the_knots(wavelength, filters, nu, 1e-6))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(STEEP, FORMS[form])
        photometry = SyntheticPhotometry(filters, wavelength)
    largest = double_loop(wavelength, flux.abs(), filters, nu)[0].max()
    largest = at_least_some_scale(largest, wavelength, flux, nu)
    loop = double_loop(wavelength, flux, filters, nu)
    assert_meets_the_bounds(photometry(flux, nu), loop, largest)


@pytest.mark.parametrize("survey", ["sdss2010-*", "lsst2023-*", "decam2014-*"])
def test_curves_of_surveys_equal_the_double_loop(survey):
    # the LSST curves have 7,792 knots each, many zero, on 3199-10990 A; summed by parts, their
    # wiggles would miss the bound tenfold
    filters = FilterSet.from_speclite(survey)
    flux, nu = spectrum(SDSS_GRID), torch.linspace(0.72, 1.38, 9, dtype=torch.float64)
    photometry = SyntheticPhotometry(filters, SDSS_GRID)
    bands, coverage = photometry(flux, nu)
    loop = double_loop(SDSS_GRID, flux, filters, nu)
    assert_meets_the_bounds((bands, coverage), loop)
    for b in range(len(filters)):  # each band on its own scale too
        assert_meets_the_bounds(
            (bands[:, b], coverage[:, b]), (loop[0][:, b], loop[1][:, b]), loop[0][:, b].max()
        )


def test_sdss_curves_are_summed_by_parts_and_wiggly_ones_are_not():
    sdss = SyntheticPhotometry(FilterSet.from_speclite("sdss2010-*"), SDSS_GRID)
    assert not any(sdss.sums.steep)
    lsst = SyntheticPhotometry(FilterSet.from_speclite("lsst2023-*"), SDSS_GRID)
    assert dict(zip(lsst.filters.names, lsst.sums.steep, strict=True))["lsst2023-y"]


def test_knots_on_a_line_and_zeros_outside_are_left_out():
    x = np.arange(4000.0, 8000.0, 4.0)  # whole numbers and eighths: the lines are exact
    y = np.interp(x, [5000, 5512, 6024, 6536], [0.0, 1.0, 0.75, 0.0])
    dense, sparse = FilterSet(["r"], [x], [y]), FilterSet(["r"], [x[y > 0]], [y[y > 0]])
    plain = FilterSet(["r"], [[5000, 5512, 6024, 6536]], [[0.0, 1.0, 0.75, 0.0]])
    flux, nu = spectrum(SDSS_GRID), torch.linspace(0.6, 1.6, 11, dtype=torch.float64)
    photometry = SyntheticPhotometry(dense, SDSS_GRID)
    assert photometry.sums.knots.numel() == 4 < len(x)
    assert SyntheticPhotometry(sparse, SDSS_GRID).sums.knots.numel() == 4  # its ends are jumps
    assert_meets_the_bounds(photometry(flux, nu), double_loop(SDSS_GRID, flux, dense, nu))
    assert_meets_the_bounds(photometry(flux, nu), double_loop(SDSS_GRID, flux, plain, nu))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "responses",
    [[1.0, 1.0, 1.0], [0.5, 1.0, 0.0], [0.0, 1.0, 0.5], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]],
    ids=str,
)
def test_filters_that_end_on_jumps_equal_the_double_loop(monkeypatch, form, responses):
    monkeypatch.setattr(STEEP, FORMS[form])
    filters = FilterSet(["jumps"], [[5000.0, 5500.0, 6100.0]], [responses])
    flux, nu = spectrum(SDSS_GRID), torch.linspace(0.58, 1.7, 23, dtype=torch.float64)
    photometry = SyntheticPhotometry(filters, SDSS_GRID)
    assert photometry.sums.grid == "any"
    assert_meets_the_bounds(photometry(flux, nu), double_loop(SDSS_GRID, flux, filters, nu))


@given(st.floats(0.05, 20.0), st.sampled_from(["log", "linear"]))
def test_arithmetic_finds_the_pixels_that_a_search_finds(shift, grid):
    wavelength = GRIDS[grid]
    nu = torch.tensor([[shift]], dtype=torch.float64)
    assume(off_the_knots(wavelength, CLOSED, nu, 1e-6))
    sums = SyntheticPhotometry(CLOSED, wavelength).sums
    arithmetic = sums.first_pixels(nu)
    sums.grid = "any"
    for found, sought in zip(arithmetic, sums.first_pixels(nu), strict=True):
        assert torch.equal(found, sought)


@pytest.mark.parametrize("survey", ["Euclid-*", "hsc2017-*"])
def test_curves_of_other_surveys_meet_the_bounds_down_to_their_long_tails(survey):
    filters = FilterSet.from_speclite(survey)
    wavelength = np.geomspace(5000.0, 21000.0, 3000) if survey == "Euclid-*" else SDSS_GRID
    flux = torch.from_numpy(np.random.default_rng(0).uniform(0.5, 2.0, len(wavelength)))
    nu = torch.linspace(0.6, 1.5, 40, dtype=torch.float64)
    loop = double_loop(wavelength, flux, filters, nu)
    assert_meets_the_bounds(SyntheticPhotometry(filters, wavelength)(flux, nu), loop)
