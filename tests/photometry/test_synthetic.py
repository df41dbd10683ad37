"""Flux in bands against the double loop, and what goes in and comes out."""

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
    shifts,
    spectra,
)

from photoz_losses import RedshiftBins
from photoz_losses.photometry import FilterSet, SyntheticPhotometry

BOX = FilterSet(["box"], [[5000.0, 6000.0]], [[1.0, 1.0]])
COARSE = np.linspace(4000.0, 7000.0, 31)
DENOMINATORS = ["covered", "full"]


def without_signs(wavelength, filters, flux, nu, denominator):
    largest = double_loop(wavelength, flux.abs(), filters, nu, denominator)[0].max()
    return at_least_some_scale(largest, wavelength, flux, nu)


# Against the double loop -------------------------------------------------------------------------


@pytest.fixture(
    scope="module", params=[0.15, *(pytest.param(z, marks=pytest.mark.slow) for z in (0.02, 0.35))]
)
def sdss(request):
    """A noisy signed spectrum on SDSS's grid at 180 bins' shifts, with the double loop's answer."""
    filters = FilterSet.from_speclite("sdss2010-*")
    rng = np.random.default_rng(int(100 * request.param))
    flux = torch.from_numpy(rng.normal(0.3, 1.0, len(SDSS_GRID)))
    nu = (1 + RedshiftBins.uniform(0.0, 0.4, 180).centers) / (1 + request.param)
    return filters, flux, nu, double_loop(SDSS_GRID, flux, filters, nu)


@pytest.mark.parametrize("search", [False, True], ids=["arithmetic", "search"])
def test_five_sdss_bands_over_180_bins_equal_the_double_loop(sdss, search):
    filters, flux, nu, loop = sdss
    photometry = SyntheticPhotometry(filters, SDSS_GRID)
    assert photometry.sums.grid == "log"
    assert photometry.sums.step == pytest.approx(1e-4 * np.log(10))
    if search:
        photometry.sums.grid = "any"
    assert_meets_the_bounds(photometry(flux, nu), loop)


def test_full_denominator_is_the_covered_flux_times_its_coverage(sdss):
    filters, flux, nu, (bands, coverage) = sdss
    photometry = SyntheticPhotometry(filters, SDSS_GRID, denominator="full")
    assert_meets_the_bounds(photometry(flux, nu), (bands * coverage, coverage))


@given(denominator=st.sampled_from(DENOMINATORS), case=observed())
def test_any_grid_and_filter_equals_the_double_loop(denominator, case):
    wavelength, filters, flux, nu = case
    assume(off_the_knots(wavelength, filters, nu, 1e-6))
    photometry = SyntheticPhotometry(filters, wavelength, denominator=denominator)
    assert_meets_the_bounds(
        photometry(flux, nu),
        double_loop(wavelength, flux, filters, nu, denominator),
        without_signs(wavelength, filters, flux, nu, denominator),
    )


@given(observed(kind="even in log", closed=True))
def test_arithmetic_and_search_agree_on_one_log_grid(case):
    wavelength, filters, flux, nu = case
    photometry = SyntheticPhotometry(filters, wavelength)
    assert photometry.sums.grid == "log"
    arithmetic = photometry(flux, nu)
    photometry.sums.grid = "any"
    largest = without_signs(wavelength, filters, flux, nu, "covered")
    assert_meets_the_bounds(photometry(flux, nu), arithmetic, largest)


