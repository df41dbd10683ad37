"""Scores of whole densities; CDE loss and CRPS by the formulas of the losses of the same names."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from photoz_losses import _check
from photoz_losses._blocks import blocks, joined
from photoz_losses.bins import RedshiftBins, nan_where_unknown
from photoz_losses.losses._reduce import reduce
from photoz_losses.losses.cde import cde_score
from photoz_losses.losses.crps import crps_score
from photoz_losses.metrics._samples import digest
from photoz_losses.metrics._streaming import StreamingMetric


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
    >>> import torch
    >>> from photoz_losses import RedshiftBins
    >>> from photoz_losses.metrics import cde_loss
    >>> bins = RedshiftBins.uniform(0.0, 0.4, 4)
    >>> cde_loss(torch.tensor([[1.0, 0.0, 0.0, 0.0]]), torch.tensor([0.05]), bins)
    tensor(-10.)
    """
    return reduce(_each_galaxy(_cde, probs, z_spec, bins), reduction)


def _cde(probs: Tensor, index: Tensor, place: Tensor, bins: RedshiftBins) -> Tensor:
    return cde_score(probs, probs / bins.widths.to(probs.dtype), index, place)


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
    >>> import torch
    >>> from photoz_losses import RedshiftBins
    >>> from photoz_losses.metrics import crps
    >>> bins = RedshiftBins.uniform(0.0, 1.0, 2)
    >>> crps(torch.tensor([[0.5, 0.5]]), torch.tensor([0.5]), bins)
    tensor(0.0833)
    """
    return reduce(_each_galaxy(crps_score, probs, z_spec, bins), reduction)


def log_score(
    probs: Tensor, z_spec: Tensor, bins: RedshiftBins, *, reduction: str = "mean"
) -> Tensor:
    r"""Logarithmic score of densities, in nats: the lower the better, as every score here.

    .. math:: \mathrm{LogS} = -\ln f(\hat z) = -\ln \frac{p_{c(\hat z)}}{\Delta_{c(\hat z)}}

    Good (1952); Gneiting & Raftery (2007), section 4.1, who write it without the minus sign. It is
    the cross entropy plus the mean of :math:`\ln\Delta_{c(\hat z)}`. A density of zero at the true
    redshift scores infinity, and so does the mean over any galaxies that hold one: nothing is
    clipped. A softmax in float32 rounds masses below 1e-45 to zero; one in float64 does not.

    Parameters
    ----------
    probs, z_spec, bins, reduction
        As in `cde_loss`.

    Returns
    -------
    Tensor
        As in `cde_loss`; infinite where the density is zero at the true redshift.

    Raises
    ------
    ValueError, TypeError
        As `cde_loss`.

    Examples
    --------
    >>> import torch
    >>> from photoz_losses import RedshiftBins
    >>> from photoz_losses.metrics import log_score
    >>> bins = RedshiftBins.uniform(0.0, 0.4, 4)
    >>> log_score(torch.tensor([[0.25, 0.25, 0.25, 0.25]]), torch.tensor([0.05]), bins)  # ln 0.4
    tensor(-0.9163)
    """
    return reduce(_each_galaxy(log_score_of, probs, z_spec, bins), reduction)


def log_score_of(probs: Tensor, index: Tensor, place: Tensor, bins: RedshiftBins) -> Tensor:
    """`log_score` per galaxy, of masses that were read and of places that were found."""
    mass = probs.gather(-1, index.unsqueeze(-1)).squeeze(-1)
    density = mass / bins.widths.to(probs.dtype)[index]
    return -density.log() * nan_where_unknown(place, density)


def brier(probs: Tensor, z_spec: Tensor, bins: RedshiftBins, *, reduction: str = "mean") -> Tensor:
    r"""Brier score of the masses, each bin a class: from 0 (certain and right) to 2.

    .. math:: \mathrm{BS} = \sum_c \bigl(p_c - [c = c(\hat z)]\bigr)^2

    Brier (1950), equation 2. It scores masses, not the density: it knows neither how wide a bin is
    nor how far a wrong one, and it changes when a bin is split. Compare it only between densities
    on the same bins; on unequal ones a miss counts the same in a narrow bin as in a wide one. On
    bins of equal width :math:`\Delta` it is 1 plus :math:`\Delta` times the CDE loss.

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
    >>> import torch
    >>> from photoz_losses import RedshiftBins
    >>> from photoz_losses.metrics import brier
    >>> bins = RedshiftBins.uniform(0.0, 0.4, 4)
    >>> brier(torch.tensor([[0.5, 0.5, 0.0, 0.0]]), torch.tensor([0.05]), bins)
    tensor(0.5000)
    """
    return reduce(_each_galaxy(brier_of, probs, z_spec, bins), reduction)


def brier_of(probs: Tensor, index: Tensor, place: Tensor, bins: RedshiftBins) -> Tensor:
    """`brier` per galaxy, of masses that were read and of places that were found."""
    index = index.unsqueeze(-1)
    squared = probs.square().scatter(-1, index, (1 - probs.gather(-1, index)).square())
    return squared.sum(-1) * nan_where_unknown(place, probs)


def entropy(probs: Tensor, bins: RedshiftBins, *, reduction: str = "mean") -> Tensor:
    r"""Differential entropy of densities, in nats: how wide they are, right or wrong.

    .. math:: h = -\int f(z) \ln f(z)\,dz = -\sum_c p_c \ln\frac{p_c}{\Delta_c}

    Shannon (1948), section 20. The log score that densities expect of themselves: the mean log
    score exceeds the mean entropy where they are overconfident. Negative for densities narrower
    than one unit of redshift.

    Parameters
    ----------
    probs, bins, reduction
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
    >>> import torch
    >>> from photoz_losses import RedshiftBins
    >>> from photoz_losses.metrics import entropy
    >>> bins = RedshiftBins.uniform(0.0, 0.4, 4)
    >>> entropy(torch.tensor([[0.0, 1.0, 0.0, 0.0]]), bins)  # ln 0.1
    tensor(-2.3026)
    """
    parts = []
    _check.instance("bins", bins, RedshiftBins)
    for (block,) in blocks(len(bins), probs):
        read = bins.read_probs(block)
        parts.append(entropy_of(read, read / bins.widths.to(read.dtype)))
    return reduce(joined(parts, probs.shape[:-1]), reduction)


def entropy_of(probs: Tensor, density: Tensor) -> Tensor:
    """`entropy` per galaxy, of masses that were read."""
    tiny = torch.finfo(density.dtype).tiny  # no mass, no part: 0 ln 0 = 0
    return -(probs * density.clamp(min=tiny).log()).sum(-1)


def _each_galaxy(
    score: Callable[..., Tensor], probs: Tensor, z_spec: Tensor, bins: RedshiftBins
) -> Tensor:
    """A score of each galaxy, of masses and redshifts that still have to be read."""
    shape = _check.instance("bins", bins, RedshiftBins).shape_of(probs)
    each = blocks(len(bins), probs, *bins.locate(z_spec, shape))
    parts = [score(bins.read_probs(p), index, place, bins) for p, index, place in each]
    return joined(parts, shape)


class _MeanScore(StreamingMetric):
    """Mean of a score over everything seen, from its sum and the number of galaxies."""

    higher_is_better = False

    def __init__(self, bins: RedshiftBins, score: Callable[..., Tensor], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.bins, self._score = _check.instance("bins", bins, RedshiftBins), score
        # Names of its own: MetricCollection takes metrics whose states agree for one and the same.
        self._total, self._count = (
            f"{score.__name__}_{part}_{digest(bins)}" for part in ("total", "count")
        )
        self.add_state(self._total, torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state(self._count, torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, probs: Tensor, z_spec: Tensor) -> None:
        """Take in a batch of masses (N, C) and true redshifts (N,)."""
        self._add(
            self._score(
                _check.floating("probs", probs).detach(), z_spec, self.bins, reduction="none"
            )
        )

    def _add(self, values: Tensor) -> None:
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

    Examples
    --------
    >>> import torch
    >>> from photoz_losses import RedshiftBins
    >>> from photoz_losses.metrics import CDELoss
    >>> metric = CDELoss(RedshiftBins.uniform(0.0, 0.4, 4))
    >>> metric.update(torch.full((2, 4), 0.25), torch.tensor([0.05, 0.31]))
    >>> metric.compute()
    tensor(-2.5000, dtype=torch.float64)
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

    Examples
    --------
    >>> import torch
    >>> from photoz_losses import RedshiftBins
    >>> from photoz_losses.metrics import CRPS
    >>> metric = CRPS(RedshiftBins.uniform(0.0, 0.4, 4))
    >>> metric.update(torch.full((2, 4), 0.25), torch.tensor([0.05, 0.31]))
    >>> metric.compute()
    tensor(0.0766, dtype=torch.float64)
    """

    def __init__(self, bins: RedshiftBins, **kwargs: Any) -> None:
        super().__init__(bins, crps, **kwargs)


