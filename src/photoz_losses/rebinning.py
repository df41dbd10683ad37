"""Masses of a density moved to other bins."""

import torch
from torch import Tensor

from photoz_losses import _check
from photoz_losses.bins import RedshiftBins

LOST = 1e-6  # mass that a density may lose outside the new bins unnoticed: float32 holds no less


def rebin(
    probs: Tensor, bins: RedshiftBins, new_bins: RedshiftBins, *, outside: str = "raise"
) -> Tensor:
    r"""Masses of the same density on other bins.

    .. math:: p'_k = \sum_c p_c\, \frac{|B_c \cap B'_k|}{\Delta_c}

    Exact for the piecewise-constant density, and undone by rebinning back if every edge of ``bins``
    is one of ``new_bins``. On other bins the density is averaged within each of the new ones.

    Parameters
    ----------
    probs : Tensor, shape (..., C)
        Masses per bin, ``softmax(logits)``.
    bins, new_bins : RedshiftBins
        The C bins that they are on, and the K that they are moved to.
    outside : {"raise", "renormalize"}
        What happens to mass outside the new bins, where that is more than 1e-6: an error, or it is
        dropped and the rest divided by its sum, which conditions the density on the new range.

    Returns
    -------
    Tensor, float32 (float64 for float64 probs), shape (..., K)
        Each row sums to one. NaN where no mass is left, and where values are not checked (see
        `RedshiftBins`) also for what should have raised.

    Raises
    ------
    ValueError
        If rows are no masses, or mass lies outside the new bins.
    TypeError
        If `probs` is not floating-point.

    Examples
    --------
    >>> import torch
    >>> from photoz_losses import RedshiftBins, rebin
    >>> coarse, fine = RedshiftBins([0.0, 0.2, 0.4]), RedshiftBins([0.0, 0.1, 0.2, 0.4])
    >>> rebin(torch.tensor([0.5, 0.5]), coarse, fine)
    tensor([0.2500, 0.2500, 0.5000])
    """
    _check.one_of("outside", outside, ("raise", "renormalize"))
    for name, grid in (("bins", bins), ("new_bins", new_bins)):
        _check.instance(name, grid, RedshiftBins)
    masses = bins.read_probs(probs)
    moved = masses.double() @ bins.overlap(new_bins.edges[:-1], new_bins.edges[1:])
    kept = moved.sum(-1, keepdim=True)
    least = 1 - LOST if outside == "raise" else 0.0
    if outside == "raise" and _check.can_read_free(kept) and bool((kept <= least).any()):
        low, high = new_bins.edges[0].item(), new_bins.edges[-1].item()
        raise ValueError(
            f"probs must lie within new_bins, [{low:g}, {high:g}]: up to "
            f"{1 - kept.min().item():.3g} of a density lies outside. Widen new_bins, or condition "
            f"on their range with outside='renormalize'"
        )
    return (moved / torch.where(kept > least, kept, torch.nan)).to(masses.dtype)