@given(st.data())
def test_pixels_that_fall_on_knots_equal_the_double_loop(data):
    pixels = data.draw(st.integers(8, 30))
    wavelength = 3000.0 * 1.05 ** np.arange(pixels)
    knots = data.draw(st.lists(st.integers(0, pixels - 1), min_size=3, max_size=6, unique=True))
    response = np.ones(len(knots))
    response[[0, -1]] = 0.0
    filters = FilterSet(["on pixels"], [wavelength[sorted(knots)]], [response])
    # no zeros: flux on the filter's very ends alone is a value that is all rounding
    flux = data.draw(spectra(pixels, kinds=(1,)))
    whole_pixels = data.draw(st.lists(st.integers(-6, 6), min_size=1, max_size=4))
    nu = 1.05 ** torch.tensor(whole_pixels, dtype=torch.float64)
    photometry = SyntheticPhotometry(filters, wavelength)
    assert photometry.sums.grid == "log"
    loop = double_loop(wavelength, flux, filters, nu)
    # where a pixel lies on a filter's end to rounding, the loop has nothing or next to nothing
    loop = tuple(torch.where(loop[1] > 1e-12, value, 0.0) for value in loop)
    assert_meets_the_bounds(photometry(flux, nu), loop)


@pytest.mark.parametrize("nu", [0.5, 1.0, 1.25, 2.0])  # so that nu times a wavelength is exact
def test_pixels_on_both_jumps_of_a_top_hat_count(nu):
    wavelength = np.arange(2000.0, 14000.0, 100.0)
    flux = torch.from_numpy(np.random.default_rng(0).uniform(1, 2, len(wavelength)))
    nu = torch.tensor([nu], dtype=torch.float64)
    ends = [5000.0 * nu.item() / 1.25, 6000.0 * nu.item() / 1.25]
    assert np.isin(ends, nu.item() * wavelength).all()
    box = FilterSet(["box"], [ends], [[1.0, 1.0]])
    photometry = SyntheticPhotometry(box, wavelength)
    assert photometry.sums.grid == "any"
    assert_meets_the_bounds(photometry(flux, nu), double_loop(wavelength, flux, box, nu))


def test_pixels_on_both_jumps_of_a_top_hat_count_on_a_log_grid_too():
    wavelength = 3000.0 * 1.05 ** np.arange(20)
    flux = torch.from_numpy(np.random.default_rng(0).uniform(1, 2, 20))
    one = torch.ones(1, dtype=torch.float64)
    for first in range(18):
        for last in range(first + 1, 20):
            box = FilterSet(["box"], [wavelength[[first, last]]], [[1.0, 1.0]])
            photometry = SyntheticPhotometry(box, wavelength)
            assert_meets_the_bounds(photometry(flux, one), double_loop(wavelength, flux, box, one))


@pytest.mark.parametrize(
    ("x", "y"),
    [
        ([4999.999, 5000.0, 6000.0, 6000.001], [0.0, 1.0, 1.0, 0.0]),
        ([5000.0, 5010.0, 5135.0, 5145.0], [0.0, 1.0, 1.0, 0.0]),
    ],
    ids=["sides of 1e-3 A", "narrow band of 145 A"],
)
def test_steep_and_narrow_filters_equal_the_double_loop(x, y):
    filters = FilterSet(["steep"], [x], [y])
    flux = torch.from_numpy(np.random.default_rng(0).uniform(1, 2, len(SDSS_GRID)))
    nu = (1 + RedshiftBins.uniform(0.0, 0.4, 20).centers) / 1.15
    photometry = SyntheticPhotometry(filters, SDSS_GRID)
    assert_meets_the_bounds(photometry(flux, nu), double_loop(SDSS_GRID, flux, filters, nu))


def test_a_filter_between_two_pixels_sees_exactly_nothing():
    narrow = FilterSet(["narrow"], [[5010.0, 5050.0, 5090.0]], [[0.0, 1.0, 0.0]])
    bands, coverage = SyntheticPhotometry(narrow, COARSE)(torch.full((31,), 1e30), torch.ones(1))
    assert bands.item() == coverage.item() == 0.0


# 7,000 A moves below 5,000 A, or 4,000 A above 6,000 A
@given(spectra(31), st.one_of(shifts(4, low=0.01, high=0.7), shifts(4, low=1.51, high=100.0)))
def test_a_filter_beyond_the_spectrum_sees_exactly_nothing(flux, nu):
    bands, coverage = SyntheticPhotometry(BOX, COARSE)(flux, nu)
    assert (bands == 0).all()
    assert (coverage == 0).all()


