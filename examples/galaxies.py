"""Galaxies to train on: real SDSS fluxes, redshifts and extinctions, with rendered images.

Real, from the 10,000 SDSS galaxies that the ``kcorrect`` package carries: model fluxes and their
errors, redshift, extinction. After the paper's cut, dereddened petroMag_r < 17.77 and
0 < z <= 0.4, 9,783 remain. Fitted: the spectrum of each, kcorrect's five templates on the
dereddened fluxes. The fluxes are taken as AB (kcorrect's ``abcorrect=False``), so that the spectrum
has the catalogue's own magnitudes. Rendered, with these fluxes: the images (``rendering.py``).
"""

import functools
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from importlib.metadata import version
from importlib.resources import as_file, files
from itertools import pairwise
from pathlib import Path
from typing import Any, Self, TypeVar

import cached_arrays
import h5py
import numpy as np
import rendering
import torch
from astropy.cosmology import Planck18
from astropy.io import fits
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[Any]

BANDS = [f"sdss_{band}0" for band in "ugriz"]  # kcorrect's names
ERROR_FLOOR = (0.05, 0.02, 0.02, 0.02, 0.03)  # relative, those of kcorrect's older k_sdssfix
SDSS_R_EXTINCTION = 2.751  # A_r / E(B-V), Stoughton et al. 2002
WAVELENGTH = 10.0 ** np.arange(np.log10(2050.0), np.log10(16100.0), 2e-4)  # magnitudes to 4e-4


@dataclass(frozen=True)
class Photometry:
    """Fluxes in u g r i z, redshifts and spectra of N galaxies.

    ``flux`` and ``flux_error`` [N, 5] are dereddened, in nanomaggies; ``ebv``, ``z_spec`` and
    ``row`` (in kcorrect's file) [N]; ``wavelength`` [L], observed frame, in Å, wide enough for all
    five filters at any pair of redshifts in [0, 0.4]; ``spectrum`` [N, L] in
    1e-17 erg/s/cm²/Å.
    """

    flux: Tensor
    flux_error: Tensor
    ebv: Tensor
    z_spec: Tensor
    row: Tensor
    wavelength: Tensor
    spectrum: Tensor

    def __len__(self) -> int:
        return len(self.z_spec)

    def subset(self, index: Tensor) -> Self:
        """Those galaxies that ``index``, integer or boolean, names."""
        taken = {f.name: getattr(self, f.name) for f in fields(self)}
        return type(self)(**{k: v if k == "wavelength" else v[index] for k, v in taken.items()})


@dataclass(frozen=True)
class Galaxies(Photometry):
    """The same with ``image`` [N, 5, 64, 64], nanomaggies a pixel, as observed."""

    image: Tensor


ARRAYS = tuple(field.name for field in fields(Galaxies))
AnyGalaxies = TypeVar("AnyGalaxies", bound=Photometry)


def split(
    galaxies: AnyGalaxies, fractions: Sequence[float] = (0.7, 0.1, 0.2), seed: int = 0
) -> tuple[AnyGalaxies, ...]:
    """Disjoint random parts, one for each of the ``fractions`` (training, validation, test)."""
    if min(fractions) < 0 or sum(fractions) > 1 + 1e-9:
        raise ValueError(f"fractions must be >= 0 and sum to at most 1, got {tuple(fractions)}")
    order = torch.randperm(len(galaxies), generator=torch.Generator().manual_seed(seed))
    ends = [0, *(round(len(galaxies) * end) for end in np.cumsum(fractions))]
    return tuple(galaxies.subset(order[start:end]) for start, end in pairwise(ends))


def load_photometry(n_galaxies: int | None = None, *, seed: int = 0) -> Photometry:
    """Read the first ``n_galaxies`` (all if None) of the seed's order; some five seconds."""
    return _photometry(_read_catalogue(n_galaxies, seed))[0]


