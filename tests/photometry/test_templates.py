"""Filling what was not measured: the fit of templates, and the spectra it continues."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import lsq_linear
from strategies import fractions

from photoz_losses import RedshiftBins, flux_residual
from photoz_losses.photometry import (
    FilterSet,
    Spectra,
    SyntheticPhotometry,
    Templates,
    read_sdss_spectra,
)

REST = np.geomspace(1000.0, 25000.0, 400)
GRID = 10 ** (np.arange(35800, 39640, 12) * 1e-4)  # 3802-9190 A, every twelfth SDSS pixel
MAGGIE = 3631e-23 / 1e-17 * 1e-9  # nanomaggies to 1e-17 erg/s/cm2/Hz


def shapes() -> np.ndarray:
    """A blue and a red continuum, and a step as strong as a 4000 A break; positive, independent."""
    x = REST / 5000.0
    return np.stack([x**-2.0, x**1.5 * np.exp(-x), 0.2 + np.tanh(8 * (x - 0.8)) ** 2 * (x > 0.8)])


def templates() -> Templates:
    return Templates(torch.from_numpy(REST), torch.from_numpy(shapes()))


def model(coefficients, wavelength, z: float) -> np.ndarray:
    """The definition, written anew: templates stretched, interpolated, summed, dimmed by 1 + z."""
    rest = np.asarray(wavelength) / (1 + z)
    return sum(
        a * np.interp(rest, REST, shape) / (1 + z)
        for a, shape in zip(coefficients, shapes(), strict=True)
    )


def observed(rows, z, *, wavelength=GRID, covered=(0.0, np.inf), ivar=None) -> Spectra:
    """Spectra that are sums of the templates, in float64, valid between two wavelengths."""
    flux = torch.tensor(np.array([model(a, wavelength, x) for a, x in zip(rows, z, strict=True)]))
    inside = (wavelength >= covered[0]) & (wavelength <= covered[1])
    valid = torch.from_numpy(np.broadcast_to(inside, flux.shape).copy())
    return Spectra(
        torch.from_numpy(wavelength),
        torch.where(valid, flux, 0.0),
        torch.where(valid, torch.ones_like(flux) if ivar is None else ivar, 0.0),
        torch.tensor(z, dtype=torch.float64),
        valid,
    )


amounts = fractions((2, 3)).map(lambda u: np.where(u[0] > 0.4, 0.1 + 9.9 * u[1], 0.0)).filter(any)
redshift = st.floats(0.0, 0.6)

# What the fit is ---------------------------------------------------------------------------------


@given(st.lists(st.tuples(amounts, redshift), min_size=1, max_size=3), st.integers(0, 10**6))
def test_a_sum_of_templates_gives_its_own_coefficients(parts, seed):
    rows, z = zip(*parts, strict=True)
    spectra = observed(rows, z)
    ivar = torch.from_numpy(np.random.default_rng(seed).uniform(0.1, 10.0, spectra.flux.shape))
    coefficients, used = templates().fit(spectra.wavelength, spectra.flux, ivar, spectra.z)
    np.testing.assert_allclose(coefficients.numpy(), np.array(rows), rtol=1e-8, atol=1e-8)
    assert used.all()


@given(st.integers(0, 10**6), redshift, st.floats(0.0, 2.0))
def test_the_fit_is_scipys_bounded_least_squares_on_the_pixels_it_used(seed, z, tilt):
    rng = np.random.default_rng(seed)
    flux = (GRID / 5000.0) ** (tilt - 1) + 0.3 * rng.normal(size=GRID.size)
    ivar = rng.uniform(1.0, 20.0, GRID.size) * (rng.random(GRID.size) > 0.1)
    coefficients, used = templates().fit(
        torch.from_numpy(GRID),
        torch.from_numpy(flux[None]),
        torch.from_numpy(ivar[None]),
        torch.tensor([z], dtype=torch.float64),
    )
    kept = used[0].numpy()
    assert not (kept & (ivar == 0)).any()
    design = np.array([model(row, GRID, z) for row in np.eye(3)]).T
    root = np.sqrt(ivar)[kept]
    witness = lsq_linear(
        design[kept] * root[:, None], flux[kept] * root, bounds=(0, np.inf), method="bvls"
    )
    cost = [
        (root**2 * (flux - design @ a)[kept] ** 2).sum()
        for a in (coefficients[0].numpy(), witness.x)
    ]
    assert cost[0] <= cost[1] * (1 + 1e-9)
    np.testing.assert_allclose(coefficients[0].numpy(), witness.x, atol=1e-4)


def test_lines_that_no_template_has_do_not_move_the_fit():
    spectra = observed([(1.0, 2.0, 3.0)], [0.1], ivar=torch.full((1, GRID.size), 1e4).double())
    lines = torch.zeros(GRID.size, dtype=torch.bool)
    lines[[50, 51, 52, 200]] = True
    flux = spectra.flux + 20.0 * lines
    coefficients, used = templates().fit(spectra.wavelength, flux, spectra.ivar, spectra.z)
    np.testing.assert_allclose(coefficients.numpy(), [[1.0, 2.0, 3.0]], rtol=1e-8)
    assert torch.equal(used[0], ~lines)


def test_noise_as_large_as_ivar_says_is_not_clipped_away():
    rng = np.random.default_rng(0)
    spectra = observed([(1.0, 2.0, 3.0)] * 20, [0.1] * 20)
    flux = spectra.flux + 0.1 * torch.from_numpy(rng.normal(size=spectra.flux.shape))
    ivar = torch.full_like(flux, 100.0)
    coefficients, used = templates().fit(spectra.wavelength, flux, ivar, spectra.z)
    assert used.double().mean() > 0.99
    scatter = coefficients.std(0)
    assert ((coefficients.mean(0) - torch.tensor([1.0, 2.0, 3.0])).abs() < scatter).all()


def test_a_spectrum_below_zero_has_no_template():
    spectra = observed([(1.0, 0.0, 0.0)], [0.1])
    coefficients, _ = templates().fit(spectra.wavelength, -spectra.flux, spectra.ivar, spectra.z)
    assert (coefficients == 0).all()


def test_a_template_without_flux_on_the_pixels_stays_out():
    flux = np.concatenate([shapes(), [(REST > 20000.0).astype(float)]])
    four = Templates(torch.from_numpy(REST), torch.from_numpy(flux))
    spectra = observed([(1.0, 2.0, 3.0)], [0.1])
    coefficients, _ = four.fit(spectra.wavelength, spectra.flux, spectra.ivar, spectra.z)
    np.testing.assert_allclose(coefficients.numpy(), [[1.0, 2.0, 3.0, 0.0]], rtol=1e-8)


@given(st.lists(st.tuples(amounts, redshift), min_size=1, max_size=3))
def test_a_spectrum_is_the_stretched_sum(parts):
    rows, z = zip(*parts, strict=True)
    coefficients = torch.from_numpy(np.array(rows))
    flux = templates().spectrum(
        coefficients, torch.from_numpy(GRID), torch.tensor(z, dtype=torch.float64)
    )
    expected = [model(a, GRID, x) for a, x in parts]
    np.testing.assert_allclose(flux.numpy(), expected, rtol=1e-12)


# What the spectra become -------------------------------------------------------------------------


@given(amounts, redshift, st.floats(4000.0, 5500.0), st.floats(6500.0, 9000.0), st.booleans())
def test_a_sum_of_templates_is_continued_exactly(amount, z, low, high, joined):
    short = observed([amount], [z], covered=(low, high))
    longer = short.extend(templates(), joint=200.0 if joined else 0.0)
    expected = model(amount, longer.wavelength.numpy(), z)
    np.testing.assert_allclose(
        longer.flux[0].numpy(), expected, rtol=1e-7, atol=1e-7 * expected.max()
    )
    assert longer.valid.all()
    assert 2050 <= longer.wavelength[0] < 2065
    assert 15900 < longer.wavelength[-1] <= 16000


@given(amounts, redshift, st.floats(1e-3, 1e3))
def test_the_fill_scales_with_the_flux(amount, z, factor):
    rng = np.random.default_rng(0)
    spectra = observed([amount], [z], covered=(4500, 8500))
    noisy = torch.where(
        spectra.valid, spectra.flux + 0.1 * torch.from_numpy(rng.normal(size=GRID.size)), 0
    )
    spectra = replace(spectra, flux=noisy, ivar=100 * spectra.ivar)
    scaled = replace(spectra, flux=factor * noisy, ivar=spectra.ivar / factor**2)
    once, twice = (s.extend(templates()).flux for s in (spectra, scaled))
    np.testing.assert_allclose(twice.numpy(), factor * once.numpy(), rtol=1e-6, atol=1e-9 * factor)


def three_noisy() -> Spectra:
    rng = np.random.default_rng(1)
    spectra = observed([(1, 2, 3), (0, 1, 0), (5, 0, 1)], [0.05, 0.3, 0.2], covered=(4500, 8500))
    noise = 0.1 * torch.from_numpy(rng.normal(size=spectra.flux.shape))
    holes = torch.from_numpy(rng.random(spectra.flux.shape) < 0.05)
    untrusted = torch.from_numpy(rng.random(spectra.flux.shape) < 0.05)
    valid = spectra.valid & ~holes
    return replace(
        spectra,
        flux=torch.where(valid, spectra.flux + noise, 0.0),
        ivar=torch.where(valid & ~untrusted, 100.0, 0.0).double(),
        valid=valid,
    )


def own_pixels(spectra: Spectra, longer: Spectra) -> slice:
    before = int((longer.wavelength < spectra.wavelength[0]).sum())
    return slice(before, before + len(spectra.wavelength))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_measured_pixels_stay_the_same_to_the_bit(dtype):
    spectra = three_noisy()
    spectra = replace(spectra, flux=spectra.flux.to(dtype), ivar=spectra.ivar.to(dtype))
    longer = spectra.extend(templates())
    own = own_pixels(spectra, longer)
    assert longer.flux.dtype == longer.ivar.dtype == dtype
    assert torch.equal(longer.wavelength[own], spectra.wavelength)
    assert torch.equal(longer.flux[:, own][spectra.valid], spectra.flux[spectra.valid])
    assert torch.equal(longer.ivar[:, own], spectra.ivar)
    assert longer.ivar.count_nonzero() == spectra.ivar.count_nonzero()
    assert torch.equal(longer.z, spectra.z)
    assert longer.valid.all()


def test_pixels_of_ivar_0_keep_their_flux_but_do_not_enter_the_fit():
    spectra = observed([(1.0, 2.0, 3.0)], [0.1], covered=(4500, 8500))
    ivar, flux = spectra.ivar.clone(), spectra.flux.clone()
    ivar[0, 150:160], flux[0, 150:160] = 0.0, 1e6
    longer = replace(spectra, flux=flux, ivar=ivar).extend(templates())
    own = own_pixels(spectra, longer)
    assert (longer.flux[0, own][150:160] == 1e6).all()
    rest = torch.ones(len(longer.wavelength), dtype=torch.bool)
    rest[own.start + 150 : own.start + 160] = False
    expected = model((1.0, 2.0, 3.0), longer.wavelength.numpy(), 0.1)
    np.testing.assert_allclose(longer.flux[0][rest].numpy(), expected[rest], rtol=1e-7)
    marked = replace(spectra, flux=flux, ivar=ivar, valid=spectra.valid & (ivar > 0))
    np.testing.assert_allclose(marked.extend(templates()).flux[0].numpy(), expected, rtol=1e-7)


@given(st.permutations(range(3)))
def test_each_spectrum_is_filled_as_if_alone(order):
    spectra = three_noisy()
    together = spectra.extend(templates())
    assert torch.equal(spectra[order].extend(templates()).flux, together.flux[order])
    alone = torch.cat([spectra[[row]].extend(templates()).flux for row in order])
    assert torch.equal(alone, together.flux[order])


def test_beyond_the_ends_the_fit_is_scaled_to_the_data_within_the_joint():
    """A slope that no template has: the flux next to the ends is matched, gaps are the fit's."""
    spectra = three_noisy()
    flux = spectra.flux * (1 + 0.3 * (spectra.wavelength / 6500 - 1))
    spectra = replace(spectra, flux=flux, ivar=1e4 * spectra.ivar)
    plain, joined = (spectra.extend(templates(), joint=joint) for joint in (0.0, 200.0))
    own = own_pixels(spectra, plain)
    coefficients, used = templates().fit(spectra.wavelength, flux, spectra.ivar, spectra.z)
    for row in range(3):
        fit = model(coefficients[row].numpy(), plain.wavelength.numpy(), spectra.z[row].item())
        filled = plain.ivar[row] == 0
        filled[own] &= ~spectra.valid[row]
        np.testing.assert_allclose(plain.flux[row][filled].numpy(), fit[filled.numpy()], rtol=1e-9)
        x = plain.wavelength.numpy()
        seen = x[own][spectra.valid[row].numpy()]
        ratio = joined.flux[row].numpy() / plain.flux[row].numpy()
        inside = (x >= seen[0]) & (x <= seen[-1])
        assert (ratio[inside] == 1).all()
        for beyond, near in (
            (x < seen[0], x[own] < seen[0] + 200),
            (x > seen[-1], x[own] > seen[-1] - 200),
        ):
            near = near & used[row].numpy()
            weight = 1e6 * fit[own][near]
            own_ratio = (weight * flux[row].numpy()[near]).sum() / (weight * fit[own][near]).sum()
            np.testing.assert_allclose(ratio[beyond], own_ratio, rtol=1e-3)


