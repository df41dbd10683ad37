"""Flux in bands by other packages: one spectrum at many redshifts, each by its best public call.

Each function makes what that package can prepare from the filters `curves`, the observed
`wavelength` (L,) and the shifts `nu` (N, C), and returns a function from flux (N, L) to flux in
bands (N, C, B) as `SyntheticPhotometry` defines it with ``denominator="full"``: F(nu * wavelength)
is F(wavelength), nothing is dimmed, erg/s/cm2/Hz. The package's own convention, and the factor
that leads from it to this one, is said in each. Where nothing was measured the flux is zero: most
want spectra that reach over the whole filter, and get zeros there.

None of them is a dependency of anything here; a package that is missing raises ImportError.
"""

import tempfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Peer = Callable[[Array], Array]
Curves = list[tuple[Array, Array]]
MAGGIE = 3.631e-20  # erg/s/cm2/Hz
SPEED_OF_LIGHT = 2.99792458e18


def speclite(curves: Curves, wavelength: Array, nu: Array) -> Peer:
    """AB maggies, f_lambda as it comes: only the unit differs."""
    from speclite import filters

    load_these = filters.load_filters(*(_speclite(filters, *pair) for pair in enumerate(curves)))
    padded, inside = _padded(wavelength, curves, nu)

    def one(flux: Array, shift: float) -> Any:
        return load_these.get_ab_maggies(flux, shift * padded, mask_invalid=False)

    def run(flux: Array) -> Array:
        spectra = _fill(flux, len(padded), inside)
        tables = [[one(f, x) for x in shifts] for f, shifts in zip(spectra, nu, strict=True)]
        return MAGGIE * np.array([[list(table[0]) for table in row] for row in tables])

    return run


def fastspecfit(curves: Curves, wavelength: Array, nu: Array) -> Peer:
    """AB maggies, f_lambda as it comes; its denominators are sums over the spectrum's pixels."""
    from fastspecfit.photometry import Photometry
    from speclite import filters

    load_these = filters.load_filters(*(_speclite(filters, *pair) for pair in enumerate(curves)))
    padded, inside = _padded(wavelength, curves, nu)
    evaluate = Photometry.get_ab_maggies_unchecked

    def run(flux: Array) -> Array:
        spectra = _fill(flux, len(padded), inside)
        return MAGGIE * np.array(
            [
                [evaluate(load_these, f, shift * padded) for shift in shifts]
                for f, shifts in zip(spectra, nu, strict=True)
            ]
        )

    return run


def galsim(curves: Curves, wavelength: Array, nu: Array) -> Peer:
    """Photons/s/cm2; a redshift keeps photons a wavelength, so that f_lambda goes with 1 / nu.

    Hence nu times the photons over those of 1 erg/s/cm2/Hz.
    """
    import galsim as gs

    def table(x: Array, y: Array) -> Any:
        return gs.LookupTable(x, y, interpolant="linear")

    passes = [gs.Bandpass(table(*curve), wave_type="Ang") for curve in curves]
    reach = np.array([1.0, 1e6])
    even = np.geomspace(1e3, 1e5, 50_000)
    flat = gs.SED(table(even, np.ones_like(even)), wave_type="Ang", flux_type="fnu")
    whole = np.array([flat.calculateFlux(band) for band in passes])
    ends = wavelength[[0, -1]] * [1 - 1e-12, 1 + 1e-12]
    x = np.concatenate([reach[:1], ends[:1], wavelength, ends[1:], reach[1:]])

    def run(flux: Array) -> Array:
        rows = []
        for f, shifts in zip(flux, nu, strict=True):
            y = np.pad(f, 2)
            sed = gs.SED(table(x, y), wave_type="Ang", flux_type="flambda")
            shifted = [sed.atRedshift(shift - 1) for shift in shifts]
            rows.append([[each.calculateFlux(band) for band in passes] for each in shifted])
        photons = np.array(rows)
        bands: Array = photons / whole * nu[..., None]
        return bands

    return run


def sedpy(curves: Curves, wavelength: Array, nu: Array) -> Peer:
    """AB maggies, f_lambda as it comes, the filter interpolated at the pixels; c is 2.998e18."""
    from sedpy.observate import getSED, lightspeed

    passes = _sedpy(curves)

    def run(flux: Array) -> Array:
        with np.errstate(divide="ignore"):  # it goes by magnitudes; a filter not reached gives NaN
            rows = [
                [getSED(x * wavelength, f, passes, linear_flux=True) for x in shifts]
                for f, shifts in zip(flux, nu, strict=True)
            ]
        bands: Array = np.array(rows) * (MAGGIE * lightspeed / SPEED_OF_LIGHT)
        return bands

    return run