# Shapes, precision, buffers ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flux_shape", "nu_shape"),
    [
        ((), (2,)),
        ((), (3, 2)),
        ((3,), (2,)),
        ((3,), (3, 2)),
        ((3,), (1, 2)),
        ((1,), (3, 2)),
        ((2, 3), (2,)),
        ((2, 3), (3, 2)),
        ((2, 1), (3, 2)),
        ((3,), (2, 3, 2)),
        ((0,), (2,)),
        ((), (0, 2)),
        ((3,), (0,)),
    ],
    ids=str,
)
def test_leading_dimensions_broadcast(flux_shape, nu_shape):
    rng = np.random.default_rng(0)
    filters = FilterSet.from_speclite("sdss2010-g", "sdss2010-r")
    flux = torch.from_numpy(rng.normal(size=(*flux_shape, 31)))
    nu = torch.from_numpy(rng.uniform(0.8, 1.2, nu_shape))
    photometry = SyntheticPhotometry(filters, COARSE)
    bands, coverage = photometry(flux, nu)
    lead = np.broadcast_shapes(flux_shape, nu_shape[:-1])
    assert bands.shape == coverage.shape == (*lead, nu_shape[-1], 2)
    flux, nu = flux.expand(*lead, 31), nu.expand(*lead, nu_shape[-1])
    for at in np.ndindex(lead):
        assert_meets_the_bounds(
            (bands[at], coverage[at]), double_loop(COARSE, flux[at], filters, nu[at])
        )


@given(observed(), st.sampled_from([torch.float16, torch.bfloat16, torch.float32]))
def test_low_precision_is_summed_in_float64_and_given_back_in_float32(case, dtype):
    wavelength, filters, flux, nu = case
    flux = flux.to(dtype)
    photometry = SyntheticPhotometry(filters, wavelength)
    bands, coverage = photometry(flux, nu)
    exact, exact_coverage = photometry(flux.double(), nu)
    assert bands.dtype == coverage.dtype == torch.float32
    assert exact.dtype == exact_coverage.dtype == torch.float64
    assert torch.equal(bands, exact.float())
    assert torch.equal(coverage, exact_coverage.float())


@pytest.mark.parametrize("cast", ["half", "bfloat16", "float", "double"])
def test_no_cast_of_the_module_rounds_its_buffers(cast):
    filters = FilterSet.from_speclite("sdss2010-*")
    flux = torch.from_numpy(np.random.default_rng(0).uniform(1, 2, len(SDSS_GRID)))
    nu = torch.linspace(0.8, 1.2, 5, dtype=torch.float64)
    before = SyntheticPhotometry(filters, SDSS_GRID)(flux, nu)
    # inside a model, as a loss in a network would be cast
    model = torch.nn.Sequential(SyntheticPhotometry(filters, SDSS_GRID))
    photometry = getattr(model, cast)()[0]
    assert {buffer.dtype for buffer in photometry.buffers()} == {torch.float64}
    assert all(map(torch.equal, photometry(flux, nu), before))


def test_a_checkpoint_does_not_change():
    photometry = SyntheticPhotometry(BOX, COARSE)
    assert len(photometry.state_dict()) == 0
    assert len(list(photometry.parameters())) == 0
    assert len(list(photometry.buffers())) > 0


def test_wavelength_may_be_a_quantity():
    import astropy.units as u

    photometry = SyntheticPhotometry(BOX, COARSE / 10 * u.nm)
    assert torch.allclose(photometry.wavelength, torch.from_numpy(COARSE), rtol=1e-14)


def test_repr_states_filters_wavelengths_and_denominator():
    text = repr(SyntheticPhotometry(BOX, COARSE, denominator="full"))
    for part in ("box 5000-6000 A", "31 pixels on 4000-7000 A", "denominator='full'"):
        assert part in text


