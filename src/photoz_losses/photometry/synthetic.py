r"""The spectrophotometric flux at any redshift, exact and cheap: the paper's appendix A.

A filter curve is a line between two tabulated wavelengths, :math:`R(x) = a_j + b_j x`. On the
stretch of pixels whose shifted wavelengths :math:`\nu\lambda_k` lie there, the sum that defines the
flux is :math:`a_j\,(S_1(i_{j+1}) - S_1(i_j)) + b_j\nu\,(S_2(i_{j+1}) - S_2(i_j))`: differences of
the prefix sums :math:`S_1` of :math:`w\lambda F` and :math:`S_2` of :math:`w\lambda^2 F`, which are
made once for each spectrum. A redshift then costs one look-up per tabulated wavelength and no pass
over the pixels. Differences, not coefficients of each prefix sum: where no pixel falls the two are
equal, and the flux is exactly zero.
"""

from typing import Any

import torch
from torch import Tensor, nn

from photoz_losses import _check
from photoz_losses._float64 import Float64Module
from photoz_losses.photometry.filters import FilterSet

SPEED_OF_LIGHT = 2.99792458e18  # Angstrom / s
DENOMINATORS = ("covered", "full")
ROUNDING = 1e-12  # coverage below this is what float64 prefix sums leave of zero