def test_noise_alone_scales_the_ends_by_no_more_than_the_prior_lets_it():
    spectra = observed([(1.0, 2.0, 3.0)], [0.1], covered=(4500, 8500))
    spectra = replace(spectra, ivar=1e-6 * spectra.ivar)
    edge = (spectra.wavelength < 4700) & spectra.valid[0]
    wrong = replace(spectra, flux=torch.where(edge, -50.0, spectra.flux))
    plain, joined = (wrong.extend(templates(), joint=joint).flux for joint in (0.0, 200.0))
    np.testing.assert_allclose(joined.numpy(), plain.numpy(), rtol=1e-3)


def test_outliers_at_an_end_do_not_move_it():
    spectra = observed([(1.0, 2.0, 3.0)], [0.1], covered=(4500, 8500))
    edge = (spectra.wavelength < 4600) & spectra.valid[0]
    wrong = replace(spectra, flux=torch.where(edge, -50.0, spectra.flux), ivar=1e4 * spectra.ivar)
    (right, got) = (s.extend(templates()).flux[0][:100] for s in (spectra, wrong))
    np.testing.assert_allclose(got.numpy(), right.numpy(), rtol=1e-7)


def test_a_spectrum_that_falls_below_zero_ends_at_zero():
    flat = Templates(torch.tensor([1000.0, 25000.0]), torch.ones(1, 2))
    wavelength = 4000 + torch.arange(5000, dtype=torch.float64)
    flux = torch.where(wavelength < 5000, -5.0, 3.0).unsqueeze(0)
    every = torch.ones_like(flux, dtype=torch.bool)
    spectra = Spectra(wavelength, flux, torch.full_like(flux, 0.1), torch.zeros(1), every)
    longer = spectra.extend(flat, joint=900.0)
    assert (longer.flux[0, longer.wavelength < 4000] == 0).all()
    assert (longer.flux[0, longer.wavelength >= 9000] > 2).all()


