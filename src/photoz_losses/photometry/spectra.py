"""Spectra on one common wavelength grid, and the reader of SDSS files."""

import warnings
from collections.abc import Iterable
from dataclasses import dataclass, fields
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from photoz_losses import _check
from photoz_losses.photometry._rows import checked
from photoz_losses.photometry.templates import Templates

REACH = (2050.0, 16000.0)  # sdss2010 u to z of a galaxy in [0, 0.4], moved anywhere in [0, 0.4]
JOINT_SCATTER = 0.1  # how far from 1 a ratio of data to fit is expected
SDSS_STEP = 1e-4  # of log10 wavelength between pixels of every SDSS and BOSS spectrum
DAMAGE = (  # what astropy raises where bytes are not as they should be
    *(OSError, EOFError, ValueError, TypeError, AttributeError, LookupError, ArithmeticError),
    *(RuntimeError, MemoryError, UserWarning, SyntaxError),
)
OFF_GRID = 0.05  # of a step: what rounding to float32 may do to a wavelength on the grid


@dataclass(frozen=True)
class Spectra:
    """Spectra on one wavelength grid, each with its own covered part.

    Parameters
    ----------
    wavelength : Tensor, shape (L,)
        Observed (vacuum) wavelengths in Angstrom, strictly increasing.
    flux : Tensor, shape (N, L)
        Flux density per unit wavelength; SDSS: 1e-17 erg/s/cm2/A.
    ivar : Tensor, shape (N, L)
        Inverse variance of `flux`, not negative; 0 where the pipeline trusts nothing.
    z : Tensor, shape (N,)
        Redshifts.
    valid : Tensor of bool, shape (N, L)
        Pixels that each spectrum has. `flux` and `ivar` are 0 elsewhere.

    Raises
    ------
    ValueError
        If shapes disagree, wavelengths do not increase, a valid flux is not finite, or an inverse
        variance is negative.
    TypeError
        If one is no floating-point tensor, or `valid` no bool tensor; in ``spectra[index]``, if
        `index` is a tuple (write ``spectra[[0, 1]]``), sparse or on the device meta, or an array
        with a mask of its own.
    IndexError
        In ``spectra[index]``, if a spectrum is not there, a mask has another length, or `index` is
        none.

    Examples
    --------
    Of two galaxies, nothing was measured redward of 8900 Å:

    >>> import torch
    >>> from photoz_losses.photometry import Spectra
    >>> wavelength = torch.linspace(3800.0, 9200.0, 1000)
    >>> valid = (wavelength < 8900).expand(2, -1)
    >>> flux, ivar = 1.0 * valid, 4.0 * valid
    >>> spectra = Spectra(wavelength, flux, ivar, torch.tensor([0.1, 0.2]), valid)
    >>> len(spectra), spectra.valid.sum(-1)
    (2, tensor([944, 944]))
    """

    wavelength: Tensor
    flux: Tensor
    ivar: Tensor
    z: Tensor
    valid: Tensor

    def __post_init__(self) -> None:
        for name in ("wavelength", "flux", "ivar", "z"):
            _check.floating(name, getattr(self, name))
        _check.increasing("wavelength", self.wavelength, at_least=2)
        if self.flux.ndim != 2:
            raise ValueError(
                f"flux must have shape (N, L), got {tuple(self.flux.shape)}: for one spectrum "
                f"call flux.unsqueeze(0)"
            )
        _check.same_shape("flux", self.flux, (len(self.flux), len(self.wavelength)), "the grid")
        _check.same_shape("ivar", self.ivar, self.flux.shape, "flux")
        _check.mask("valid", self.valid, self.flux.shape, "flux")
        _check.same_shape("z", self.z, self.flux.shape[:1], "the spectra")
        if not self.flux[self.valid].isfinite().all():
            raise ValueError(
                "flux must be finite at valid pixels, got NaN or infinity: mark those pixels "
                "invalid, valid=flux.isfinite()"
            )
        if not (self.ivar >= 0).all():
            raise ValueError(
                f"ivar must not be negative or NaN, got {_check.span(self.ivar)}: 0 marks an "
                f"untrusted pixel"
            )

    def __len__(self) -> int:
        return len(self.flux)

    def __getitem__(self, index: Any) -> Self:
        """Some of the spectra, by slice, list, or index or bool tensor, on the same grid.

        A single integer gives Spectra of one, and may count from the end; in a list or a tensor a
        negative number, often a sign of "not found", raises IndexError, as a row that is not there.
        """
        index = checked(index, len(self), "spectra")
        rows = torch.arange(len(self))[index].reshape(-1).to(self.flux.device)
        some = {name: getattr(self, name)[rows] for name in ("flux", "ivar", "z", "valid")}
        return type(self)(wavelength=self.wavelength, **some)

    def extend(
        self,
        templates: Templates,
        *,
        reach: tuple[float, float] | None = None,
        joint: float = 200.0,
    ) -> Self:
        r"""The spectra continued by a fit of templates wherever they have no pixels.

        `Templates.fit` to the pixels that are valid and have `ivar` above 0; its sum of templates
        then stands in every pixel that is not valid, within the grid and on both sides of it.
        Beyond a spectrum's first and last pixel the fit is scaled such that it meets the data
        there.

        Parameters
        ----------
        templates : Templates
            What galaxies look like.
        reach : (low, high), optional
            Observed wavelengths in Angstrom between which all spectra are to have pixels; the grid
            grows by whole steps and is never cut. Default: 2050 to 16000, which holds the filters
            of SDSS for redshifts and bins in [0, 0.4], as far as the templates reach.
        joint : float
            Width in Angstrom of the stretch next to each end of a spectrum over which data and fit
            are compared for that scale, which is their ratio by least squares over the pixels that
            decided the fit, with a prior of 1 and 0.1. 0: no scale, the fit alone.

        Returns
        -------
        Spectra
            On the longer grid, `valid` everywhere. Filled pixels have `ivar` 0, which tells them
            from measured ones, ``ivar > 0``; what takes `ivar` (`min_snr`, `relative_variance`)
            leaves them out. Pixels that were valid are the same to the bit, those
            of `ivar` 0 too; to fill these instead, mark them invalid before:
            ``dataclasses.replace(spectra, valid=spectra.valid & (spectra.ivar > 0))``.

        Raises
        ------
        ValueError
            If a spectrum has no pixel to fit, a redshift is NaN, the templates do not reach the
            wavelengths at some redshift, the grid would have to grow and is neither even in
            wavelength nor in its logarithm, `reach` is no pair, or `joint` negative or infinite.
        TypeError
            If the templates are no `Templates`, or `reach` or `joint` no numbers.

        See Also
        --------
        Templates.fit : the coefficients of the fit.

        Examples
        --------
        >>> import torch
        >>> from photoz_losses.photometry import Spectra, Templates
        >>> rest = torch.linspace(1000.0, 20000.0, 1901, dtype=torch.float64)
        >>> templates = Templates(rest, torch.stack([5000.0 / rest, rest / 5000.0]))
        >>> wavelength = 10 ** torch.linspace(3.6, 3.9, 3001, dtype=torch.float64)
        >>> flux = (wavelength / 5000.0).unsqueeze(0)
        >>> all_of_it = torch.ones_like(flux, dtype=torch.bool)
        >>> spectra = Spectra(wavelength, flux, torch.ones_like(flux), torch.zeros(1), all_of_it)
        >>> longer = spectra.extend(templates, reach=(3000.0, 12000.0))
        >>> spectra, longer
        (Spectra(1 on 3001 pixels, 3981.07-7943.28 A), Spectra(1 on 6020 pixels, 3000.54-11997.8 A))
        >>> bool(torch.allclose(longer.flux, longer.wavelength / 5000.0))
        True
        >>> (longer.ivar > 0).sum()
        tensor(3001)
        """
        if not isinstance(templates, Templates):
            raise TypeError(f"templates must be Templates, got {type(templates).__name__}")
        joint = float(_check.number("joint", joint))
        if not 0 <= joint < float("inf"):
            raise ValueError(f"joint must be a width in Angstrom, 0 for none; got {joint}")
        if reach is None:
            low, high = templates.reach(self.z)
            reach = (max(REACH[0], low), min(REACH[1], high))
        ends = _check.numbers("reach", reach)
        if ends.shape != (2,):
            raise ValueError(f"reach must be (low, high), two numbers, got {ends.size}")
        wavelength, before = _longer(self.wavelength, *ends.tolist())
        own = slice(before, before + len(self.wavelength))
        shape = (len(self), len(wavelength))
        flux, ivar = (part.new_zeros(shape) for part in (self.flux, self.ivar))
        valid = self.valid.new_zeros(shape)
        flux[:, own], ivar[:, own], valid[:, own] = self.flux, self.ivar, self.valid
        weight = torch.where(valid, ivar, 0.0)
        coefficients, used = templates.fit(wavelength, flux, weight, self.z)
        fit = templates.spectrum(coefficients, wavelength, self.z)
        fit = _joined(fit, flux.double(), weight.double() * used, valid, wavelength, joint)
        flux = torch.where(valid, flux, fit.to(flux.dtype))
        ivar = torch.where(valid, ivar, 0.0)
        return type(self)(wavelength, flux, ivar, self.z, torch.ones_like(valid))

    def to(self, device: torch.device | str) -> Self:
        """The same spectra on another device."""
        return type(self)(
            **{field.name: getattr(self, field.name).to(device) for field in fields(self)}
        )

    def __repr__(self) -> str:
        low, high = self.wavelength[0].item(), self.wavelength[-1].item()
        return f"Spectra({len(self)} on {len(self.wavelength)} pixels, {low:.6g}-{high:.6g} A)"


