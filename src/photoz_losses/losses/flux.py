"""The spectrophotometric flux term: the paper's section 3, first constraint, and appendix A."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from photoz_losses import _check, _values
from photoz_losses._calls import typed_as
from photoz_losses._repr import options
from photoz_losses.bins import RedshiftBins
from photoz_losses.losses._reduce import check_reduction, reduce
from photoz_losses.photometry.residual import check_options, flux_residual
from photoz_losses.photometry.synthetic import SyntheticPhotometry


def flux_loss(
    logits: Tensor,
    residual: Tensor,
    band_weight: Tensor | None = None,
    *,
    variance: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    r"""Relative error of the expected flux in each band, averaged over the usable bands.

    .. math:: P_\mathrm{Flux} = \frac{|E[\Phi'] - \Phi'(1)|}{|\Phi'(1)|}
              = \Bigl|\sum_c p_c r_c\Bigr|, \qquad r_c = \frac{\Phi'(\nu_c)}{\Phi'(1)} - 1

    Engel & Strube (2023), section 3 and appendix A. The residuals do not depend on the network:
    compute them once, with `flux_residual`, and a training step costs one small product.

    Parameters
    ----------
    logits : Tensor, shape (..., C)
        Raw output of the network, one logit a bin, without softmax.
    residual : Tensor, shape (..., C, B)
        Residuals r by bin and band, any floating-point type.
    band_weight : Tensor, shape (..., B), optional
        Weight of each band of each galaxy, not negative; 0 where a band is not usable. Default: 1.
        Only their ratios within a galaxy count.
    variance : Tensor, shape (..., B), optional
        Relative variance :math:`\sigma_b^2` of each band's flux at the true redshift, as
        `photoz_losses.photometry.relative_variance` gives it. The loss of a band is then in units
        of its error, :math:`|\sum_c p_c r_c| / \sigma_b`. Errors of calibration are not in it: for
        bright galaxies add their square, say ``variance + 0.02**2``, or those rule the loss. A band
        of infinite variance adds 0 and still counts in the mean; `band_weight` 0 leaves it out.
    reduction : {"mean", "sum", "none"}
        Over galaxies. A galaxy without a usable band counts, with loss 0.

    Returns
    -------
    Tensor, float32 (float64 for float64 logits)
        Scalar, or shape (...) with ``reduction="none"``.

    Raises
    ------
    ValueError
        If shapes disagree, the logits look like probabilities, a weight is negative or not finite,
        the variance of a band in use is not positive, or (on the CPU) the loss of finite numbers
        overflows.
    TypeError
        If an argument is not floating-point.

    Examples
    --------
    >>> import torch
    >>> from photoz_losses import flux_loss
    >>> residual = torch.tensor([[[-0.2], [0.0], [0.4]]])  # one galaxy, three bins, one band
    >>> flux_loss(torch.tensor([[0.0, 999.0, 0.0]]), residual)
    tensor(0.)
    >>> flux_loss(torch.zeros(1, 3), residual)
    tensor(0.0667)
    """
    return _flux_loss(_values.read_logits(logits), residual, band_weight, variance, reduction)


def _flux_loss(
    logits: Tensor,
    residual: Tensor,
    band_weight: Tensor | None,
    variance: Tensor | None,
    reduction: str,
) -> Tensor:
    """`flux_loss` of logits that have been checked."""
    residual = _check.cast("residual", _check.floating("residual", residual), logits.dtype)
    if residual.shape[:-1] != logits.shape or not residual.shape[-1]:
        expected = ", ".join(map(str, logits.shape))
        mend = (
            ": for one band call residual.unsqueeze(-1)" if residual.shape == logits.shape else ""
        )
        raise ValueError(
            f"residual must have the shape ({expected}, B) of logits and B bands, "
            f"got {tuple(residual.shape)}{mend}"
        )
    bands = (*logits.shape[:-1], residual.shape[-1])
    if band_weight is None and variance is None:
        score = _mismatch(logits, residual).mean(-1)
        return reduce(score, reduction, logits=logits, residual=residual)
    share = logits.new_ones(bands) if band_weight is None else band_weight
    share = _shares(share, bands, logits.dtype)
    counted = torch.where(share.unsqueeze(-2) == 0, 0.0, residual)  # may be NaN where not in use
    name = "residual"
    if variance is not None:
        share, name = share / _error(variance, share), "residual, over the root of variance,"
    score = (share * _mismatch(logits, counted)).sum(-1)
    return reduce(score, reduction, **{"logits": logits, name: counted})


def _shares(weight: Tensor, bands: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Weights of the bands in `dtype`, made to sum to 1, or all 0."""
    weight = _check.floating("band_weight", weight)
    weight = weight.to(torch.promote_types(weight.dtype, dtype))  # only ratios have to fit `dtype`
    _check.same_shape("band_weight", weight, bands, "the batch x bands")
    if not _check.can_read_free(weight):
        weight = torch.where(weight < 0, torch.nan, weight)
    elif not bool(((weight >= 0) & weight.isfinite()).all()):
        raise ValueError(
            f"band_weight must not be negative, NaN or infinite, got {_check.span(weight)}: "
            f"0 switches a band off"
        )
    largest = weight.detach().amax(-1, keepdim=True)  # first, so that no sum overflows
    weight = weight / torch.where(largest == 0, 1.0, largest)
    total = weight.sum(-1, keepdim=True)
    return (weight / torch.where(total == 0, 1.0, total)).to(dtype)


def _error(variance: Tensor, weight: Tensor) -> Tensor:
    """Relative error of each band's flux, 1 where the band is not in use."""
    _check.same_shape("variance", _check.floating("variance", variance), weight.shape, "the bands")
    used = weight > 0
    if _check.can_read_free(variance, weight) and not bool((variance[used].float() > 0).all()):
        raise ValueError(
            f"variance must be positive in float32, and not NaN, in every band in use, got "
            f"{_check.span(variance[used])}: give relative_variance, not an error of zero, or "
            f"switch the band off with band_weight 0"
        )
    return torch.where(used, variance, 1.0).sqrt().to(weight.dtype)


def _mismatch(logits: Tensor, residual: Tensor) -> Tensor:
    """The equation: relative error of the expected flux in each band."""
    return (logits.softmax(-1).unsqueeze(-1) * residual).sum(-2).abs()


class FluxLoss(nn.Module):
    """Module of `flux_loss`: ``forward(logits, residual, band_weight=None, variance=None)``.

    Parameters
    ----------
    bins, reduction
        As in `flux_loss`, which has shapes, equation and errors; C is the number of bins.

    Attributes
    ----------
    unusable : Tensor, int64
        Number of galaxies of the last call (outside ``torch.func``) without a usable band, whose
        loss is 0.

    Examples
    --------
    >>> import torch
    >>> from photoz_losses import FluxLoss, RedshiftBins
    >>> bins = RedshiftBins.uniform(0.0, 0.4, 4)
    >>> residual = torch.tensor([[[-0.1], [0.0], [0.1], [0.2]]])  # one galaxy, one band
    >>> FluxLoss(bins)(torch.zeros(1, 4), residual)
    tensor(0.0500)
    """

    unusable: Tensor

    def __init__(self, bins: RedshiftBins, *, reduction: str = "mean") -> None:
        super().__init__()
        self.bins = _check.instance("bins", bins, RedshiftBins)
        self.reduction = check_reduction(reduction)
        self.register_buffer("unusable", torch.zeros((), dtype=torch.int64), persistent=False)

    def forward(
        self,
        logits: Tensor,
        residual: Tensor,
        band_weight: Tensor | None = None,
        variance: Tensor | None = None,
    ) -> Tensor:
        """See `flux_loss`."""
        logits = self.bins.read_logits(logits)
        value = _flux_loss(logits, residual, band_weight, variance, self.reduction)
        weight = logits.new_ones(()) if band_weight is None else band_weight
        if torch.compiler.is_compiling() or _check.can_read(weight, logits):  # not within vmap
            self.unusable.copy_((weight.detach() > 0).any(-1).logical_not().sum())
        return value

    if TYPE_CHECKING:

        @typed_as(forward)
        def __call__(self) -> None:
            """As `forward`."""

    def extra_repr(self) -> str:
        """Options, for ``repr``."""
        return options(self, "reduction")


class SpectrophotometricFluxLoss(nn.Module):
    """The flux term from spectra, whole in the graph: `flux_residual`, then `flux_loss`.

    Gradients flow to the logits, the spectra and the redshifts. Equal to `FluxLoss` on the table
    that `flux_residual` makes, which costs far less where spectra and redshifts are fixed.
    Engel & Strube (2023), section 3, appendices A and B.1 (`min_coverage` 0 is theirs).

    Parameters
    ----------
    bins : RedshiftBins
    photometry : SyntheticPhotometry
        Filters on the spectra's wavelength grid.
    quadrature, min_coverage, min_snr, dimming, cosmology
        As in `flux_residual`.
    reduction : {"mean", "sum", "none"}
        Over galaxies.

    Attributes
    ----------
    unusable : Tensor, int64
        Number of galaxies of the last call (outside ``torch.func``) without a usable band, whose
        loss is 0.

    Examples
    --------
    >>> import torch
    >>> from photoz_losses import RedshiftBins, SpectrophotometricFluxLoss
    >>> from photoz_losses.photometry import FilterSet, SyntheticPhotometry
    >>> grid = torch.linspace(3000.0, 9000.0, 601, dtype=torch.float64)
    >>> box = FilterSet(["r"], [[5500.0, 6500.0]], [[1.0, 1.0]])
    >>> photometry = SyntheticPhotometry(box, grid)
    >>> bins = RedshiftBins.uniform(0.0, 0.4, 4)
    >>> spectra = (grid / 6000.0).float().unsqueeze(0)  # of one galaxy, red
    >>> SpectrophotometricFluxLoss(bins, photometry)(
    ...     torch.zeros(1, 4), spectra, torch.tensor([0.05])
    ... )
    tensor(0.1160)
    """

    def __init__(
        self,
        bins: RedshiftBins,
        photometry: SyntheticPhotometry,
        *,
        quadrature: str = "midpoint",
        min_coverage: float = 0.5,
        min_snr: float = 0.0,
        dimming: str = "none",
        cosmology: Any = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__()
        check_options(quadrature, min_coverage, dimming, cosmology, min_snr)
        self.photometry = _check.instance("photometry", photometry, SyntheticPhotometry)
        self.quadrature, self.min_coverage, self.min_snr = quadrature, min_coverage, min_snr
        self.dimming, self.cosmology = dimming, cosmology
        self.loss = FluxLoss(bins, reduction=reduction)

    @property
    def unusable(self) -> Tensor:
        """Number of galaxies of the last call without a usable band."""
        return self.loss.unusable

    def forward(
        self,
        logits: Tensor,
        flux: Tensor,
        z_spec: Tensor,
        valid: Tensor | None = None,
        ivar: Tensor | None = None,
    ) -> Tensor:
        """Loss from `logits` (N, C) and, as in `flux_residual`, the spectra (N, L) and `z_spec`."""
        leading = _check.floating("logits", logits).shape[:-1]
        if _check.floating("flux", flux).shape[:-1] != leading:
            raise ValueError(
                f"flux must have shape {(*leading, len(self.photometry.wavelength))}, one spectrum "
                f"for each row of logits; got {tuple(flux.shape)}"
            )
        residual, band_weight = flux_residual(
            self.photometry,
            flux,
            z_spec,
            self.loss.bins,
            valid=valid,
            ivar=ivar,
            quadrature=self.quadrature,
            min_coverage=self.min_coverage,
            min_snr=self.min_snr,
            dimming=self.dimming,
            cosmology=self.cosmology,
        )
        return self.loss(logits, residual, band_weight)

    if TYPE_CHECKING:

        @typed_as(forward)
        def __call__(self) -> None:
            """As `forward`."""

    def extra_repr(self) -> str:
        """Options, for ``repr``."""
        return options(self, "quadrature", "min_coverage", "min_snr", "dimming", "cosmology")