# The grid ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "grid",
    [
        GRID,
        GRID.astype(np.float32),
        np.arange(4000.0, 9000.0, 10.0),
        10 ** (np.arange(35800, 39640) * 1e-4),
    ],
    ids=["log", "log, float32", "even", "SDSS"],
)
def test_the_grid_grows_by_whole_steps(grid):
    spectra = observed([(1.0, 2.0, 3.0)], [0.1], wavelength=grid.astype(float))
    spectra = replace(spectra, wavelength=torch.from_numpy(grid))
    longer = spectra.extend(templates(), reach=(3000.0, 12000.0)).wavelength
    assert longer.dtype == spectra.wavelength.dtype
    even = longer.double() if grid[1] - grid[0] == grid[-1] - grid[-2] else longer.double().log()
    rtol = 2e-2 if grid.dtype == np.float32 else 1e-6
    np.testing.assert_allclose(even.diff().numpy(), even.diff().mean().item(), rtol=rtol)
    assert 3000 <= longer[0] < 3000 + (longer[1] - longer[0])
    assert 12000 - (longer[-1] - longer[-2]) < longer[-1] <= 12000 + 1e-3
    box = FilterSet(["box"], [[5000.0, 5500.0, 6000.0]], [[0.0, 1.0, 0.0]])
    kind = SyntheticPhotometry(box, spectra.wavelength).sums.grid
    assert SyntheticPhotometry(box, longer).sums.grid == kind