class SyntheticPhotometry(Float64Module):
    r"""Flux in bands of a spectrum shifted to other redshifts.

    .. math:: \Phi'(\nu) = \frac{\nu^2 \sum_k w_k\,\lambda_k F_k R(\nu\lambda_k)}
                                {\sum_k w_k\,(c/\lambda_k)\,R(\nu\lambda_k)},
              \qquad \nu = \frac{1 + z}{1 + \hat z}

    Engel & Strube (2023), appendix A and B.1: trapezoid weights :math:`w_k` on the spectrum's own
    wavelengths, the filter interpolated linearly, zero where the denominator is.

    Parameters
    ----------
    filters : FilterSet
        The B bands.
    wavelength : vector, shape (L,)
        Observed wavelengths of the spectra in Angstrom, strictly increasing, any spacing (an
        astropy Quantity is converted).
    denominator : {"covered", "full"}
        Over the part of the filter that the spectrum covers (the equation above), or over the whole
        filter, as if the spectrum were zero where it was not measured. The latter at ``nu = 1`` is
        3631 Jy times the AB maggies of speclite for a zero-padded spectrum.

    Raises
    ------
    ValueError
        If wavelengths are not finite, positive and strictly increasing, or reach no filter.

    Examples
    --------
    >>> box = FilterSet(["box"], [[5000.0, 6000.0]], [[1.0, 1.0]])
    >>> wavelength = torch.linspace(4000.0, 7000.0, 3001)
    >>> photometry = SyntheticPhotometry(box, wavelength)
    >>> flux = 1.0 / wavelength.square()  # f_lambda of an AB source: constant f_nu
    >>> bands, coverage = photometry(flux, torch.tensor([1.0, 0.75]))
    >>> (bands * 2.99792458e18).squeeze(-1), coverage.squeeze(-1)
    (tensor([1.0000, 0.5625]), tensor([1.0000, 0.2677]))
    """

    wavelength: Tensor
    spacing: Tensor
    knots: Tensor
    knot_position: Tensor
    lines: Tensor
    whole: Tensor

    def __init__(
        self, filters: FilterSet, wavelength: Any, *, denominator: str = "covered"
    ) -> None:
        super().__init__()
        self.denominator = _check.one_of("denominator", denominator, DENOMINATORS)
        if not isinstance(filters, FilterSet):
            raise TypeError(
                f"filters must be a FilterSet, got {type(filters).__name__}: make one with "
                f"FilterSet.from_speclite(...)"
            )
        wavelength = _check.increasing("wavelength", wavelength, at_least=2, unit="Angstrom")
        if wavelength[0] <= 0:
            raise ValueError("wavelength must be positive, in Angstrom: undo its logarithm")
        if not any(
            curve[0] < wavelength[-1] and wavelength[0] < curve[-1] for curve in filters.wavelengths
        ):
            raise ValueError(
                f"wavelength runs from {wavelength[0]:g} to {wavelength[-1]:g} and reaches no "
                f"filter of {filters!r} at nu = 1, where the fluxes are compared: give it in "
                f"Angstrom, not in nm or as a logarithm, and in the observer's frame"
            )
        self.filters = filters
        knots, lines, whole = _lines(filters)
        self.log_step = _log_step(wavelength, filters)
        position = (knots / wavelength[0]).log() / (self.log_step or 1.0)
        self.register_buffer("knot_position", position, persistent=False)
        self.register_buffer("wavelength", wavelength, persistent=False)
        self.register_buffer("spacing", wavelength.diff(), persistent=False)
        self.register_buffer("knots", knots, persistent=False)
        self.register_buffer("lines", lines, persistent=False)
        self.register_buffer("whole", whole, persistent=False)

    def forward(
        self, flux: Tensor, nu: Tensor, valid: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Flux in bands, and how much of each filter the spectrum covers.

        Parameters
        ----------
        flux : Tensor, shape (..., L)
            Flux density per unit wavelength, erg/s/cm2/A times any constant.
        nu : Tensor, shape (..., C)
            Wavelength shifts, positive. Leading dimensions broadcast with those of `flux`.
        valid : Tensor of bool, shape (..., L), optional
            Which pixels each spectrum has; others count nowhere and may hold anything, NaN too. A
            pixel interval counts where both its ends are valid, so that a spectrum gives the same
            on its own wavelengths and on longer ones padded with invalid pixels.

        Returns
        -------
        flux_in_bands : Tensor, shape (..., C, B)
            erg/s/cm2/Hz times the same constant; float32, or float64 for float64 flux (the sums
            inside are always float64). Exactly 0 where no valid pixel falls into the filter.
        coverage : Tensor, shape (..., C, B)
            Covered over full denominator, in [0, 1].

        Raises
        ------
        ValueError
            If shapes disagree, a flux at a valid pixel is not finite, or `nu` is not positive.
        TypeError
            If `flux` or `nu` is not floating-point, or `valid` is not bool.
        """
        result = torch.promote_types(_check.floating("flux", flux).dtype, torch.float32)
        flux, nu, valid = self._read(flux, nu, valid)
        lead = _check.broadcast("flux", flux.shape[:-1], "nu", nu.shape[:-1])
        nu = nu.expand(*lead, nu.shape[-1])
        edge = self._first_pixel(nu.detach().unsqueeze(-1))
        weight = self._trapezoid(valid)
        numerator = nu.unsqueeze(-1).square() * self._sum(weight * self.wavelength * flux, nu, edge)
        covered = self._sum(weight * (SPEED_OF_LIGHT / self.wavelength), nu, edge)
        coverage = covered / self.whole
        reached = coverage > ROUNDING
        below = self.whole if self.denominator == "full" else torch.where(reached, covered, 1.0)
        # 0, but NaN where nu is: on a device its values are not looked at
        bands = torch.where(reached, numerator / below, 0 * nu.unsqueeze(-1))
        return bands.to(result), torch.where(reached, coverage.clamp(max=1), 0.0).to(result)

    def _first_pixel(self, nu: Tensor) -> Tensor:
        """First pixel whose shifted wavelength is not below each knot, shape (..., C, K)."""
        if self.log_step is None:
            return torch.searchsorted(self.wavelength, self.knots / nu)
        # Arithmetic instead of a search. Where rounding moves a pixel that lies on a knot to the
        # other side, the two lines that meet there give it the same response.
        position = self.knot_position - nu.log() / self.log_step
        return position.nan_to_num().ceil().clamp(0, len(self.wavelength)).long()

    def _sum(self, values: Tensor, nu: Tensor, edge: Tensor) -> Tensor:
        """Sum over pixels of ``values * R(nu * wavelength)``, shape (..., C, B)."""
        moments = torch.stack([values, values * self.wavelength], -1)
        prefix = nn.functional.pad(moments.cumsum(-2), (0, 0, 1, 0))
        if prefix.ndim > 2:  # each spectrum its own sums: one long table, rows counted on
            prefix = prefix.expand(*edge.shape[:-2], *prefix.shape[-2:])
            first = torch.arange(edge.shape[:-2].numel(), device=edge.device) * prefix.shape[-2]
            edge = edge + first.reshape(*edge.shape[:-2], 1, 1)
        stretch = nn.functional.embedding(edge, prefix.flatten(0, -2)).diff(dim=-2)
        constant, slope = (stretch.flatten(-2) @ self.lines).chunk(2, -1)
        return constant + nu.unsqueeze(-1) * slope

    def _trapezoid(self, valid: Tensor | None) -> Tensor:
        """Trapezoid weights: half of each interval goes to both its ends, if both are valid."""
        spacing = self.spacing / 2
        if valid is not None:
            spacing = spacing * (valid[..., 1:] & valid[..., :-1])
        return nn.functional.pad(spacing, (0, 1)) + nn.functional.pad(spacing, (1, 0))

    def _read(
        self, flux: Tensor, nu: Tensor, valid: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """The arguments in float64 after all checks, `flux` zero where it is not valid."""
        if flux.ndim == 0 or flux.shape[-1] != len(self.wavelength):
            raise ValueError(
                f"flux must have shape (..., {len(self.wavelength)}), one entry a wavelength; "
                f"got {tuple(flux.shape)}"
            )
        if _check.floating("nu", nu).ndim == 0:
            raise ValueError("nu must have shape (..., C), got a scalar: call nu.reshape(1)")
        if _check.can_read_free(nu) and not bool(((nu > 0) & nu.isfinite()).all()):
            raise ValueError("nu = (1 + z) / (1 + z_spec) must be positive and finite")
        if valid is not None:
            _check.mask("valid", valid, flux.shape, "flux")
            flux = torch.where(valid, flux, 0.0)
        if _check.can_read_free(flux) and not bool(flux.isfinite().all()):
            raise ValueError(
                "flux must be finite at valid pixels, got NaN or infinity: mark those pixels "
                "invalid, valid=flux.isfinite()"
            )
        return flux.double(), nu.double(), valid

    def extra_repr(self) -> str:
        """Filters, wavelengths and denominator, for ``repr``."""
        low, high = (f"{self.wavelength[end].item():g}" for end in (0, -1))
        return (
            f"{self.filters!r}, {len(self.wavelength)} pixels on {low}-{high} A, "
            f"denominator={self.denominator!r}"
        )


def _log_step(wavelength: Tensor, filters: FilterSet) -> float | None:
    """Step of a grid that is uniform in ln wavelength to rounding; None for any other.

    None also where a filter ends on a jump: there the side on which a pixel falls matters.
    """
    position = (wavelength / wavelength[0]).log()
    step = (position[-1] / (len(wavelength) - 1)).item()
    even = (position / step - torch.arange(len(wavelength))).abs().max() < 1e-9
    closed = all(curve[0] == 0 == curve[-1] for curve in filters.responses)
    return step if even and closed else None


def _lines(filters: FilterSet) -> tuple[Tensor, Tensor, Tensor]:
    r"""Every filter's knots in one row, the line on each stretch between them, and the integrals.

    Returns
    -------
    knots : Tensor, shape (K,)
        Tabulated wavelengths of all bands, one after another. The last of each band is a hair
        longer, so that a pixel right there still counts.
    lines : Tensor, shape (2 (K - 1), 2 B)
        What the two prefix differences of each stretch contribute to each band: even rows the
        intercept (to the first B columns), odd rows the slope (to the last B).
    whole : Tensor, shape (B,)
        :math:`\int c\,R(\lambda)/\lambda\,d\lambda` over the whole filter, exact.
    """
    bands = len(filters)
    knots, whole = [], []
    lines = torch.zeros(sum(map(len, filters.wavelengths)), 2, 2, bands, dtype=torch.float64)
    start = 0
    for band, (x, y) in enumerate(zip(filters.wavelengths, filters.responses, strict=True)):
        slope = y.diff() / x.diff()
        intercept = y[:-1] - slope * x[:-1]
        lines[start : start + len(slope), 0, 0, band] = intercept
        lines[start : start + len(slope), 1, 1, band] = slope
        integral = intercept * (x[1:] / x[:-1]).log() + slope * x.diff()
        whole.append(SPEED_OF_LIGHT * integral.sum())
        knots.append(torch.cat([x[:-1], torch.nextafter(x[-1:], x[-1:] + 1)]))
        start += len(x)  # the stretch from one band's last knot to the next one's first stays zero
    return torch.cat(knots), lines[:-1].reshape(-1, 2 * bands), torch.stack(whole)
