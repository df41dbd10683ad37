"""Scores of whole densities, by the formulas of the losses of the same names."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from photoz_losses.bins import RedshiftBins
from photoz_losses.losses._reduce import reduce
from photoz_losses.losses.cde import cde_score
from photoz_losses.losses.crps import crps_score


def cde_loss(
    probs: Tensor, z_spec: Tensor, bins: RedshiftBins, *, reduction: str = "mean"
) -> Tensor:
    """CDE loss of densities (paper, section 3), per unit redshift: the lower the better.

    `photoz_losses.cde_loss`, which has the formula, from masses instead of logits.

    Parameters
    ----------
    probs : Tensor, shape (..., C)
        Masses per bin, ``softmax(logits)``.
    z_spec : Tensor, float32 or float64, shape (...)
        True redshifts, within the bins.
    bins : RedshiftBins
        The C bins.
    reduction : {"mean", "sum", "none"}
        Over galaxies.

    Returns
    -------
    Tensor
        Scalar, or shape (...) with ``reduction="none"``; NaN without galaxies.

    Raises
    ------
    ValueError
        If shapes disagree, a redshift is NaN or outside the bins, or rows are no masses.
    TypeError
        If an argument is not floating-point.

    Examples
    --------
    >>> bins = RedshiftBins.uniform(0.0, 0.4, 4)
    >>> cde_loss(torch.tensor([[1.0, 0.0, 0.0, 0.0]]), torch.tensor([0.05]), bins)
    tensor(-10.)
    """
    return reduce(cde_score(bins.read_probs(probs), z_spec, bins), reduction)


def crps(probs: Tensor, z_spec: Tensor, bins: RedshiftBins, *, reduction: str = "mean") -> Tensor:
    """Continuous ranked probability score of densities, in redshift: the lower the better.

    `photoz_losses.crps_loss`, which has the formula, from masses instead of logits.

    Parameters
    ----------
    probs, z_spec, bins, reduction
        As in `cde_loss`.

    Returns
    -------
    Tensor
        As in `cde_loss`.

    Raises
    ------
    ValueError, TypeError
        As `cde_loss`.

    Examples
    --------
    >>> bins = RedshiftBins.uniform(0.0, 1.0, 2)
    >>> crps(torch.tensor([[0.5, 0.5]]), torch.tensor([0.5]), bins)
    tensor(0.0833)
    """
    return reduce(crps_score(bins.read_probs(probs), z_spec, bins), reduction)


class _MeanScore(Metric):
    """Mean of a score over everything seen, from its sum and the number of galaxies."""

    full_state_update = False
    higher_is_better = False

    def __init__(self, bins: RedshiftBins, score: Callable[..., Tensor], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.bins, self._score = bins, score
        # Names of its own: MetricCollection takes metrics whose states agree for one and the same.
        self._total, self._count = f"{score.__name__}_total", f"{score.__name__}_count"
        self.add_state(self._total, torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state(self._count, torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, probs: Tensor, z_spec: Tensor) -> None:
        """Take in a batch of masses (N, C) and true redshifts (N,)."""
        values = self._score(probs.detach(), z_spec, self.bins, reduction="none")
        setattr(self, self._total, getattr(self, self._total) + values.double().sum())
        setattr(self, self._count, getattr(self, self._count) + values.numel())

    def compute(self) -> Tensor:
        """Mean score, float64; NaN without galaxies."""
        mean: Tensor = getattr(self, self._total) / getattr(self, self._count)
        return mean


class CDELoss(_MeanScore):
    """`cde_loss` over everything seen, exact over batches and ranks.

    Parameters
    ----------
    bins : RedshiftBins
    **kwargs
        Of ``torchmetrics.Metric``.
    """

    def __init__(self, bins: RedshiftBins, **kwargs: Any) -> None:
        super().__init__(bins, cde_loss, **kwargs)


class CRPS(_MeanScore):
    """`crps` over everything seen, exact over batches and ranks.

    Parameters
    ----------
    bins : RedshiftBins
    **kwargs
        Of ``torchmetrics.Metric``.
    """

    def __init__(self, bins: RedshiftBins, **kwargs: Any) -> None:
        super().__init__(bins, crps, **kwargs)
