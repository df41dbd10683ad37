"""Residuals of a galaxy by bin and band, for the flux term (paper, appendices A, B.1)."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from photoz_losses import _check
from photoz_losses.bins import RedshiftBins, nan_where_unknown
from photoz_losses.photometry.synthetic import SyntheticPhotometry

QUADRATURES = ("midpoint", "trapezoid")
DIMMINGS = ("none", "bandwidth", "f_nu", "distance")


def flux_residual(
    photometry: SyntheticPhotometry,
    flux: Tensor,
    z_spec: Tensor,
    bins: RedshiftBins,
    *,
    valid: Tensor | None = None,
    ivar: Tensor | None = None,
    quadrature: str = "midpoint",
    min_coverage: float = 0.5,
    min_snr: float = 0.0,
    dimming: str = "none",
    cosmology: Any = None,
) -> tuple[Tensor, Tensor]:
    r"""Relative error of each band's flux if the galaxy stood in each redshift bin.

    .. math:: r_c = \frac{\Phi'(\nu_c)}{\Phi'(1)} - 1, \qquad \nu_c = \frac{1 + z_c}{1 + \hat z}

    Engel & Strube (2023), appendix A: then :math:`P_\mathrm{Flux} = |\sum_c p_c r_c|`, which is
    `flux_loss`. A scale of the spectrum that does not depend on wavelength cancels.

    Parameters
    ----------
    photometry : SyntheticPhotometry
        Filters on the spectra's wavelengths, on the device of `flux`.
    flux : Tensor, shape (N, L)
        Observed spectra, erg/s/cm2/A times any constant.
    z_spec : Tensor, shape (N,), float32 or float64
        Their redshifts, within the bins.
    bins : RedshiftBins
        The C bins.
    valid : Tensor of bool, shape (N, L), optional
        Which pixels each spectrum has. Default: all.
    ivar : Tensor, shape (N, L), optional
        Inverse variance of `flux`. If given, pixels of zero ivar count nowhere, as if not valid;
        so do those that `Spectra.extend` filled in.
    quadrature : {"midpoint", "trapezoid"}
        Whether a bin's flux is that at its centre, or the mean of those at its two edges.
    min_coverage : float
        Cells that the spectrum covers less than this carry no residual, and a band covered less
        than this at the true redshift is not usable. 0 is the paper: every cell counts, flux that
        was not measured is zero.
    min_snr : float
        A band whose flux at the true redshift has a lower ratio of signal to noise is not usable.
        Above 0 it needs `ivar`.
    dimming : {"none", "bandwidth", "f_nu", "distance"}
        What a shift does to the flux density: nothing, F(l') = F(l) (the paper); :math:`1/\nu`, the
        stretched bandwidth (kcorrect, GalSim); :math:`1/\nu^2` (eazy, DSPS); or :math:`1/\nu` and
        the luminosity distances, :math:`(D_L(\hat z)/D_L(z))^2`.
    cosmology : astropy.cosmology.FLRW, optional
        For ``dimming="distance"``, which needs it (and evaluates it on the CPU).

    Returns
    -------
    residual : Tensor, shape (N, C, B)
        float32, or float64 for float64 flux. 0 where the cell or the band is not usable. Finite,
        with finite gradients in `flux` and `z_spec`; not only for a flux or a redshift that no
        check could look at, on a device.
    band_weight : Tensor, shape (N, B)
        1 where the band is usable (flux at the true redshift above 0, covered enough and, with
        `min_snr`, measured well enough), else 0.

    Raises
    ------
    ValueError
        If shapes disagree, a redshift is NaN or outside the bins, a valid flux is not finite, or so
        large or so unequal that a residual is not, a valid ivar is negative or not finite, or an
        option is not among those above or lacks its cosmology or its ivar.
    TypeError
        If `flux` or `z_spec` is not floating-point, or `z_spec` is in half precision.

    Examples
    --------
    >>> import torch
    >>> from photoz_losses import RedshiftBins, flux_residual
    >>> from photoz_losses.photometry import FilterSet, SyntheticPhotometry
    >>> box = FilterSet(["box"], [[5000.0, 6000.0]], [[1.0, 1.0]])
    >>> wavelength = torch.linspace(3000.0, 9000.0, 6001)
    >>> bins = RedshiftBins.uniform(0.0, 0.4, 4)
    >>> flux = wavelength.square().reciprocal().unsqueeze(0)  # constant f_nu
    >>> z_spec = torch.tensor([0.15])
    >>> residual, band_weight = flux_residual(
    ...     SyntheticPhotometry(box, wavelength), flux, z_spec, bins
    ... )
    >>> residual.squeeze().round(decimals=3)  # nu**2 - 1
    tensor([-0.1660, -0.0000,  0.1810,  0.3780])
    >>> band_weight
    tensor([[1.]])
    """
    residual, band_weight, known = residual_of(
        photometry,
        flux,
        z_spec,
        bins,
        valid=valid,
        ivar=ivar,
        quadrature=quadrature,
        min_coverage=min_coverage,
        min_snr=min_snr,
        dimming=dimming,
        cosmology=cosmology,
    )
    if _check.can_read_free(residual) and not bool(residual[known].isfinite().all()):
        raise ValueError(
            f"flux must have finite residuals, got {_check.span(flux)}, which overflows in a band, "
            f"or is nearly 0 in one at the true redshift: scale it, or leave those galaxies out"
        )
    return residual, band_weight


def residual_of(
    photometry: SyntheticPhotometry,
    flux: Tensor,
    z_spec: Tensor,
    bins: RedshiftBins,
    *,
    valid: Tensor | None,
    ivar: Tensor | None,
    quadrature: str,
    min_coverage: float,
    min_snr: float,
    dimming: str,
    cosmology: Any,
) -> tuple[Tensor, Tensor, Tensor]:
    """`flux_residual`, not finite where flux overflows; and which redshifts passed their check."""
    check_options(quadrature, min_coverage, dimming, cosmology, min_snr)
    _check.instance("photometry", photometry, SyntheticPhotometry)
    _check.instance("bins", bins, RedshiftBins)
    if _check.floating("flux", flux).ndim < 2:
        raise ValueError(
            f"flux must have shape (N, L), got {tuple(flux.shape)}: for one spectrum call "
            f"flux.unsqueeze(0)"
        )
    valid = _trusted(flux, ivar, valid)
    if min_snr > 0 and ivar is None:
        raise ValueError(f"min_snr = {min_snr} needs ivar, the inverse variance of flux")
    _, place = bins.locate(z_spec, flux.shape[:-1])
    nodes = bins.centers if quadrature == "midpoint" else bins.edges
    nu, scale = _shift(nodes, z_spec.double(), dimming, cosmology)
    residual, carries, usable = _compare(photometry, flux, nu, scale, valid, min_coverage)
    if ivar is not None and min_snr > 0:
        variance = relative_variance(photometry, flux, ivar, valid=valid)
        usable = usable & (variance.sqrt() * min_snr <= 1)
        carries = carries & usable.unsqueeze(-2)
    if quadrature == "trapezoid":  # a bin stands on both its edges
        residual = (residual[..., 1:, :] + residual[..., :-1, :]) / 2
        carries = carries[..., 1:, :] & carries[..., :-1, :]
    residual = torch.where(carries, residual, 0.0)
    result = torch.promote_types(flux.dtype, torch.float32)
    residual = residual * nan_where_unknown(place, residual)[..., None, None]
    return residual.to(result), usable.to(result), ~place.isnan()


def relative_variance(
    photometry: SyntheticPhotometry, flux: Tensor, ivar: Tensor, *, valid: Tensor | None = None
) -> Tensor:
    r"""Variance of each band's flux as a fraction of that flux, squared, at the true redshift.

    .. math:: \sigma_b^2 = \operatorname{Var} \Phi'_b(1) / \Phi'_b(1)^2

    What `photoz_losses.flux_loss` takes as `variance`. The paper ignores errors of measurement.

    Parameters
    ----------
    photometry : SyntheticPhotometry
        Filters on the spectra's wavelengths.
    flux, ivar : Tensor, shape (N, L)
        Spectra, erg/s/cm2/A times any constant, and their inverse variance. Pixels of zero
        ivar count nowhere.
    valid : Tensor of bool, shape (N, L), optional
        Which pixels each spectrum has. Default: all.

    Returns
    -------
    Tensor, shape (N, B), float64
        Infinite where the flux is not above 0, or the variance is lost in rounding. Without
        gradient.

    Raises
    ------
    ValueError, TypeError
        As `SyntheticPhotometry.variance`.

    Examples
    --------
    >>> import torch
    >>> from photoz_losses.photometry import FilterSet, SyntheticPhotometry, relative_variance
    >>> box = FilterSet(["box"], [[5000.0, 6000.0]], [[1.0, 1.0]])
    >>> wavelength = torch.linspace(3000.0, 9000.0, 6001)
    >>> flux = torch.ones(1, 6001)
    >>> variance = relative_variance(
    ...     SyntheticPhotometry(box, wavelength), flux, torch.full_like(flux, 4.0)
    ... )
    >>> variance.sqrt().item()  # an error of 1/2 a pixel, 1001 pixels: 0.5 / sqrt(1001)
    0.0158...
    """
    _check.instance("photometry", photometry, SyntheticPhotometry)
    if _check.floating("flux", flux).ndim < 2:
        raise ValueError(
            f"flux must have shape (N, L), got {tuple(flux.shape)}: for one spectrum call "
            f"flux.unsqueeze(0)"
        )
    valid = _trusted(flux, ivar, valid)
    with torch.no_grad():
        one = torch.ones(1, dtype=torch.float64, device=flux.device)
        bands, _ = photometry.evaluate(flux, one, valid)
        variance = photometry.variance(ivar, one, valid)
        seen = (bands > 0) & (variance > 0)  # 0 is what cancellation left of a variance
        relative = variance / torch.where(seen, bands, 1.0).square()
        return torch.where(seen, relative, torch.inf).squeeze(-2)


def _trusted(flux: Tensor, ivar: Tensor | None, valid: Tensor | None) -> Tensor | None:
    """Pixels that count."""
    if valid is not None:
        _check.mask("valid", valid, flux.shape, "flux")
    if ivar is None:
        return valid
    _check.same_shape("ivar", _check.floating("ivar", ivar), flux.shape, "flux")
    _check.inverse_variance("ivar", ivar, valid)
    return ivar > 0 if valid is None else valid & (ivar > 0)


def _compare(
    photometry: SyntheticPhotometry,
    flux: Tensor,
    nu: Tensor,
    scale: Tensor,
    valid: Tensor | None,
    min_coverage: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Residual at each shift, whether that cell carries one, and which bands are usable."""
    shifts = torch.cat([torch.ones_like(nu[..., :1]), nu], -1)
    bands, coverage = photometry.evaluate(flux, shifts, valid)
    enough = coverage >= min_coverage
    truth, usable = bands[..., :1, :], enough[..., :1, :] & ~(bands[..., :1, :] <= 0)
    ratio = scale.unsqueeze(-1) * bands[..., 1:, :] / torch.where(usable, truth, 1.0)
    return ratio - 1, usable & enough[..., 1:, :], usable.squeeze(-2)


def _shift(nodes: Tensor, z_spec: Tensor, dimming: str, cosmology: Any) -> tuple[Tensor, Tensor]:
    """Wavelength shift of each node, and the factor by which it dims the flux density."""
    nu = (1 + nodes) / (1 + z_spec.unsqueeze(-1))
    if dimming == "none":
        return nu, torch.ones_like(nu)
    if dimming == "f_nu":
        return nu, nu.square().reciprocal()
    if dimming == "bandwidth":
        return nu, nu.reciprocal()
    near = _luminosity_distance("z_spec", z_spec, cosmology).unsqueeze(-1)
    return nu, (near / _luminosity_distance("bins", nodes, cosmology)).square() / nu


def _luminosity_distance(name: str, z: Tensor, cosmology: Any) -> Tensor:
    """Distance in Mpc, differentiable once: its value and slope at `z` come from astropy."""
    at = z.detach().cpu().resolve_neg().numpy()
    if not np.all(at > 0):
        raise ValueError(f"dimming='distance' needs redshifts above 0, {name} has {at.min():g}")
    hubble = cosmology.hubble_distance.to_value("Mpc")
    transverse = cosmology.comoving_transverse_distance(at).to_value("Mpc")
    curved = np.sqrt(1 + cosmology.Ok0 * (transverse / hubble) ** 2)
    slope = transverse + (1 + at) * curved * hubble * cosmology.inv_efunc(at)
    distance, slope = (torch.as_tensor(x).to(z) for x in ((1 + at) * transverse, slope))
    return distance + slope * (z - z.detach())


def check_options(
    quadrature: str, min_coverage: float, dimming: str, cosmology: Any, min_snr: float = 0.0
) -> None:
    """ValueError where the options of `flux_residual` contradict themselves or one another."""
    _check.one_of("quadrature", quadrature, QUADRATURES)
    _check.one_of("dimming", dimming, DIMMINGS)
    if not 0 <= _check.number("min_coverage", min_coverage) <= 1:
        raise ValueError(f"min_coverage must lie in [0, 1], got {min_coverage}")
    if not 0 <= _check.number("min_snr", min_snr) < float("inf"):
        raise ValueError(f"min_snr must be finite and not negative, got {min_snr}")
    if (dimming == "distance") != (cosmology is not None):
        raise ValueError(
            f"dimming 'distance' and cosmology= go together, got dimming={dimming!r} and "
            f"cosmology={_check.shown(cosmology)}: pass both, for example "
            f"astropy.cosmology.Planck18"
        )
    if cosmology is not None and not hasattr(cosmology, "comoving_transverse_distance"):
        raise TypeError(
            f"cosmology must be one of astropy, such as astropy.cosmology.Planck18, got "
            f"{_check.shown(cosmology)}"
        )