def test_the_grid_is_never_cut():
    spectra = observed([(1.0, 2.0, 3.0)], [0.1], covered=(4500, 8500))
    longer = spectra.extend(templates(), reach=(5000.0, 6000.0))
    assert torch.equal(longer.wavelength, spectra.wavelength)
    np.testing.assert_allclose(longer.flux[0].numpy(), model((1, 2, 3), GRID, 0.1), rtol=1e-7)


def test_an_uneven_grid_is_filled_within_and_refused_beyond():
    grid = np.sort(np.random.default_rng(0).uniform(4000, 9000, 300))
    spectra = observed([(1.0, 2.0, 3.0)], [0.1], wavelength=grid, covered=(4500, 8500))
    with pytest.raises(ValueError, match=r"cannot grow.*reach=\(.*within the grid"):
        spectra.extend(templates())
    within = spectra.extend(templates(), reach=(grid[0], grid[-1]))
    np.testing.assert_allclose(within.flux[0].numpy(), model((1, 2, 3), grid, 0.1), rtol=1e-7)


def test_the_default_goes_no_farther_than_the_templates():
    some = templates()
    cut = (some.wavelength > 2500) & (some.wavelength < 11000)
    some = Templates(some.wavelength[cut], some.flux[:, cut])
    spectra = observed([(1.0, 2.0, 3.0)] * 2, [0.05, 0.3])
    low, high = some.reach(spectra.z)
    assert low == pytest.approx(some.wavelength[0].item() * 1.3)
    assert high == pytest.approx(some.wavelength[-1].item() * 1.05)
    longer = spectra.extend(some)
    assert low <= longer.wavelength[0] < 1.005 * low
    assert high / 1.005 < longer.wavelength[-1] <= high