# Errors ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wavelength", "message"),
    [
        (COARSE[::-1].copy(), "wavelength must increase strictly.*sort it"),
        ([4000.0, 5000.0, 5000.0], "wavelength must increase strictly.*drop repeated"),
        ([4000.0, np.nan, 6000.0], "wavelength must be finite.*drop"),
        ([5000.0], "wavelength must be a vector of at least 2"),
        (COARSE[None], r"wavelength must be a vector.*\(1, 31\)"),
        ([-1.0, 5500.0], "wavelength must be positive, in Angstrom: undo its logarithm"),
        (COARSE / 10, "wavelength runs from 400 to 700 .*Angstrom, not in nm"),
        (np.log10(COARSE), "wavelength runs .* or as a logarithm"),
    ],
)
def test_bad_wavelengths_are_named_with_the_mend(wavelength, message):
    with pytest.raises(ValueError, match=message):
        SyntheticPhotometry(BOX, wavelength)


def test_an_unknown_denominator_is_named_with_the_known_ones():
    with pytest.raises(ValueError, match="denominator must be one of 'covered', 'full', got 'all'"):
        SyntheticPhotometry(BOX, COARSE, denominator="all")


FLUX, NU, VALID = torch.ones(2, 31), torch.ones(2, 4), torch.ones(2, 31, dtype=torch.bool)
HOLE = FLUX.clone().index_fill(1, torch.tensor(3), torch.nan)


@pytest.mark.parametrize(
    ("flux", "nu", "valid", "error", "message"),
    [
        (FLUX[:, 1:], NU, None, ValueError, r"flux must have shape \(\.\.\., 31\).*\(2, 30\)"),
        (FLUX[0, 0], NU, None, ValueError, "flux must have shape"),
        (FLUX.long(), NU, None, TypeError, r"flux must be a floating-point.*flux\.float\(\)"),
        (FLUX.numpy(), NU, None, TypeError, "flux must be a torch.Tensor.*torch.as_tensor"),
        (FLUX, NU[0, 0], None, ValueError, r"nu must have shape \(\.\.\., C\).*nu\.reshape\(1\)"),
        (FLUX, NU.long(), None, TypeError, r"nu must be a floating-point.*nu\.float\(\)"),
        (FLUX, 1.0, None, TypeError, "nu must be a torch.Tensor, got float"),
        (FLUX, 0 * NU, None, ValueError, r"nu = \(1 \+ z\) / .* must be positive and finite"),
        (FLUX, -NU, None, ValueError, "nu = .* must be positive and finite"),
        (FLUX, NU * torch.nan, None, ValueError, "nu = .* must be positive and finite"),
        (FLUX, NU * torch.inf, None, ValueError, "nu = .* must be positive and finite"),
        (FLUX, NU, VALID.float(), TypeError, "valid must be a bool tensor.*use ivar > 0"),
        (FLUX, NU, VALID[0], ValueError, r"valid must have the shape \(2, 31\) of flux"),
        (HOLE, NU, None, ValueError, r"flux must be finite.*valid=flux\.isfinite\(\)"),
        (HOLE, NU, VALID, ValueError, r"flux must be finite.*valid=flux\.isfinite\(\)"),
        (FLUX * torch.inf, NU, None, ValueError, "flux must be finite at valid pixels"),
    ],
)
def test_bad_arguments_are_named_with_the_mend(flux, nu, valid, error, message):
    with pytest.raises(error, match=message):
        SyntheticPhotometry(BOX, COARSE)(flux, nu, valid)


def test_leading_dimensions_that_do_not_broadcast_name_the_arguments():
    with pytest.raises(ValueError, match=r"flux.*nu|nu.*flux"):
        SyntheticPhotometry(BOX, COARSE)(torch.ones(3, 31), torch.ones(2, 4))