def _longer(wavelength: Tensor, low: float, high: float) -> tuple[Tensor, int]:
    """The grid with whole steps added within [low, high], and how many of them come before it."""
    if not 0 < low < high < float("inf"):
        raise ValueError(
            f"reach must be (low, high) in Angstrom, 0 < low < high; got {low}, {high}"
        )
    grid = wavelength.double()
    if grid[0] <= low and high <= grid[-1]:
        return wavelength, 0
    count = torch.arange(len(grid), dtype=torch.float64, device=grid.device)
    for forward, back in ((torch.log, torch.exp), (torch.clone, torch.clone)):
        position = forward(grid)
        step = (position[-1] - position[0]) / (len(grid) - 1)
        if (((position - position[0]) / step - count).abs() < 0.01).all():  # float32 grids too
            ends = forward(torch.tensor([low, high], dtype=torch.float64, device=grid.device))
            more = torch.stack([position[0] - ends[0], ends[1] - position[-1]]) / step
            before, after = (int(n) for n in (more + 1e-6).floor().clamp(min=0))
            new = step * torch.arange(1, max(before, after) + 1, device=grid.device)
            below, above = position[0] - new[:before].flip(0), position[-1] + new[:after]
            parts = [back(below).to(wavelength), wavelength, back(above).to(wavelength)]
            return torch.cat(parts), before
    raise ValueError(
        f"wavelength is even neither in Angstrom nor in its logarithm, so that it cannot grow to "
        f"reach {low:g} to {high:g} A: give reach=({grid[0]:g}, {grid[-1]:g}) to fill gaps within "
        f"the grid only, or bring the spectra onto an even grid"
    )