def load_galaxies(
    n_galaxies: int | None = None,
    *,
    seed: int = 0,
    seeing: float = 1.0,
    cache: str | Path | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> Galaxies:
    """Read and draw ``n_galaxies``, or take them from the cache; ValueError if that is damaged.

    Galaxy k is the same for any ``n_galaxies``, any ``seeing`` (in units of the usual one) and any
    number of ``workers`` (default: one for each core). ``cache``: folder, default
    ``$PHOTOZ_LOSSES_CACHE`` or ``~/.cache/photoz_losses``. With more than one worker, the calling
    script needs its ``if __name__ == "__main__":``.
    """
    path = cache_path(n_galaxies, seed, cache, seeing)
    if not path.exists():
        catalogue = _read_catalogue(n_galaxies, seed)
        photometry, magnitude = _photometry(catalogue)
        arcsec_per_kpc = Planck18.arcsec_per_kpc_proper(catalogue["Z"]).value
        colour = magnitude[:, 1] - magnitude[:, 2]
        looks = np.column_stack([catalogue["row"], magnitude[:, 2], colour, arcsec_per_kpc])
        flux = catalogue["MODELFLUX"]
        image = rendering.draw_all(looks, flux, seed, workers, progress, seeing)
        write(path, Galaxies(**vars(photometry), image=torch.from_numpy(image)))
    return read(path)


def write(path: Path, galaxies: Galaxies) -> None:
    """Write a file of the cache."""
    cached_arrays.write(path, {name: getattr(galaxies, name).numpy() for name in ARRAYS})


def read(path: Path) -> Galaxies:
    """Read a file of the cache; ValueError if it is not what was written, by its checksum."""
    cached_arrays.check(path, ARRAYS)
    with h5py.File(path) as file:
        return Galaxies(**{name: torch.from_numpy(file[name][()]) for name in ARRAYS})


def cache_path(
    n_galaxies: int | None, seed: int, cache: str | Path | None = None, seeing: float = 1.0
) -> Path:
    """Where the rendered set lies; the name carries a hash of everything that shapes it.

    That is the source of this file, of ``rendering.py`` and of ``cached_arrays.py``, and the
    packages that they lean on: what other sources wrote, such as files without a checksum, is not
    read.
    """
    packages = [f"{name} {version(name)}" for name in ("kcorrect", "galsim", "astropy")]
    modules = (__file__, rendering.__file__, cached_arrays.__file__)
    sources = [Path(module).read_text() for module in modules]
    recipe = json.dumps([n_galaxies, seed, seeing, *packages, *sources])
    digest = hashlib.sha256(recipe.encode()).hexdigest()[:12]
    default = os.environ.get("PHOTOZ_LOSSES_CACHE") or Path.home() / ".cache" / "photoz_losses"
    return Path(cache or default) / f"galaxies_{n_galaxies or 'all'}_{digest}.h5"


def _columns(name: str, columns: Sequence[str]) -> list[Array]:
    """Columns of the first table of one of kcorrect's files."""
    with (
        as_file(files("kcorrect") / "data" / name) as path,
        fits.open(path, memmap=False) as hdus,
    ):
        return [hdus[1].data[column].astype(np.float64) for column in columns]


def _read_catalogue(n_galaxies: int | None, seed: int) -> dict[str, Array]:
    """Rows that pass the cut, shuffled by ``seed``, fluxes in nanomaggies as observed."""
    names = ("MODELFLUX", "MODELFLUX_IVAR", "PETROFLUX", "EXTINCTION", "Z")
    data = dict(zip(names, _columns("test/gst_tests_small.fits", names), strict=True))
    petro_r = data.pop("PETROFLUX")[:, 2] * 10 ** (0.4 * data["EXTINCTION"][:, 2])
    bright = petro_r > 10 ** (0.4 * (22.5 - 17.77))
    finite = np.isfinite(data["MODELFLUX"]).all(1) & (data["MODELFLUX_IVAR"] > 0).all(1)
    (row,) = np.nonzero(bright & finite & (data["Z"] > 0) & (data["Z"] <= 0.4))
    if n_galaxies is not None and not 0 < n_galaxies <= len(row):
        raise ValueError(f"n_galaxies must be in 1 ... {len(row)} or None, got {n_galaxies}")
    row = np.random.default_rng(seed).permutation(row)[:n_galaxies]
    return {"row": row, **{name: values[row] for name, values in data.items()}}


def _photometry(catalogue: dict[str, Array]) -> tuple[Photometry, Array]:
    """Deredden and fit; also the absolute magnitudes [N, 5] in the bands blueshifted by 0.1."""
    # Imported here since they bring matplotlib, which the workers that draw need not load.
    from kcorrect.utils import error_floor

    clear = 10 ** (0.4 * catalogue["EXTINCTION"])
    flux, ivar = catalogue["MODELFLUX"] * clear, catalogue["MODELFLUX_IVAR"] / clear**2
    z = catalogue["Z"]
    fitter, wave, templates = _fitter()
    floored = error_floor(floor=ERROR_FLOOR, maggies=1e-9 * flux, ivar=1e18 * ivar)
    coefficients = fitter.fit_coeffs(redshift=z, maggies=1e-9 * flux, ivar=floored)
    rest = fitter.reconstruct(redshift=np.zeros_like(z), coeffs=coefficients, band_shift=0.1)
    absolute = -2.5 * np.log10(rest) - Planck18.distmod(z).value[:, None]
    spectrum = _spectra(coefficients, z, wave, templates)
    arrays = (flux, ivar**-0.5, catalogue["EXTINCTION"][:, 2] / SDSS_R_EXTINCTION, z)
    tensors = [torch.from_numpy(array.astype(np.float32)) for array in arrays]
    other = (catalogue["row"], WAVELENGTH, spectrum)
    return Photometry(*tensors, *map(torch.from_numpy, other)), absolute


@functools.cache
def _fitter() -> tuple[Any, Array, Array]:
    """What fits kcorrect's templates, their wavelength in Å and their flux, one row each."""
    from kcorrect.kcorrect import Kcorrect
    from kcorrect.template import SED

    # Given by hand, since kcorrect leaves the file open that it reads its templates from.
    wave, templates = _columns("templates/kcorrect-default-v4.fits", ("WAVE", "FLUX"))
    # The set-up integrates every template at each of these redshifts: 401 take 1.4 s, kcorrect's
    # own 4,000 up to z = 2 take 14 s.
    fitter = Kcorrect(
        responses=BANDS,
        templates=SED(wave=wave[0], flux=templates[0]),
        nredshift=401,
        redshift_range=[0.0, 0.4],
    )
    return fitter, wave[0], templates[0]


def _spectra(coefficients: Array, z: Array, wave: Array, templates: Array) -> Array:
    """Best-fit spectra [N, L] at z on ``WAVELENGTH``, 1e-17 erg/s/cm²/Å."""
    near = (wave > 1400) & (wave < 16500)
    wave, templates = wave[near], 1e17 * templates[:, near]
    spectrum = np.empty((len(z), len(WAVELENGTH)), np.float32)
    for k, stretch in enumerate(1 + z):
        flux = coefficients[k] @ templates
        spectrum[k] = np.interp(WAVELENGTH, wave * stretch, flux / stretch)
    return spectrum
