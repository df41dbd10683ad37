r"""The spectrophotometric flux at any redshift, exact and cheap: the paper's appendix A.

Numerator and denominator are sums over pixels with the filter as the weight; ``_filter_sums.py``
makes them, without a pass over the pixels for each redshift. Spectra are worked through in blocks
whose temporaries fit a given number of bytes.
"""

import copy
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from photoz_losses import _check
from photoz_losses._calls import typed_as
from photoz_losses._float64 import Float64Module
from photoz_losses.photometry._blocks import Kernel, in_blocks
from photoz_losses.photometry._filter_sums import FilterSums, lines
from photoz_losses.photometry.filters import FilterSet

SPEED_OF_LIGHT = 2.99792458e18  # Angstrom / s
DENOMINATORS = ("covered", "full")
ROUNDING = 1e-12  # coverage below this is what float64 prefix sums leave of zero
CHUNK_BYTES = 2**24  # of temporaries at once, on the CPU: about what a cache holds
DEVICE_CHUNK_BYTES = 2**30
TEMPORARIES = 8  # float64 or int64 arrays of one band's knots and shifts that live at a time
GRAPH_BYTES = 2**28  # of look-ups that a graph may keep; beyond, backward makes them anew


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
        astropy Quantity or Column is converted).
    denominator : {"covered", "full"}
        Over the part of the filter that the spectrum covers (the equation above), or over the whole
        filter, as if the spectrum were zero where it was not measured. The latter at ``nu = 1`` is
        3631 Jy times the AB maggies of speclite for a zero-padded spectrum.
    chunk_bytes : int, optional
        Working memory of one block of spectra; results do not depend on it. Default: 16 MiB on the
        CPU, about what a cache holds, and 1 GiB on other devices.

    Raises
    ------
    ValueError
        If wavelengths are not finite, positive and strictly increasing, or reach no filter.
    TypeError
        If filters are no `FilterSet`, or wavelengths are not numbers, or have a unit of no length.

    Notes
    -----
    On the CPU values and gradients are the same bits in every run and with any number of threads;
    compiled, they differ from eager ones by rounding, and are the same bits in every run too. On
    CUDA, PyTorch adds up prefix sums and gradients of look-ups in an order that varies, unless
    ``torch.use_deterministic_algorithms(True)``.

    Examples
    --------
    >>> import torch
    >>> from photoz_losses.photometry import FilterSet, SyntheticPhotometry
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
    whole: Tensor

    def __init__(
        self,
        filters: FilterSet,
        wavelength: Any,
        *,
        denominator: str = "covered",
        chunk_bytes: int | None = None,
    ) -> None:
        super().__init__()
        self.denominator = _check.one_of("denominator", denominator, DENOMINATORS)
        if chunk_bytes is not None:
            chunk_bytes = _check.count("chunk_bytes", chunk_bytes, 1)
        self.chunk_bytes = chunk_bytes
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
        self.filters = copy.deepcopy(filters)  # whose curves are tensors that can be changed
        self.sums = FilterSums(filters, wavelength)
        self.squares = FilterSums(filters, wavelength, power=2)
        self.register_buffer("wavelength", wavelength, persistent=False)
        self.register_buffer("spacing", wavelength.diff(), persistent=False)
        self.register_buffer("whole", _whole(filters), persistent=False)

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
        bands, coverage = self.evaluate(flux, nu, valid)
        return bands.to(result), coverage.to(result)

    if TYPE_CHECKING:

        @typed_as(forward)
        def __call__(self) -> None:
            """As `forward`."""

    def evaluate(
        self, flux: Tensor, nu: Tensor, valid: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """As `forward`, in float64 whatever comes in.

        Raises
        ------
        ValueError, TypeError
            As `forward`.
        """
        flux, nu, valid = self._read("flux", flux, nu, valid)
        above, covered = self._in_blocks(self._sums, flux, nu, valid)
        return self._divide(above, covered, nu, 1)

    def variance(self, ivar: Tensor, nu: Tensor, valid: Tensor | None = None) -> Tensor:
        r"""Variance of the flux in bands, from the inverse variance of every pixel.

        .. math:: \operatorname{Var} \Phi'(\nu) = \frac{\nu^4 \sum_k
                  \left[w_k\,\lambda_k\,R(\nu\lambda_k)\right]^2 / \mathrm{ivar}_k}
                  {\left[\sum_k w_k\,(c/\lambda_k)\,R(\nu\lambda_k)\right]^2}

        Exact for independent pixels (the paper ignores errors); neighbouring pixels of a
        resampled spectrum are not quite.

        Parameters
        ----------
        ivar : Tensor, shape (..., L)
            Inverse variance of the flux, not negative. A pixel of zero ivar counts nowhere: this is
            the variance of ``forward(flux, nu, valid & (ivar > 0))``.
        nu, valid
            As in `forward`.

        Returns
        -------
        Tensor, shape (..., C, B), float64
            In the square of the unit of `forward`. 0 where no pixel falls into the filter.

        Raises
        ------
        ValueError
            If shapes disagree, an ivar at a valid pixel is negative or not finite, or `nu` is not
            positive.
        TypeError
            If `ivar` or `nu` is not floating-point, or `valid` is not bool.
        """
        ivar, nu, valid = self._read("ivar", ivar, nu, valid)
        _check.inverse_variance("ivar", ivar, valid)
        trusted = ivar > 0 if valid is None else valid & (ivar > 0)
        above, covered = self._in_blocks(self._sums_of_squares, ivar, nu, trusted)
        return self._divide(above, covered, nu, 2)[0]

    def _sums(self, flux: Tensor, nu: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
        """Both sums of the equation, (N, C, B), from `flux` (N, L) and `nu` (N, C)."""
        weight = self._trapezoid(valid)
        if valid is not None:
            flux = torch.where(valid, flux, 0.0)
        pixels = self.sums.first_pixels(nu.detach())
        above = self.sums(pixels, nu, weight * self.wavelength * flux.double())
        return above, self.sums(pixels, nu, weight * (SPEED_OF_LIGHT / self.wavelength))

    def _sums_of_squares(self, ivar: Tensor, nu: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """The same for the variance."""
        weight = self._trapezoid(valid)
        variance = torch.where(valid, ivar.double(), torch.inf).reciprocal()
        values = (weight * self.wavelength).square() * variance
        pixels = self.sums.first_pixels(nu.detach())  # the squares bend at the same knots
        above = self.squares(pixels, nu, values)
        return above, self.sums(pixels, nu, weight * (SPEED_OF_LIGHT / self.wavelength))

    def _in_blocks(
        self, kernel: Kernel, spectra: Tensor, nu: Tensor, valid: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Sums (..., C, B) for spectra and shifts whose leading dimensions broadcast."""
        lead = torch.broadcast_shapes(spectra.shape[:-1], nu.shape[:-1])
        flat = [
            None if x is None else x.expand(*lead, -1).reshape(lead.numel(), x.shape[-1])
            for x in (spectra, nu, valid)
        ]
        shape = (*lead, nu.shape[-1], len(self.filters))
        looked_up = lead.numel() * nu.shape[-1] * len(self.sums.knots) * 8
        rows, keep = self._spectra_at_once(nu), looked_up <= GRAPH_BYTES
        above, covered = in_blocks(kernel, flat, rows, keep=keep)
        return above.reshape(shape), covered.reshape(shape)

    def _spectra_at_once(self, nu: Tensor) -> int:
        """How many spectra fit the working memory."""
        default = CHUNK_BYTES if nu.device.type == "cpu" else DEVICE_CHUNK_BYTES
        longest = max(nu.shape[-1] * max(self.sums.sizes), len(self.wavelength))
        return max(1, (self.chunk_bytes or default) // (TEMPORARIES * longest * 8))

    def _divide(
        self, above: Tensor, covered: Tensor, nu: Tensor, power: int
    ) -> tuple[Tensor, Tensor]:
        """The equation or its square, and the coverage; both 0 where nothing is seen."""
        nu = nu.unsqueeze(-1)
        coverage = covered / self.whole
        reached = coverage > ROUNDING
        below = self.whole if self.denominator == "full" else torch.where(reached, covered, 1.0)
        # 0, but NaN where nu is: on a device its values are not looked at
        ratio = torch.where(reached, nu ** (2 * power) * above / below**power, 0 * nu)
        return ratio, torch.where(reached, coverage.clamp(max=1), 0.0)

    def _trapezoid(self, valid: Tensor | None) -> Tensor:
        """Trapezoid weights: half of each interval goes to both its ends, if both are valid."""
        spacing = self.spacing / 2
        if valid is not None:
            spacing = spacing * (valid[..., 1:] & valid[..., :-1])
        return nn.functional.pad(spacing, (0, 1)) + nn.functional.pad(spacing, (1, 0))

    def _read(
        self, name: str, values: Tensor, nu: Tensor, valid: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """The arguments after all checks, `nu` in float64."""
        self._refuse_rounded("wavelength")
        if _check.floating(name, values).shape[-1:] != (len(self.wavelength),):
            raise ValueError(
                f"{name} must have shape (..., {len(self.wavelength)}), one entry a wavelength; "
                f"got {tuple(values.shape)}"
            )
        if _check.floating("nu", nu).ndim == 0:
            raise ValueError("nu must have shape (..., C), got a scalar: call nu.reshape(1)")
        _check.broadcast(name, values.shape[:-1], "nu", nu.shape[:-1])
        if _check.can_read_free(nu) and not bool(((nu > 0) & nu.isfinite()).all()):
            raise ValueError(
                f"nu = (1 + z) / (1 + z_spec) must be positive and finite, got {_check.span(nu)}: "
                f"give redshifts above -1"
            )
        if valid is not None:
            _check.mask("valid", valid, values.shape, name)
        if _check.can_read_free(values):
            finite = values.isfinite() if valid is None else values.isfinite() | ~valid
            if not bool(finite.all()):
                raise ValueError(
                    f"{name} must be finite at valid pixels, got NaN or infinity: mark those "
                    f"pixels invalid, valid={name}.isfinite()"
                )
        return values, nu.double(), valid

    def extra_repr(self) -> str:
        """Filters, wavelengths and denominator, for ``repr``."""
        low, high = (f"{self.wavelength[end].item():g}" for end in (0, -1))
        return (
            f"{self.filters!r}, {len(self.wavelength)} pixels on {low}-{high} A, "
            f"denominator={self.denominator!r}"
        )


def _whole(filters: FilterSet) -> Tensor:
    r""":math:`\int c\,R(\lambda)/\lambda\,d\lambda` over each whole filter, exact; shape (B,)."""
    integrals = []
    for x, y in zip(filters.wavelengths, filters.responses, strict=True):
        intercept, slope = lines(x, y)
        integrals.append((intercept * (x[1:] / x[:-1]).log() + slope * x.diff()).sum())
    return SPEED_OF_LIGHT * torch.stack(integrals)