def test_no_spectra_at_all_stay_none():
    assert len(three_noisy()[[]].extend(templates())) == 0


def test_a_subclass_stays_one():
    class Own(Spectra):
        pass

    spectra = three_noisy()
    names = ("wavelength", "flux", "ivar", "z", "valid")
    own = Own(*(getattr(spectra, name) for name in names))
    assert type(own.extend(templates())) is Own


# Errors ------------------------------------------------------------------------------------------


def changed(tensor, at, value):
    tensor = tensor.clone()
    tensor[at] = value
    return tensor


ALL = templates()


@pytest.mark.parametrize(
    ("wavelength", "flux", "error", "says"),
    [
        (ALL.wavelength.flip(0), ALL.flux, ValueError, ("wavelength must increase",)),
        (ALL.wavelength - 1001, ALL.flux, ValueError, ("wavelength must be positive", "Angstrom")),
        (ALL.wavelength, ALL.flux[0], ValueError, ("flux must have shape (K, T)", "(400,)")),
        (ALL.wavelength, ALL.flux[:0], ValueError, ("flux must have shape (K, T)", "(0, 400)")),
        (ALL.wavelength[1:], ALL.flux, ValueError, ("flux must have the shape (3, 399)",)),
        (ALL.wavelength, -ALL.flux, ValueError, ("flux", "not negative", "clamp")),
        (ALL.wavelength, changed(ALL.flux, 0, torch.nan), ValueError, ("flux", "finite")),
        (ALL.wavelength, changed(ALL.flux, 1, 0.0), ValueError, ("template 1 is zero", "leave")),
        (ALL.wavelength.numpy(), ALL.flux, TypeError, ("wavelength", "torch.Tensor", "ndarray")),
        (ALL.wavelength, ALL.flux.long(), TypeError, ("flux", "floating-point", "int64")),
    ],
)
def test_templates_that_are_none_are_refused(wavelength, flux, error, says):
    with pytest.raises(error, match=".*".join(map(re.escape, says))):
        Templates(wavelength, flux)


