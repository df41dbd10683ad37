"""Cross entropy over redshift bins and the penalty on the weights: the paper's section 2."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from photoz_losses import _check, _values
from photoz_losses._calls import typed_as
from photoz_losses._repr import options
from photoz_losses.bins import RedshiftBins, nan_where_unknown
from photoz_losses.losses._reduce import check_reduction, reduce


def cross_entropy(
    logits: Tensor,
    z_spec: Tensor,
    bins: RedshiftBins,
    *,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
) -> Tensor:
    r"""Negative log mass of the bin that holds the true redshift.

    .. math:: L_\mathrm{CE} = -\log p_{c(\hat z)}, \qquad p = \mathrm{softmax}(\text{logits})

    Engel & Strube (2023), section 2, first equation without its penalty, which is `l2_penalty`.

    Parameters
    ----------
    logits : Tensor, shape (..., C)
        Raw output of the network, one logit a bin, without softmax.
    z_spec : Tensor, float32 or float64, shape (...)
        True redshifts, within the bins.
    bins : RedshiftBins
        The C bins.
    label_smoothing : float
        Share of the target mass spread evenly over all bins, in [0, 1).
    reduction : {"mean", "sum", "none"}
        Over galaxies.

    Returns
    -------
    Tensor, float32 (float64 for float64 logits)
        Scalar, or shape (...) with ``reduction="none"``.

    Raises
    ------
    ValueError
        If shapes disagree, a redshift is NaN or outside the bins, the logits look like
        probabilities, or an option is not among those above; or (on the CPU) if the loss of finite
        logits overflows, in float32 beyond differences of about 3e38.
    TypeError
        If logits or redshifts are not floating-point, or redshifts are in half precision.

    Examples
    --------
    >>> import torch
    >>> from photoz_losses import RedshiftBins, cross_entropy
    >>> bins = RedshiftBins.uniform(0.0, 0.4, 4)
    >>> cross_entropy(torch.zeros(2, 4), torch.tensor([0.05, 0.31]), bins)
    tensor(1.3863)
    """
    _check_smoothing(label_smoothing)
    logits = _check.instance("bins", bins, RedshiftBins).read_logits(logits)
    index, place = bins.locate(z_spec, logits.shape[:-1])
    log_probs = logits.log_softmax(-1)
    value = -log_probs.gather(-1, index.unsqueeze(-1)).squeeze(-1)
    if label_smoothing > 0:
        value = (1 - label_smoothing) * value - label_smoothing * log_probs.mean(-1)
    return reduce(value * nan_where_unknown(place, value), reduction, place, logits=logits)


def _check_smoothing(label_smoothing: float) -> None:
    if not 0 <= _check.number("label_smoothing", label_smoothing) < 1:
        raise ValueError(f"label_smoothing must lie in [0, 1), got {label_smoothing}")


class RedshiftCrossEntropy(nn.Module):
    """Module of `cross_entropy`: options stored, ``forward(logits, z_spec)``.

    Parameters
    ----------
    bins, label_smoothing, reduction
        As in `cross_entropy`, which has shapes, equation and errors.

    Examples
    --------
    >>> import torch
    >>> from photoz_losses import RedshiftBins, RedshiftCrossEntropy
    >>> bins = RedshiftBins.uniform(0.0, 0.4, 4)
    >>> RedshiftCrossEntropy(bins)(torch.zeros(2, 4), torch.tensor([0.05, 0.31]))
    tensor(1.3863)
    """

    def __init__(
        self, bins: RedshiftBins, label_smoothing: float = 0.0, *, reduction: str = "mean"
    ) -> None:
        super().__init__()
        _check_smoothing(label_smoothing)
        self.bins = _check.instance("bins", bins, RedshiftBins)
        self.label_smoothing = label_smoothing
        self.reduction = check_reduction(reduction)

    def forward(self, logits: Tensor, z_spec: Tensor) -> Tensor:
        """See `cross_entropy`."""
        return cross_entropy(
            logits,
            z_spec,
            self.bins,
            label_smoothing=self.label_smoothing,
            reduction=self.reduction,
        )

    if TYPE_CHECKING:

        @typed_as(forward)
        def __call__(self) -> None:
            """As `forward`."""

    def extra_repr(self) -> str:
        """Options, for ``repr``."""
        return options(self, "label_smoothing", "reduction")


def l2_penalty(parameters: Iterable[Tensor]) -> Tensor:
    r"""Sum of squares of all weights, :math:`\|\theta\|^2`.

    Engel & Strube (2023), section 2, first equation: to be weighted with :math:`\gamma_0` (1e-6 in
    table 2). An optimiser's ``weight_decay`` is another road to the same end: use one of them.

    Parameters
    ----------
    parameters : iterable of Tensor
        ``model.parameters()``, called anew in each step, or a list made once.

    Returns
    -------
    Tensor
        Scalar in float32, or float64 where a parameter is.

    Raises
    ------
    ValueError
        If there is no parameter: a generator that an earlier step used up would otherwise switch
        the penalty off without a word. If (on the CPU) the sum of finite squares overflows.
    TypeError
        If a parameter is not a dense floating-point tensor.

    Examples
    --------
    >>> import torch
    >>> from photoz_losses import l2_penalty
    >>> l2_penalty([torch.tensor([1.0, 2.0]), torch.tensor([[2.0]])])
    tensor(9.)
    """
    walked = _check.each_floating("parameters", parameters)
    squares = [_check.at_least_single("parameters", p).square().sum() for p in walked]
    if not squares:
        raise ValueError(
            "parameters is empty: pass model.parameters() anew in each step, or a list of it; "
            "a generator can be walked through only once"
        )
    total = squares[0]
    for square in squares[1:]:
        total = total + square.to(total.device)
    if _check.can_read_free(total, *walked) and not bool(total.isfinite()):
        _values.refuse_overflow(total, total, parameters=torch.cat([p.flatten() for p in walked]))
    return total


class L2Penalty(nn.Module):
    """Module of `l2_penalty`: ``forward(parameters)``, so that TotalLoss can weigh it.

    Examples
    --------
    >>> import torch
    >>> from photoz_losses import L2Penalty
    >>> L2Penalty()([torch.tensor([3.0, 4.0])])
    tensor(25.)
    """

    def __init__(self) -> None:
        super().__init__()

    def forward(self, parameters: Iterable[Tensor]) -> Tensor:
        """See `l2_penalty`."""
        return l2_penalty(parameters)

    if TYPE_CHECKING:

        @typed_as(forward)
        def __call__(self) -> None:
            """As `forward`."""
