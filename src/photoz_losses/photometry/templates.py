"""Spectral templates, and what they say of the wavelengths that a spectrum does not reach."""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from photoz_losses import _check

CLIP = 3.0  # standard deviations, the spectrum's own scatter where that exceeds its errors
ROUNDS = 10  # of clipping, at most

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Templates:
    r"""Rest-frame spectra whose non-negative sums are the spectra of galaxies.

    .. math:: F(\lambda) = \frac{1}{1 + z} \sum_k a_k\, T_k\!\Bigl(\frac{\lambda}{1 + z}\Bigr),
              \qquad a_k \ge 0

    Each template is linear between its wavelengths.

    Parameters
    ----------
    wavelength : Tensor, shape (T,)
        Rest-frame wavelengths in Angstrom, strictly increasing; vacuum for SDSS spectra.
    flux : Tensor, shape (K, T)
        Flux density of each template per unit wavelength, not negative, on any scale.

    Raises
    ------
    ValueError
        If shapes disagree, wavelengths are not positive and increasing, or a flux is negative, not
        finite, or zero all along a template.
    TypeError
        If one is not a floating-point tensor.

    See Also
    --------
    Spectra.extend : fills with them what was not measured.

    Examples
    --------
    >>> import torch
    >>> from photoz_losses.photometry import Templates
    >>> wavelength = torch.linspace(1000.0, 20000.0, 1901)
    >>> blue_and_red = torch.stack([5000.0 / wavelength, wavelength / 5000.0])
    >>> templates = Templates(wavelength, blue_and_red)
    >>> observed = torch.linspace(4000.0, 9000.0, 501)
    >>> flux = templates.spectrum(torch.tensor([[2.0, 3.0]]), observed, torch.tensor([0.1]))
    >>> coefficients, used = templates.fit(
    ...     observed, flux, torch.ones_like(flux), torch.tensor([0.1])
    ... )
    >>> coefficients.round(decimals=6), used.all()
    (tensor([[2., 3.]], dtype=torch.float64), tensor(True))
    """

    wavelength: Tensor
    flux: Tensor

    def __post_init__(self) -> None:
        _check.floating("wavelength", self.wavelength)
        _check.increasing("wavelength", self.wavelength, at_least=2)
        if self.wavelength[0] <= 0:
            raise ValueError("wavelength must be positive, in Angstrom: undo its logarithm")
        if _check.floating("flux", self.flux).ndim != 2 or not len(self.flux):
            raise ValueError(f"flux must have shape (K, T), got {tuple(self.flux.shape)}")
        shape = (len(self.flux), len(self.wavelength))
        _check.same_shape("flux", self.flux, shape, "the templates' wavelengths")
        if not ((self.flux >= 0) & self.flux.isfinite()).all():
            raise ValueError("flux of templates must be finite and not negative: clamp(min=0)")
        if not (self.flux > 0).any(-1).all():
            row = int((self.flux > 0).any(-1).logical_not().nonzero()[0])
            raise ValueError(f"flux of template {row} is zero everywhere: leave it out")

    @classmethod
    def from_kcorrect(cls) -> Self:
        """The five default templates of the package ``kcorrect``, 600 Angstrom to 319 micron.

        Blanton & Roweis (2007): stellar populations with dust and emission lines, found such that
        their sums give the broad-band fluxes of SDSS and other galaxies. Coefficients are in
        kcorrect's own unit, for flux in erg/s/cm2/A.

        Raises
        ------
        ImportError
            If ``kcorrect`` is not installed.
        """
        from astropy.io import fits

        package = find_spec("kcorrect")  # found, not imported: that would bring matplotlib
        if package is None or package.origin is None:
            raise ImportError(
                "Templates.from_kcorrect reads the templates that the package kcorrect carries: "
                "pip install kcorrect"
            )
        path = Path(package.origin).parent / "data" / "templates" / "kcorrect-default-v4.fits"
        with fits.open(path, memmap=False) as hdus:
            wavelength, flux = (
                hdus[1].data[column][0].astype(float) for column in ("WAVE", "FLUX")
            )
        return cls(torch.from_numpy(wavelength), torch.from_numpy(flux))

    def __len__(self) -> int:
        return len(self.flux)

    def __repr__(self) -> str:
        low, high = self.wavelength[0].item(), self.wavelength[-1].item()
        return f"Templates({len(self)} on {len(self.wavelength)} wavelengths, {low:g}-{high:g} A)"

    def spectrum(self, coefficients: Tensor, wavelength: Tensor, z: Tensor) -> Tensor:
        """Sums of the templates as they are observed.

        Parameters
        ----------
        coefficients : Tensor, shape (N, K)
            How much of each template, as `fit` gives it.
        wavelength : Tensor, shape (L,)
            Observed wavelengths in Angstrom.
        z : Tensor, shape (N,)
            Redshifts.

        Returns
        -------
        Tensor, shape (N, L)
            float64, on the device of `coefficients`.

        Raises
        ------
        ValueError
            If shapes disagree, a redshift is NaN or not above -1, or the templates do not reach all
            of `wavelength` at some redshift.
        TypeError
            If `wavelength` holds no numbers, or another argument is no floating-point tensor.
        """
        _check.floating("coefficients", coefficients)
        grid, stretch = self._read(wavelength, z)
        shape = (len(stretch), len(self))
        _check.same_shape("coefficients", coefficients, shape, "redshifts, templates")
        rows = [
            row @ self._observed(grid, factor)
            for row, factor in zip(_numpy(coefficients), stretch, strict=True)
        ]
        flux = np.array(rows).reshape(len(z), len(grid))
        return torch.from_numpy(flux).to(coefficients.device)

    def fit(
        self, wavelength: Tensor, flux: Tensor, ivar: Tensor, z: Tensor
    ) -> tuple[Tensor, Tensor]:
        r"""Non-negative coefficients of least squares, weighted by `ivar`.

        Pixels more than three standard deviations from the fit (emission lines that the templates
        lack, residuals of the sky) are left out and the rest is fitted anew, until none changes, at
        most ten times. The standard deviation is the pixel's own error, times the scatter of all
        pixels in units of their errors (1.4826 median) where that exceeds 1: templates never fit a
        bright galaxy to its noise.

        Parameters
        ----------
        wavelength : Tensor, shape (L,)
            Observed wavelengths in Angstrom.
        flux : Tensor, shape (N, L)
            Flux density per unit wavelength. Not looked at where `ivar` is 0.
        ivar : Tensor, shape (N, L)
            Inverse variance of `flux`; 0 for a pixel that is not to be fitted.
        z : Tensor, shape (N,)
            Redshifts.

        Returns
        -------
        coefficients : Tensor, shape (N, K)
            float64, not negative; all 0 for a spectrum that no template meets with flux above 0.
        used : Tensor of bool, shape (N, L)
            Pixels of the last round.

        Raises
        ------
        ValueError
            If shapes disagree, a spectrum has no pixel to fit, a flux to be fitted is not finite,
            an inverse variance is negative or not finite, a redshift is NaN or not above -1, or
            the templates do not reach all of `wavelength` at some redshift.
        TypeError
            If `wavelength` holds no numbers, or another argument is no floating-point tensor.
        """
        grid, stretch = self._read(wavelength, z)
        if _check.floating("flux", flux).ndim != 2:
            raise ValueError(
                f"flux must have shape (N, L), got {tuple(flux.shape)}: for one spectrum call "
                f"flux.unsqueeze(0)"
            )
        _check.same_shape("flux", flux, (len(stretch), len(grid)), "redshifts, wavelengths")
        _check.same_shape("ivar", _check.floating("ivar", ivar), flux.shape, "flux")
        values, weights = _numpy(flux), _numpy(ivar)
        if not (np.isfinite(weights) & (weights >= 0)).all():
            raise ValueError("ivar must be finite and not negative: 0 marks an untrusted pixel")
        if not np.isfinite(values[weights > 0]).all():
            raise ValueError("flux must be finite where ivar is above 0: set ivar to 0 there")
        empty = ~(weights > 0).any(-1)
        if empty.any():
            raise ValueError(
                f"{empty.sum()} of {len(z)} spectra have no pixel to fit (valid, ivar above 0), "
                f"the first is row {empty.argmax()}: leave them out, or set ivar to 1 if unknown"
            )
        results = [
            _clipped_nnls(self._observed(grid, factor).T, *row)
            for factor, *row in zip(stretch, values, weights, strict=True)
        ]
        coefficients = np.array([a for a, _ in results]).reshape(len(z), len(self))
        used = np.array([kept for _, kept in results], dtype=bool).reshape(flux.shape)
        return (
            torch.from_numpy(coefficients).to(flux.device),
            torch.from_numpy(used).to(flux.device),
        )

    def reach(self, z: Tensor) -> tuple[float, float]:
        """Observed wavelengths in Angstrom that the templates reach at every redshift of `z`.

        Raises
        ------
        ValueError
            If `z` is no vector, or a redshift is NaN or not above -1.
        TypeError
            If `z` is no floating-point tensor.
        """
        stretch = 1 + _redshifts(z)
        low, high = self.wavelength[0].item(), self.wavelength[-1].item()
        return low * stretch.max(initial=0.0), high * stretch.min(initial=np.inf)

    def _observed(self, grid: Array, stretch: float) -> Array:
        """Every template stretched onto `grid`, shape (K, L)."""
        rest = _numpy(self.wavelength)
        return (
            np.array([np.interp(grid / stretch, rest, row) for row in _numpy(self.flux)]) / stretch
        )

    def _read(self, wavelength: Tensor, z: Tensor) -> tuple[Array, Array]:
        """The observed wavelengths and 1 + z, after all checks."""
        grid = _check.increasing("wavelength", wavelength, at_least=1).numpy()
        stretch = 1 + _redshifts(z)
        low, high = self.wavelength[0].item(), self.wavelength[-1].item()
        # to rounding: a grid may be made to end where the templates do
        outside = (grid[0] < low * stretch * (1 - 1e-9)) | (grid[-1] > high * stretch * (1 + 1e-9))
        if outside.any():
            row = int(outside.argmax())
            factor = stretch[row]
            raise ValueError(
                f"templates must reach every wavelength: those from {low:g} to {high:g} A give "
                f"{low * factor:g} to {high * factor:g} A at z = {factor - 1:g} of row {row}, but "
                f"the spectrum needs {grid[0]:g} to {grid[-1]:g} A: cut it, or take other templates"
            )
        return grid, stretch