@pytest.mark.parametrize(
    ("change", "options", "error", "says"),
    [
        ({"z": changed(three_noisy().z, 1, torch.nan)}, {}, ValueError, ("z must", "nan in row 1")),
        ({"z": changed(three_noisy().z, 2, -1.0)}, {}, ValueError, ("above -1", "-1 in row 2")),
        ({"z": three_noisy().z.half()}, {}, TypeError, ("z must be float32 or float64", "float16")),
        (
            {"ivar": changed(three_noisy().ivar, 1, 0.0)},
            {},
            ValueError,
            ("1 of 3 spectra have no pixel to fit", "row 1", "leave them out"),
        ),
        (
            {"valid": changed(three_noisy().valid, slice(None), False)},
            {},
            ValueError,
            ("3 of 3 spectra have no pixel", "row 0"),
        ),
        (
            {"ivar": changed(three_noisy().ivar, (0, 200), torch.inf)},
            {},
            ValueError,
            ("ivar must be finite",),
        ),
        (
            {"z": changed(three_noisy().z, 1, 9.0)},
            {},
            ValueError,
            ("templates must reach", "1000 to 25000", "z = 9 of row 1", "needs"),
        ),
        ({}, {"reach": (900.0, 9e3)}, ValueError, ("1050 to 26250", "z = 0.05 of row 0", "90")),
        ({}, {"reach": (9e3, 4e3)}, ValueError, ("reach must be (low, high)", "9000.0, 4000.0")),
        ({}, {"reach": (0.0, 4e3)}, ValueError, ("reach must be (low, high)",)),
        ({}, {"joint": -1.0}, ValueError, ("joint must be a width", "-1.0")),
        ({}, {"joint": float("nan")}, ValueError, ("joint must be a width",)),
        ({}, {"templates": ALL.flux}, TypeError, ("templates must be Templates", "Tensor")),
    ],
)  # fmt: skip
def test_what_can_not_be_filled_is_named(change, options, error, says):
    spectra = replace(three_noisy(), **change)
    with pytest.raises(error, match=".*".join(map(re.escape, says))):
        spectra.extend(**{"templates": ALL} | options)


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"flux": torch.ones(GRID.size)}, ValueError, ("flux must have shape (N, L)", "unsqueeze")),
        ({"flux": torch.ones(2, GRID.size)}, ValueError, ("flux must have the shape (3, 320)",)),
        ({"flux": torch.full((3, GRID.size), torch.nan)}, ValueError, ("flux must be finite",)),
        ({"ivar": torch.ones(3, 5)}, ValueError, ("ivar must have the shape (3, 320)",)),
        (
            {"ivar": -torch.ones(3, GRID.size)},
            ValueError,
            ("ivar must be finite and not negative",),
        ),
        ({"z": torch.zeros(3, 1)}, ValueError, ("z must have shape (N,)", "(3, 1)")),
    ],
)
def test_what_can_not_be_fitted_is_named(change, error, says):
    spectra = three_noisy()
    parts = {name: getattr(spectra, name) for name in ("wavelength", "flux", "ivar", "z")} | change
    with pytest.raises(error, match=".*".join(map(re.escape, says))):
        ALL.fit(**parts)


def test_coefficients_of_other_templates_are_refused():
    with pytest.raises(ValueError, match=r"coefficients must have the shape \(1, 3\)"):
        ALL.spectrum(torch.ones(1, 5), torch.from_numpy(GRID), torch.zeros(1))


def test_repr_states_number_and_range():
    assert repr(ALL) == "Templates(3 on 400 wavelengths, 1000-25000 A)"
    assert len(ALL) == 3


# kcorrect's, and real spectra --------------------------------------------------------------------


@pytest.fixture(scope="module")
def kcorrects() -> Templates:
    pytest.importorskip("kcorrect", reason="needs the package kcorrect, of the extra examples")
    return Templates.from_kcorrect()


def test_kcorrects_templates_are_kcorrects(kcorrects):
    import kcorrect
    from kcorrect.template import Template

    path = Path(kcorrect.KCORRECT_DIR) / "data" / "templates" / "kcorrect-default-v4.fits"
    own = Template(filename=str(path), interpolate=False)
    assert kcorrects.flux.shape == (5, 10000)
    np.testing.assert_array_equal(kcorrects.wavelength.numpy(), own.wave)
    np.testing.assert_array_equal(kcorrects.flux.numpy(), own.flux)


