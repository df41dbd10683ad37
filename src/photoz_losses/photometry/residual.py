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
    quadrature: str = "midpoint",
    min_coverage: float = 0.5,
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
    quadrature : {"midpoint", "trapezoid"}
        Whether a bin's flux is that at its centre, or the mean of those at its two edges.
    min_coverage : float
        Cells that the spectrum covers less than this carry no residual, and a band covered less
        than this at the true redshift is not usable. 0 is the paper: every cell counts, flux that
        was not measured is zero.
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
        with finite gradients in `flux` and `z_spec`; NaN only for a flux or a redshift that no
        check could look at, on a device.
    band_weight : Tensor, shape (N, B)
        1 where the band is usable (flux at the true redshift above 0 and covered enough), else 0.

    Raises
    ------
    ValueError
        If shapes disagree, a redshift is NaN or outside the bins, a valid flux is not finite, or an
        option is not among those above or lacks its cosmology.
    TypeError
        If `flux` or `z_spec` is not floating-point, or `z_spec` is in half precision.

    Examples
    --------
    >>> from photoz_losses.photometry import FilterSet
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
    check_options(quadrature, min_coverage, dimming, cosmology)
    if _check.floating("flux", flux).ndim < 2:
        raise ValueError(f"flux must have shape (N, L), got {tuple(flux.shape)}: unsqueeze(0)")
    if valid is not None:
        _check.mask("valid", valid, flux.shape, "flux")
    _, place = bins.locate(z_spec, flux.shape[:-1])
    nodes = bins.centers if quadrature == "midpoint" else bins.edges
    nu, scale = _shift(nodes, z_spec.double(), dimming, cosmology)
    residual, carries, weight = _compare(photometry, flux, nu, scale, valid, min_coverage)
    if quadrature == "trapezoid":  # a bin stands on both its edges
        residual = (residual[..., 1:, :] + residual[..., :-1, :]) / 2
        carries = carries[..., 1:, :] & carries[..., :-1, :]
    residual = torch.where(carries, residual, 0.0)
    result = torch.promote_types(flux.dtype, torch.float32)
    residual = residual * nan_where_unknown(place, residual)[..., None, None]
    return residual.to(result), weight.to(result)


def _compare(
    photometry: SyntheticPhotometry,
    flux: Tensor,
    nu: Tensor,
    scale: Tensor,
    valid: Tensor | None,
    min_coverage: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Residual at each shift, whether that cell carries one, and band weights."""
    shifts = torch.cat([torch.ones_like(nu[..., :1]), nu], -1)
    bands, coverage = photometry.evaluate(flux, shifts, valid)
    enough = coverage >= min_coverage
    truth, usable = bands[..., :1, :], enough[..., :1, :] & ~(bands[..., :1, :] <= 0)
    ratio = scale.unsqueeze(-1) * bands[..., 1:, :] / torch.where(usable, truth, 1.0)
    return ratio - 1, usable & enough[..., 1:, :], usable.squeeze(-2).double()


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
    at = z.detach().cpu().numpy()
    if not np.all(at > 0):
        raise ValueError(f"dimming='distance' needs redshifts above 0, {name} has {at.min():g}")
    hubble = cosmology.hubble_distance.to_value("Mpc")
    transverse = cosmology.comoving_transverse_distance(at).to_value("Mpc")
    curved = np.sqrt(1 + cosmology.Ok0 * (transverse / hubble) ** 2)
    slope = transverse + (1 + at) * curved * hubble * cosmology.inv_efunc(at)
    distance, slope = (torch.as_tensor(x).to(z) for x in ((1 + at) * transverse, slope))
    return distance + slope * (z - z.detach())


def check_options(quadrature: str, min_coverage: float, dimming: str, cosmology: Any) -> None:
    """ValueError where the options of `flux_residual` contradict themselves or one another."""
    _check.one_of("quadrature", quadrature, QUADRATURES)
    _check.one_of("dimming", dimming, DIMMINGS)
    if not 0 <= min_coverage <= 1:
        raise ValueError(f"min_coverage must lie in [0, 1], got {min_coverage}")
    if (dimming == "distance") != (cosmology is not None):
        raise ValueError(
            f"dimming 'distance' and cosmology= go together, got dimming={dimming!r} and "
            f"cosmology={cosmology!r}: pass both, for example astropy.cosmology.Planck18"
        )