def _redshifts(z: Tensor) -> Array:
    """Redshifts as a float64 vector, all known and above -1; ValueError otherwise."""
    values = _numpy(_check.redshift("z", z))
    if values.ndim != 1:
        raise ValueError(f"z must have shape (N,), got {tuple(z.shape)}")
    known = np.isfinite(values) & (values > -1)
    if not known.all():
        row = int((~known).argmax())
        raise ValueError(
            f"z must be finite and above -1 to place the templates, got {values[row]:g} in row "
            f"{row}: leave that spectrum out"
        )
    return values


def _clipped_nnls(templates: Array, flux: Array, ivar: Array) -> tuple[Array, npt.NDArray[np.bool]]:
    """Coefficients [K] of `templates` [L, K] in one spectrum, and the pixels that decided them."""
    from scipy.optimize import nnls

    fitted = kept = ivar > 0
    flux = np.where(fitted, flux, 0.0)
    for _ in range(ROUNDS):
        weight = np.sqrt(ivar * kept)
        design = templates * weight[:, None]
        scale = np.linalg.norm(design, axis=0)
        scale[scale == 0] = 1.0  # a template without flux on these pixels: coefficient 0
        coefficients = nnls(design / scale, flux * weight)[0] / scale
        deviation = np.abs(flux - templates @ coefficients) * np.sqrt(ivar)
        limit = CLIP * max(1.0, 1.4826 * np.median(deviation[fitted]))
        before, kept = kept, fitted & (deviation <= limit)
        if (kept == before).all():
            break
    return coefficients, before


def _numpy(tensor: Tensor) -> Array:
    return tensor.detach().cpu().resolve_neg().double().numpy()