def sedpy_grid(curves: Curves, wavelength: Array, nu: Array) -> Peer:
    """The same from its FilterSet: the spectrum put on one grid, then a product."""
    from sedpy.observate import FilterSet, lightspeed

    with tempfile.TemporaryDirectory() as folder:
        names = [f"band_{number}" for number in range(len(curves))]
        for name, curve in zip(names, curves, strict=True):
            np.savetxt(Path(folder) / f"{name}.par", np.stack(curve, -1))
        passes = FilterSet(names, directory=folder)

    def run(flux: Array) -> Array:
        rows = [
            [passes.get_sed_maggies(f, x * wavelength) for x in shifts]
            for f, shifts in zip(flux, nu, strict=True)
        ]
        bands: Array = np.array(rows) * (MAGGIE * lightspeed / SPEED_OF_LIGHT)
        return bands

    return run


def dsps(curves: Curves, wavelength: Array, nu: Array) -> Peer:
    """AB magnitudes of f_nu as it comes, the spectrum interpolated at the filter's wavelengths.

    f_lambda as it comes is nu squared times that. Its unit is 1.13492e-13 for 3631 Jy.
    """
    return _dsps(curves, wavelength, nu)


def dsps_fine(curves: Curves, wavelength: Array, nu: Array) -> Peer:
    """The same with the filters given at every Angstrom."""
    fine = [np.arange(x[0], x[-1] + 1) for x, _ in curves]
    pairs = zip(fine, curves, strict=True)
    return _dsps([(x, np.interp(x, *curve)) for x, curve in pairs], wavelength, nu)


def _dsps(curves: Curves, wavelength: Array, nu: Array) -> Peer:
    import jax
    from dsps.photometry.photometry_kernels import AB0, calc_rest_mag

    jax.config.update("jax_enable_x64", True)  # type: ignore[no-untyped-call, unused-ignore]

    def shifted(flux: Any, shift: Any) -> Any:
        magnitudes = [calc_rest_mag(shift * wavelength, flux, *curve) for curve in curves]
        return shift**2 * 10 ** (-0.4 * jax.numpy.stack(magnitudes))

    over_all = jax.jit(jax.vmap(jax.vmap(shifted, in_axes=(None, 0))))
    unit = wavelength**2 / SPEED_OF_LIGHT * (AB0 / MAGGIE)

    def run(flux: Array) -> Array:
        return np.array(MAGGIE * over_all(flux * unit, nu))

    return run


PEERS: dict[str, tuple[str, Callable[[Curves, Array, Array], Peer]]] = {
    "speclite, get_ab_maggies": ("speclite", speclite),
    "GalSim, calculateFlux": ("galsim", galsim),
    "fastspecfit, get_ab_maggies_unchecked": ("fastspecfit", fastspecfit),
    "sedpy, getSED": ("astro-sedpy", sedpy),
    "sedpy, FilterSet": ("astro-sedpy", sedpy_grid),
    "DSPS, calc_rest_mag, jit": ("dsps", dsps),
    "DSPS, filters at every Å": ("dsps", dsps_fine),
}


def version(package: str) -> str:
    return metadata.version(package)


def _speclite(filters: Any, number: int, curve: tuple[Array, Array]) -> str:
    """The curve as a speclite filter; the name by which it is loaded."""
    meta = {"group_name": "benchmark", "band_name": f"b{number}"}
    return str(filters.FilterResponse(*curve, meta).name)


def _padded(wavelength: Array, curves: Curves, nu: Array) -> tuple[Array, slice]:
    """The grid continued, even in log wavelength, until it spans every filter at every shift.

    A hair from the spectrum's ends stands one pixel more, where the flux is zero already: else it
    would fall to zero over a pixel that was not measured.
    """
    step = np.log(wavelength[-1] / wavelength[0]) / (len(wavelength) - 1)
    low = min(x[0] for x, _ in curves) / nu.max()
    high = max(x[-1] for x, _ in curves) / nu.min()
    below = max(0, int(np.log(wavelength[0] / low) / step) + 2)
    above = max(0, int(np.log(high / wavelength[-1]) / step) + 2)
    hair = np.array([1 - 1e-9, 1 + 1e-9])
    left, right = wavelength[[0, -1]] * hair
    left = np.append(wavelength[0] * np.exp(step * np.arange(-below, 0)), left)
    right = np.append(right, wavelength[-1] * np.exp(step * np.arange(1, above + 1)))
    grid = np.concatenate([left, wavelength, right])
    return grid, slice(below + 1, below + 1 + len(wavelength))


def _fill(flux: Array, count: int, inside: slice) -> Array:
    spectra = np.zeros((len(flux), count))
    spectra[:, inside] = flux
    return spectra


def _sedpy(curves: Curves) -> list[Any]:
    from sedpy.observate import Filter

    return [Filter(f"band_{n}", data=curve, min_trans=0) for n, curve in enumerate(curves)]