def _joined(
    fit: Tensor, flux: Tensor, weight: Tensor, valid: Tensor, wavelength: Tensor, joint: float
) -> Tensor:
    """`fit`, scaled beyond each spectrum's ends such that it meets the data next to them."""
    x = wavelength.double()
    first = torch.where(valid, x, float("inf")).amin(-1, keepdim=True)
    last = torch.where(valid, x, 0.0).amax(-1, keepdim=True)
    for beyond, near in ((x < first, x < first + joint), (x > last, x > last - joint)):
        data = (weight * near * fit * flux).sum(-1, keepdim=True) + JOINT_SCATTER**-2
        model = (weight * near * fit.square()).sum(-1, keepdim=True) + JOINT_SCATTER**-2
        fit = torch.where(beyond, fit * (data / model).clamp(min=0), fit)
    return fit


class _File(NamedTuple):
    first: int
    flux: npt.NDArray[np.float32]
    ivar: npt.NDArray[np.float32]
    z: float


def read_sdss_spectra(paths: Iterable[str | PathLike[str]], *, wavelength: Any = None) -> Spectra:
    """Read SDSS or BOSS spectra onto one log-wavelength grid by whole pixels.

    A file that was cut short is refused, and one that is not what its cards CHECKSUM and DATASUM
    say, where it has them. SDSS's own have none: there a bit of a flux may be another unnoticed.

    All of them are sampled at steps of 1e-4 in log10 of vacuum wavelength, so that nothing is
    interpolated: each keeps its own pixels, and `valid` marks where they lie on the common grid.

    Parameters
    ----------
    paths : iterable of path
        FITS files ``spec-PLATE-MJD-FIBER.fits``: HDU 1 with columns loglam, flux, ivar; HDU 2 with
        Z.
    wavelength : vector, shape (L,), optional
        The grid to put them on, in Angstrom, for files read apart that must share it: whole steps
        of 1e-4 in log10, such as ``10 ** (torch.arange(35500, 40200) * 1e-4)``. What a file has
        outside it is left out. Default: just what the files cover together.

    Returns
    -------
    Spectra
        In the order of `paths`; flux and ivar float32 as in the files, wavelength and z float64.
        `valid` is coverage only: pixels of zero ivar (sky lines, say) hold the pipeline's
        interpolation and stay in; to drop them use ``valid & (ivar > 0)``.

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    ValueError
        If there are no paths, or a file is damaged, lacks an HDU or a column, does not lie on
        SDSS's grid, or has no pixel on `wavelength`; names the file. If `wavelength` is not part of
        SDSS's grid.
    TypeError
        If `paths` holds something else than paths, or is no iterable.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> import numpy as np
    >>> from astropy.table import Table
    >>> from photoz_losses.photometry import read_sdss_spectra
    >>> pixels = 3.58 + 1e-4 * np.arange(4000)  # as in SDSS's "lite" files
    >>> spectrum = {"loglam": pixels, "flux": np.ones(4000), "ivar": np.ones(4000)}
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "spec-0280-51612-0117.fits")
    ...     Table(spectrum).write(path)
    ...     Table({"Z": [0.1]}).write(path, append=True)
    ...     read_sdss_spectra([path])
    Spectra(1 on 4000 pixels, 3801.89-9547.73 A)
    """
    one = isinstance(paths, str | bytes | PathLike)
    given = [paths] if one else _check.several("paths", paths, "an iterable of paths")
    found = [_check.path("paths", path) for path in given]
    if not found:
        raise ValueError("paths is empty: give at least one spectrum")
    files = list(map(_read_file, found))
    if wavelength is None:
        start = min(file.first for file in files)
        pixels = max(file.first + len(file.flux) for file in files) - start
        wavelength = 10 ** ((torch.arange(pixels, dtype=torch.float64) + start) * SDSS_STEP)
    else:
        wavelength = _check.increasing("wavelength", wavelength, at_least=2, unit="Angstrom")
        start, pixels = _first_pixel(wavelength), len(wavelength)
    flux, ivar = torch.zeros(2, len(files), pixels)
    valid = torch.zeros(len(files), pixels, dtype=torch.bool)
    for row, file in enumerate(files):
        first, last = max(file.first, start), min(file.first + len(file.flux), start + pixels)
        if first >= last:
            raise ValueError(f"{found[row]} has no pixel on the given wavelength: widen that grid")
        own, kept = slice(first - start, last - start), slice(first - file.first, last - file.first)
        flux[row, own] = torch.from_numpy(file.flux[kept])
        ivar[row, own] = torch.from_numpy(file.ivar[kept])
        valid[row, own] = torch.from_numpy(np.isfinite(file.flux[kept]))
    flux[~valid], ivar[~valid] = 0.0, 0.0
    z = torch.tensor([file.z for file in files], dtype=torch.float64)
    return Spectra(wavelength, flux, ivar, z, valid)