class LogScore(_MeanScore):
    """`log_score` over everything seen, exact over batches and ranks.

    Parameters
    ----------
    bins : RedshiftBins
    **kwargs
        Of ``torchmetrics.Metric``.

    Examples
    --------
    >>> import torch
    >>> from photoz_losses import RedshiftBins
    >>> from photoz_losses.metrics import LogScore
    >>> metric = LogScore(RedshiftBins.uniform(0.0, 0.4, 4))
    >>> metric.update(torch.full((2, 4), 0.25), torch.tensor([0.05, 0.31]))
    >>> metric.compute()
    tensor(-0.9163, dtype=torch.float64)
    """

    def __init__(self, bins: RedshiftBins, **kwargs: Any) -> None:
        super().__init__(bins, log_score, **kwargs)


class Brier(_MeanScore):
    """`brier` over everything seen, exact over batches and ranks.

    Parameters
    ----------
    bins : RedshiftBins
    **kwargs
        Of ``torchmetrics.Metric``.

    Examples
    --------
    >>> import torch
    >>> from photoz_losses import RedshiftBins
    >>> from photoz_losses.metrics import Brier
    >>> metric = Brier(RedshiftBins.uniform(0.0, 0.4, 4))
    >>> metric.update(torch.full((2, 4), 0.25), torch.tensor([0.05, 0.31]))
    >>> metric.compute()
    tensor(0.7500, dtype=torch.float64)
    """

    def __init__(self, bins: RedshiftBins, **kwargs: Any) -> None:
        super().__init__(bins, brier, **kwargs)


class Entropy(_MeanScore):
    """`entropy` over everything seen, exact over batches and ranks; takes no true redshifts.

    Parameters
    ----------
    bins : RedshiftBins
    **kwargs
        Of ``torchmetrics.Metric``.

    Examples
    --------
    >>> import torch
    >>> from photoz_losses import RedshiftBins
    >>> from photoz_losses.metrics import Entropy
    >>> metric = Entropy(RedshiftBins.uniform(0.0, 0.4, 4))
    >>> metric.update(torch.full((2, 4), 0.25))
    >>> metric.compute()
    tensor(-0.9163, dtype=torch.float64)
    """

    def __init__(self, bins: RedshiftBins, **kwargs: Any) -> None:
        super().__init__(bins, entropy, **kwargs)

    def update(self, probs: Tensor) -> None:  # type: ignore[override]
        """Take in a batch of masses (N, C)."""
        self._add(entropy(_check.floating("probs", probs).detach(), self.bins, reduction="none"))
