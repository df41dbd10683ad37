"""Grids, filters, spectra and shifts that hypothesis draws, and the slow double loop over them."""

import numpy as np
import torch
from astropy.io import fits
from hypothesis import strategies as st
from reference import C_ANGSTROM, flux_in_band
from strategies import fractions
from torch import Tensor

from photoz_losses.photometry import FilterSet

SDSS_GRID = 10 ** (np.arange(35800, 39640) * 1e-4)  # 3802-9198 A, as a main-survey spectrum
GRIDS = ("even in log", "even", "irregular", "steps that shrink")


@st.composite
def wavelengths(draw, kind: str | None = None, least: int = 2, most: int = 30) -> np.ndarray:
    """Increasing wavelengths from about 3,000 A to 6,000-9,500 A, spaced in one of four ways."""
    kind = draw(st.sampled_from(GRIDS)) if kind is None else kind
    pixels = draw(st.integers(least, most))
    start, end = draw(st.floats(3000.0, 3500.0)), draw(st.floats(6000.0, 9500.0))
    if kind == "even in log":
        return start * (end / start) ** (np.arange(pixels) / (pixels - 1))
    if kind == "even":
        return np.linspace(start, end, pixels)
    steps = 0.01 + 0.99 * draw(fractions(pixels - 1))
    if kind == "steps that shrink":
        steps = np.sort(steps)[::-1]
    return start + np.concatenate([[0.0], steps.cumsum()]) * (end - start) / steps.sum()


@st.composite
def filter_sets(draw, closed: bool | None = None, most: int = 3) -> FilterSet:
    """One to three bands of 2 to 7 knots, 200 A apart or more; `closed` ones end on zero."""
    curves = []
    for _ in range(draw(st.integers(1, most))):
        shut = draw(st.booleans()) if closed is None else closed
        inner = draw(st.integers(1 if shut else 0, 5))
        steps = 200.0 + 1300.0 * draw(fractions(inner + 1))
        given, level = draw(fractions((2, inner + 2)))
        y = np.where(given > 0.5, 0.05 + 0.95 * level, 0.0)
        y[draw(st.integers(1, inner) if shut else st.integers(0, inner + 1))] = 1.0
        if shut:
            y[[0, -1]] = 0.0
        curves.append((draw(st.floats(3500.0, 5900.0)) + np.concatenate([[0], steps.cumsum()]), y))
    names = [f"band {number}" for number in range(len(curves))]
    return FilterSet(names, [x for x, _ in curves], [y for _, y in curves])


@st.composite
def spectra(draw, *shape: int, kinds: tuple[int, ...] = (0, 1, -1)) -> Tensor:
    """Flux densities of the given shape, of the given `kinds` of sign; sizes 0.1 to 10, float64."""
    kind, size = draw(fractions((2, *shape)))
    sign = np.array(kinds)[(kind * len(kinds)).astype(int).clip(max=len(kinds) - 1)]
    return torch.from_numpy(sign * (0.1 + 9.9 * size))


def shifts(*shape: int, low: float = 0.5, high: float = 2.0):
    """nu, by default such that filters move off one end of the grid or the other; float64."""
    return fractions(shape).map(lambda drawn: torch.from_numpy(low + (high - low) * drawn))


@st.composite
def observed(draw, kind: str | None = None, closed: bool | None = None, most_pixels: int = 30):
    """A grid, filters, one spectrum and some shifts: (wavelength, filters, flux, nu)."""
    wavelength = draw(wavelengths(kind, most=most_pixels))
    filters = draw(filter_sets(closed))
    flux = draw(spectra(len(wavelength)))
    return wavelength, filters, flux, draw(shifts(draw(st.integers(1, 4))))


def off_the_knots(wavelength, filters: FilterSet, nu: Tensor, angstrom: float) -> bool:
    """Whether no shifted pixel comes nearer than `angstrom` to a tabulated wavelength.

    On a knot a slope is not defined, and on a jump rounding decides what a value is.
    """
    moved = nu.reshape(-1, 1) * torch.as_tensor(wavelength)
    knots = torch.cat(filters.wavelengths)
    return bool((moved.unsqueeze(-1) - knots).abs().min() > angstrom)


def at_least_some_scale(largest: Tensor, wavelength, flux: Tensor, nu: Tensor) -> Tensor:
    """`largest`, or a thousandth of the largest f_nu: where all flux lies in a curve's zeros,
    the value is nothing but rounding.
    """
    f_nu = torch.as_tensor(wavelength).square() * flux.abs() * nu.max().square() / C_ANGSTROM
    return torch.maximum(largest, 1e-3 * f_nu.max())


def double_loop(wavelength, flux: Tensor, filters: FilterSet, nu: Tensor, denominator="covered"):
    """Flux in bands and coverage of one spectrum, one shift and one band at a time; (C, B) each."""
    curves = [
        (x.numpy(), y.numpy()) for x, y in zip(filters.wavelengths, filters.responses, strict=True)
    ]
    pairs = [
        [
            flux_in_band(np.asarray(wavelength), flux.numpy(), x, y, shift, denominator)
            for x, y in curves
        ]
        for shift in nu.tolist()
    ]
    table = torch.tensor(pairs, dtype=torch.float64).reshape(len(nu), len(filters), 2)
    return table[..., 0], table[..., 1]


def assert_meets_the_bounds(got, expected, largest: Tensor | None = None) -> None:
    """1e-10 of the largest value above coverage 1e-3, 1e-7 above 1e-6, 0 at 0.

    `largest`: of a spectrum whose signs cancel, the largest value without its signs.
    """
    (bands, coverage), (bands_loop, coverage_loop) = got, expected
    assert bands.shape == coverage.shape == bands_loop.shape
    if bands.numel() == 0:
        return
    largest = bands_loop.abs().max() if largest is None else largest
    error = (bands - bands_loop).abs()
    assert (error[coverage_loop > 1e-3] <= 1e-10 * largest).all()
    assert (error[coverage_loop > 1e-6] <= 1e-7 * largest).all()
    assert (bands[coverage_loop == 0] == 0).all()
    assert (coverage[coverage_loop == 0] == 0).all()
    assert ((coverage - coverage_loop.clamp(max=1)).abs() <= 1e-10).all()


def write_spectrum(path, first: int, flux, z: float = 0.1, ivar=None, drop=(), offset: float = 0.0):
    """A file in the layout of spec-PLATE-MJD-FIBER.fits, from pixel `first` of SDSS's log grid."""
    flux = np.asarray(flux, dtype=np.float32)
    columns = {
        "flux": flux,
        "loglam": ((first + np.arange(len(flux)) + offset) * 1e-4).astype(np.float32),
        "ivar": np.ones_like(flux) if ivar is None else np.asarray(ivar, dtype=np.float32),
    }
    summary = fits.BinTableHDU.from_columns([fits.Column("Z", "E", array=[z])])
    coadd = fits.BinTableHDU.from_columns(
        [
            fits.Column(name, "E", array=values)
            for name, values in columns.items()
            if name not in drop
        ]
    )
    hdus = [fits.PrimaryHDU(), coadd] + [summary] * ("Z" not in drop)
    fits.HDUList(hdus).writeto(path)
    return path
