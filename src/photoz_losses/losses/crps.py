"""The continuous ranked probability score, exact for a piecewise-constant density."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from photoz_losses import _check
from photoz_losses._calls import typed_as
from photoz_losses._repr import options
from photoz_losses.bins import RedshiftBins, mean_square
from photoz_losses.losses._reduce import check_reduction, reduce


def crps_loss(
    logits: Tensor, z_spec: Tensor, bins: RedshiftBins, *, reduction: str = "mean"
) -> Tensor:
    r"""Continuous ranked probability score, in units of redshift.

    .. math:: \mathrm{CRPS} = \int \bigl(F(z) - \mathbf{1}[z \ge \hat z]\bigr)^2\,dz

    Exact: :math:`F` is linear within each bin, and the true redshift splits its bin where it lies.
    Gneiting & Raftery (2007), equation 20. Not among the paper's terms: a proper score like the CDE
    loss, but one that knows how far a wrong bin is.

    Parameters
    ----------
    logits : Tensor, shape (..., C)
        Raw output of the network, one logit a bin, without softmax.
    z_spec : Tensor, float32 or float64, shape (...)
        True redshifts, within the bins.
    bins : RedshiftBins
        The C bins.
    reduction : {"mean", "sum", "none"}
        Over galaxies.

    Returns
    -------
    Tensor, float32 (float64 for float64 logits)
        Scalar, or shape (...) with ``reduction="none"``.

    Raises
    ------
    ValueError, TypeError
        As `cross_entropy`, but that only bins of about 1e38 let it overflow.

    Examples
    --------
    >>> import torch
    >>> from photoz_losses import RedshiftBins, crps_loss
    >>> bins = RedshiftBins.uniform(0.0, 1.0, 2)
    >>> crps_loss(torch.zeros(1, 2), torch.tensor([0.5]), bins)  # uniform on [0, 1]: 1/12
    tensor(0.0833)
    """
    probs = _check.instance("bins", bins, RedshiftBins).read_logits(logits).softmax(-1)
    index, place = bins.locate(z_spec, probs.shape[:-1])
    return reduce(crps_score(probs, index, place, bins), reduction, place, logits=logits)


def crps_score(probs: Tensor, index: Tensor, place: Tensor, bins: RedshiftBins) -> Tensor:
    """CRPS per galaxy from masses: the formula that `crps_loss` and `metrics.crps` share.

    `index` and `place` are those of `RedshiftBins.locate`.
    """
    index, place = index.unsqueeze(-1), place.to(probs.dtype)
    widths = bins.widths.to(probs.dtype)
    upper = _less_one_above(probs, index).cumsum(-1)  # F, and F - 1 above the truth's bin
    squared = torch.addcmul(upper * (upper - probs), probs, probs, value=1 / 3)  # mean_square
    elsewhere = (squared.scatter(-1, index, 0.0) * widths).sum(-1)

    own, high = (x.gather(-1, index).squeeze(-1) for x in (probs, upper))
    low = high - own
    middle = torch.lerp(low, high, place)
    before = place * mean_square(low, middle)
    after = (1 - place) * mean_square(1 - middle, 1 - high)
    return elsewhere + widths[index.squeeze(-1)] * (before + after)


def _less_one_above(probs: Tensor, index: Tensor) -> Tensor:
    """`probs` with one less in the bin above `index`, if there is any: its sums fall to F - 1."""
    last = probs.shape[-1] - 1
    following = (index + 1).clamp(max=last)
    return probs.scatter(-1, following, probs.gather(-1, following) - (index < last).to(probs))


class CRPSLoss(nn.Module):
    """Module of `crps_loss`: options stored, ``forward(logits, z_spec)``.

    Parameters
    ----------
    bins, reduction
        As in `crps_loss`, which has shapes, equation and errors.

    Examples
    --------
    >>> import torch
    >>> from photoz_losses import CRPSLoss, RedshiftBins
    >>> bins = RedshiftBins.uniform(0.0, 0.4, 4)
    >>> CRPSLoss(bins)(torch.zeros(2, 4), torch.tensor([0.05, 0.31]))
    tensor(0.0766)
    """

    def __init__(self, bins: RedshiftBins, *, reduction: str = "mean") -> None:
        super().__init__()
        self.bins = _check.instance("bins", bins, RedshiftBins)
        self.reduction = check_reduction(reduction)

    def forward(self, logits: Tensor, z_spec: Tensor) -> Tensor:
        """See `crps_loss`."""
        return crps_loss(logits, z_spec, self.bins, reduction=self.reduction)

    if TYPE_CHECKING:

        @typed_as(forward)
        def __call__(self) -> None:
            """As `forward`."""

    def extra_repr(self) -> str:
        """Options, for ``repr``."""
        return options(self, "reduction")