def test_sums_have_the_fluxes_that_kcorrect_gives_the_same_coefficients(kcorrects):
    from kcorrect.kcorrect import Kcorrect
    from kcorrect.template import SED

    z = np.array([0.0, 0.1, 0.3])
    fitter = Kcorrect(
        responses=[f"sdss_{band}0" for band in "ugriz"],
        templates=SED(wave=kcorrects.wavelength.numpy(), flux=kcorrects.flux.numpy()),
        nredshift=5,
        redshift_range=[0.0, 0.4],
    )
    scale = 1 / kcorrects.flux.median(-1).values.numpy()
    amounts = scale * np.array([[1.0, 0, 2, 0, 1], [0, 3, 0, 1, 0], [1, 1, 1, 1, 1]])
    expected = fitter.reconstruct(redshift=z, coeffs=amounts)
    wavelength = torch.from_numpy(np.geomspace(2500.0, 12000.0, 20001))
    flux = kcorrects.spectrum(torch.from_numpy(amounts), wavelength, torch.from_numpy(z))
    photometry = SyntheticPhotometry(FilterSet.from_speclite("sdss2010-*"), wavelength)
    bands, _ = photometry(flux, torch.ones(1))
    ratio = bands.squeeze(-2).numpy() / 3631e-23 / expected
    np.testing.assert_allclose(ratio, 1.0, atol=0.1)  # other filter curves, of 2001: u most
    np.testing.assert_allclose(ratio[:, 1:4], 1.0, atol=0.03)


@pytest.mark.slow
def test_templates_are_read_without_importing_kcorrect(kcorrects):
    code = (
        "import sys; from photoz_losses.photometry import Templates; Templates.from_kcorrect();"
        "print({'kcorrect', 'matplotlib'} & set(sys.modules))"
    )
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "set()"


def test_without_kcorrect_the_package_to_install_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "kcorrect", None)
    with pytest.raises(ImportError, match="pip install kcorrect"):
        Templates.from_kcorrect()


@pytest.fixture(scope="module")
def real(spectrum_files, kcorrects):
    """The 17 spectra of the main survey, the same filled, and what the files say of each."""
    spectra = read_sdss_spectra(spectrum_files)
    last = torch.stack([spectra.wavelength[valid][-1] for valid in spectra.valid])
    rows = (last < 9500).nonzero().squeeze(-1)
    summaries = [fits.getdata(spectrum_files[row], 2) for row in rows.tolist()]
    return spectra[rows], spectra[rows].extend(kcorrects), summaries


def magnitudes_off(spectra: Spectra, fluxes: np.ndarray, denominator: str) -> np.ndarray:
    """Synthetic minus catalogue magnitudes in u g r i z, nanomaggies given; (N, 5)."""
    filters = FilterSet.from_speclite("sdss2010-*")
    photometry = SyntheticPhotometry(filters, spectra.wavelength, denominator=denominator)
    bands, _ = photometry(spectra.flux.double(), torch.ones(1), spectra.valid)
    return -2.5 * np.log10(bands.squeeze(-2).numpy() / MAGGIE / fluxes)


def off_the_images(spectra: Spectra, summaries, denominator: str = "full") -> np.ndarray:
    """Offsets from the fibre magnitudes of the images, free of a grey one; NaN where none was."""
    images = np.array([summary["CALIBFLUX"][0] for summary in summaries], dtype=float)
    images[np.array([summary["CALIBFLUX_IVAR"][0] for summary in summaries]) == 0] = np.nan
    offset = magnitudes_off(spectra, images, denominator)
    return offset - np.nanmedian(offset[:, 1:4], axis=1, keepdims=True)


def test_filled_real_spectra_keep_what_was_measured(real):
    spectra, filled, _ = real
    own = own_pixels(spectra, filled)
    assert len(spectra) == 17
    assert torch.equal(filled.flux[:, own][spectra.valid], spectra.flux[spectra.valid])
    assert torch.equal(filled.ivar[:, own], spectra.ivar)
    assert (filled.flux[filled.ivar == 0] > -1).all()