def _first_pixel(wavelength: Tensor) -> int:
    """Steps of SDSS's grid from 1 Angstrom to the first of `wavelength`, which lies on it."""
    position = wavelength.log10() / SDSS_STEP
    first = round(position[0].item())
    if not (position - first - torch.arange(len(wavelength))).abs().max() <= OFF_GRID:
        raise ValueError(
            f"wavelength must be whole steps of {SDSS_STEP} in log10, as SDSS's pixels are: "
            f"give 10 ** (torch.arange(35500, 40200) * {SDSS_STEP}), for example"
        )
    return first


def _read_file(path: Path) -> _File:
    from astropy.io import fits

    if not path.is_file():
        raise FileNotFoundError(f"no such spectrum: {path}")
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", "File may have been truncated")
            with fits.open(path, memmap=False) as hdus:
                _check_sums(hdus[:3])
                table, summary = hdus[1].data, hdus[2].data
                loglam = np.asarray(table["loglam"], dtype=np.float64)
                flux, ivar = (
                    np.asarray(table[name], dtype=np.float32) for name in ("flux", "ivar")
                )
                z = float(summary["Z"][0])
    except (*DAMAGE, fits.VerifyError) as error:
        raise ValueError(
            f"{path} is no whole SDSS spectrum (HDU 1 with loglam, flux, ivar; HDU 2 with Z): "
            f"{error}"
        ) from error
    if not loglam.ndim == flux.ndim == ivar.ndim == 1:
        raise ValueError(f"{path} is no SDSS spectrum: loglam, flux and ivar must be numbers a row")
    if not len(loglam):
        raise ValueError(f"{path} has no pixels: leave it out")
    position = loglam / SDSS_STEP
    first = round(float(np.nan_to_num(position[0])))
    if (
        not np.abs(position - first - np.arange(len(position))).max() <= OFF_GRID
    ):  # NaN is refused too
        raise ValueError(
            f"{path} does not lie on SDSS's grid, whole steps of {SDSS_STEP} in log10 wavelength: "
            f"build Spectra(...) from it by hand"
        )
    if not (ivar[np.isfinite(flux)] >= 0).all():
        raise ValueError(f"{path} has a negative or NaN ivar: mend it, 0 marks an untrusted pixel")
    return _File(first, flux, ivar, z)


def _check_sums(hdus: Iterable[Any]) -> None:
    """ValueError if an HDU is not what its CHECKSUM or DATASUM says, where it has them."""
    for number, hdu in enumerate(hdus):
        if hdu.verify_datasum() == 0 or hdu.verify_checksum() == 0:
            raise ValueError(f"HDU {number} is not what was written, by its checksum")
