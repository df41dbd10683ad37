"""The conditional density estimate loss: the paper's section 3, last term."""

from typing import TYPE_CHECKING

from torch import Tensor, nn

from photoz_losses import _check
from photoz_losses._calls import typed_as
from photoz_losses._repr import options
from photoz_losses.bins import RedshiftBins, nan_where_unknown
from photoz_losses.losses._reduce import check_reduction, reduce


def cde_loss(
    logits: Tensor, z_spec: Tensor, bins: RedshiftBins, *, reduction: str = "mean"
) -> Tensor:
    r"""Integrated squared error of the density, up to a constant of the data (CDE loss).

    .. math:: P_\mathrm{CDE} = \int f(z)^2\,dz - 2 f(\hat z)
              = \sum_c \frac{p_c^2}{\Delta_c} - \frac{2 p_{c(\hat z)}}{\Delta_{c(\hat z)}}

    Engel & Strube (2023), section 3, after Izbicki & Lee (2016). Exact for the piecewise-constant
    density; in units of 1/redshift, the lower the better, lowest in expectation at the true
    density. Masses in place of densities give another number: they know no bin width.

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
        As `cross_entropy`, but that only bins of about 1e-38 let it overflow.

    Examples
    --------
    >>> import torch
    >>> from photoz_losses import RedshiftBins, cde_loss
    >>> bins = RedshiftBins.uniform(0.0, 0.4, 4)
    >>> cde_loss(torch.zeros(1, 4), torch.tensor([0.05]), bins)
    tensor(-2.5000)
    """
    probs = _check.instance("bins", bins, RedshiftBins).read_logits(logits).softmax(-1)
    density = probs / bins.widths.to(probs.dtype)
    index, place = bins.locate(z_spec, probs.shape[:-1])
    return reduce(cde_score(probs, density, index, place), reduction, place, logits=logits)


def cde_score(probs: Tensor, density: Tensor, index: Tensor, place: Tensor) -> Tensor:
    """CDE loss per galaxy from masses: the formula that `cde_loss` here and in metrics share.

    `index` and `place` are those of `RedshiftBins.locate`.
    """
    at_truth = density.gather(-1, index.unsqueeze(-1)).squeeze(-1)
    return (probs * density).sum(-1) - 2 * at_truth * nan_where_unknown(place, at_truth)


class CDELoss(nn.Module):
    """Module of `cde_loss`: options stored, ``forward(logits, z_spec)``.

    Parameters
    ----------
    bins, reduction
        As in `cde_loss`, which has shapes, equation and errors.

    Examples
    --------
    >>> import torch
    >>> from photoz_losses import CDELoss, RedshiftBins
    >>> bins = RedshiftBins.uniform(0.0, 0.4, 4)
    >>> CDELoss(bins)(torch.zeros(2, 4), torch.tensor([0.05, 0.31]))
    tensor(-2.5000)
    """

    def __init__(self, bins: RedshiftBins, *, reduction: str = "mean") -> None:
        super().__init__()
        self.bins = _check.instance("bins", bins, RedshiftBins)
        self.reduction = check_reduction(reduction)

    def forward(self, logits: Tensor, z_spec: Tensor) -> Tensor:
        """See `cde_loss`."""
        return cde_loss(logits, z_spec, self.bins, reduction=self.reduction)

    if TYPE_CHECKING:

        @typed_as(forward)
        def __call__(self) -> None:
            """As `forward`."""

    def extra_repr(self) -> str:
        """Options, for ``repr``."""
        return options(self, "reduction")