def test_filled_u_and_z_are_those_of_the_images_and_padding_is_far_off(real):
    """docs/filling.md, first table, which nothing in the spectra could have told."""
    spectra, filled, summaries = real
    offset = off_the_images(filled, summaries)
    padded = off_the_images(spectra, summaries)
    covered = off_the_images(spectra, summaries, "covered")
    median, worst = np.nanmedian(offset, axis=0), np.nanmax(np.abs(offset), axis=0)
    stated = [-0.078, 0.0, 0.0, 0.007, 0.015]
    np.testing.assert_allclose(median, stated, rtol=0, atol=0.02)
    assert worst[0] < 0.6
    assert worst[4] < 0.2
    assert np.nanmedian(padded[:, 0]) == pytest.approx(1.86, abs=0.02)
    assert np.nanmedian(padded[:, 4]) == pytest.approx(0.37, abs=0.02)
    assert np.nanmedian(covered[:, 0]) == pytest.approx(-0.44, abs=0.02)
    assert np.nanmedian(covered[:, 4]) == pytest.approx(0.075, abs=0.01)
    closer = np.abs(offset) < np.abs(padded)
    assert closer[:, 0].all()
    assert closer[np.isfinite(offset[:, 4]), 4].all()


def test_the_catalogues_spectroflux_is_the_mean_over_what_the_spectrum_covers(real):
    """So that the 2.2 and 0.29 mag of zero padding from it state the coverage, nothing unseen."""
    spectra, _, summaries = real
    own = np.array([summary["SPECTROFLUX"][0] for summary in summaries], dtype=float)
    covered, padded = (magnitudes_off(spectra, own, way) for way in ("covered", "full"))
    assert (np.abs(covered[:, 4]) < 0.05).all()
    assert np.median(np.abs(covered[:, 0])) < 0.15
    np.testing.assert_allclose(np.median(padded[:, [0, 4]], axis=0), [2.196, 0.290], atol=0.01)


def test_measured_flux_that_was_cut_away_is_predicted(real, kcorrects):
    spectra = real[0]
    x = spectra.wavelength
    kept = spectra.valid & (x > 4200) & (x < 8400)
    cut = replace(spectra, valid=kept, ivar=torch.where(kept, spectra.ivar, 0.0))
    guess = cut.extend(kcorrects)
    guess = guess.flux[:, own_pixels(spectra, guess)]
    for low, high, typical, largest in ((4000, 4200, 0.07, 0.8), (8400, 8800, 0.03, 0.1)):
        seen = spectra.valid & (spectra.ivar > 0) & (x > low) & (x < high)
        off = -2.5 * torch.log10((guess * seen).sum(-1) / (spectra.flux * seen).sum(-1)).abs()
        assert off.abs().median() < typical
        assert off.abs().max() < largest


def test_every_cell_of_a_filled_spectrum_is_usable(real):
    filled = real[1]
    bins = RedshiftBins.uniform(0.0, 0.4, 180)
    photometry = SyntheticPhotometry(FilterSet.from_speclite("sdss2010-*"), filled.wavelength)
    nu = (1 + bins.centers) / (1 + filled.z.unsqueeze(-1))
    _, coverage = photometry(filled.flux, nu, filled.valid)
    assert coverage.min() > 1 - 1e-4
    residual, weight = flux_residual(photometry, filled.flux, filled.z, bins, valid=filled.valid)
    assert (weight == 1).all()
    assert (residual != 0).double().mean() > 0.999


def test_what_takes_ivar_leaves_filled_pixels_out():
    """So says docs/filling.md: the table is then that of the measured part."""
    spectra = three_noisy()
    longer = spectra.extend(templates())
    bins = RedshiftBins.uniform(0.0, 0.4, 20)
    filters = FilterSet(
        ["beyond", "within"], [[8700, 9200, 9700], [5000, 5500, 6000]], [[0, 1, 0]] * 2
    )
    photometry = SyntheticPhotometry(filters, longer.wavelength)
    case = photometry, longer.flux, longer.z, bins
    assert (flux_residual(*case, valid=longer.valid)[1] == 1).all()
    _, weight = flux_residual(*case, valid=longer.valid, ivar=longer.ivar, min_coverage=0.1)
    assert (weight == torch.tensor([0.0, 1.0])).all()
