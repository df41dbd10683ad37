"""Credible intervals: the level at which one first holds the truth, and how often that is right."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from photoz_losses import _check
from photoz_losses._blocks import blocks, joined
from photoz_losses.bins import RedshiftBins, nan_where_unknown
from photoz_losses.losses._reduce import check_reduction
from photoz_losses.metrics._samples import digest
from photoz_losses.metrics._streaming import StreamingMetric
from photoz_losses.metrics.pit import pit_values

INTERVALS = ("central", "highest_density")


def credibility(
    probs: Tensor, z_spec: Tensor, bins: RedshiftBins, *, interval: str = "central"
) -> Tensor:
    r"""Least level whose credible interval holds the true redshift, uniform if calibrated.

    Of central intervals, from quantile :math:`(1 - L)/2` to :math:`(1 + L)/2`:

    .. math:: \alpha = |2\,\mathrm{PIT} - 1|

    Of highest-density regions, after Harrison et al. (2015) and Dalmasso et al. (2020):

    .. math:: \alpha = \int_{f(z) > f(\hat z)} f(z)\,dz
              + s \int_{f(z) = f(\hat z)} f(z)\,dz

    A piecewise-constant density has ties: at the least the whole bin of the true redshift. They are
    taken from low redshift to high, so that :math:`s` is the part of the length with
    :math:`f(z) = f(\hat z)` that lies below :math:`\hat z`. No draw, and exactly uniform where the
    truth is drawn from the density. Densities count as equal within a relative 1e-9 (float32 probs:
    1e-6), which rounding may have set apart. The level is 1 where the density is zero.

    Parameters
    ----------
    probs : Tensor, shape (..., C)
        Masses per bin, ``softmax(logits)``.
    z_spec : Tensor, float32 or float64, shape (...)
        True redshifts, within the bins.
    bins : RedshiftBins
        The C bins.
    interval : {"central", "highest_density"}

    Returns
    -------
    Tensor, float64, shape (...)

    Raises
    ------
    ValueError
        If shapes disagree, a redshift is NaN or outside the bins, rows are no masses, or the
        interval is unknown.
    TypeError
        If an argument is not floating-point.

    Examples
    --------
    >>> import torch
    >>> from photoz_losses import RedshiftBins
    >>> from photoz_losses.metrics import credibility
    >>> bins = RedshiftBins.uniform(0.0, 0.4, 4)
    >>> probs = torch.tensor([[0.25, 0.5, 0.25, 0.0]])
    >>> credibility(probs, torch.tensor([0.3]), bins, interval="highest_density")
    tensor([1.], dtype=torch.float64)
    """
    _check.one_of("interval", interval, INTERVALS)
    if interval == "central":
        return central_of(pit_values(probs, z_spec, bins))
    shape = _check.instance("bins", bins, RedshiftBins).shape_of(probs)
    each = blocks(len(bins), probs, *bins.locate(z_spec, shape))
    parts = [_highest_density(bins.read_probs(p), i, w, bins) for p, i, w in each]
    return joined(parts, shape)


def central_of(pit: Tensor) -> Tensor:
    """`credibility` of central intervals, of the PIT in float64."""
    return (2 * pit - 1).abs()


def _highest_density(probs: Tensor, index: Tensor, place: Tensor, bins: RedshiftBins) -> Tensor:
    density = probs / bins.widths.to(probs.dtype)
    return highest_density_of(probs, density, index, place, bins)


def highest_density_of(
    probs: Tensor, density: Tensor, index: Tensor, place: Tensor, bins: RedshiftBins
) -> Tensor:
    """`credibility` of highest-density regions, of masses that were read and places found."""
    tolerance = 1e-6 if probs.dtype == torch.float32 else 1e-9
    index = index.unsqueeze(-1)
    probs, density = probs.double(), density.double()
    own = density.gather(-1, index)
    higher = _exceeds(density, own * (1 + tolerance))
    tied = 1 - higher - _exceeds(own * (1 - tolerance), density)
    length = tied * bins.widths
    reach = length.cumsum(-1)
    before = reach.gather(-1, index) - length.gather(-1, index)
    below = before.squeeze(-1) + place * bins.widths[index.squeeze(-1)]
    share = (below / reach[..., -1]).clamp(0, 1)
    level = (probs * higher).sum(-1) + share * (probs * tied).sum(-1)
    return level.clamp(0, 1) * nan_where_unknown(place, level)


def _exceeds(values: Tensor, limit: Tensor) -> Tensor:
    """1. where values exceed the limit, else 0.: a comparison's booleans take longer to convert."""
    return (values - limit).sign().relu()


def coverage(
    probs: Tensor,
    z_spec: Tensor,
    bins: RedshiftBins,
    *,
    level: float | Sequence[float] | Tensor = 0.68,
    interval: str = "central",
    reduction: str = "mean",
) -> Tensor:
    r"""Fraction of true redshifts inside the credible intervals of a level, or of several.

    .. math:: \frac1N \sum_i [\alpha_i \le L]

    with the `credibility` :math:`\alpha`: the mean coverage curve over levels, on the diagonal for
    calibrated densities, below it for densities that are too narrow. Exact: no interval is drawn on
    a grid. A central interval may straddle redshifts of low density; a highest-density region is
    the shortest of its mass, and may be in pieces. A true redshift of zero density is covered by
    level 1 only.

    Parameters
    ----------
    probs, z_spec, bins, interval
        As in `credibility`.
    level : float or sequence of float
        Levels in [0, 1].
    reduction : {"mean", "sum", "none"}
        Over galaxies; "none" tells for each galaxy and level whether it is covered, 1 or 0.

    Returns
    -------
    Tensor, float64, shape of `level`
        Fractions, not per cent; NaN without galaxies. With ``reduction="none"`` the shape is that
        of `z_spec` and then that of `level`.

    Raises
    ------
    ValueError, TypeError
        As `credibility`; also if a level lies outside [0, 1], or `reduction` is unknown.

    Examples
    --------
    >>> import torch
    >>> from photoz_losses import RedshiftBins
    >>> from photoz_losses.metrics import coverage
    >>> bins = RedshiftBins.uniform(0.0, 0.4, 4)
    >>> probs = torch.tensor([[0.25, 0.5, 0.25, 0.0]]).expand(2, -1)
    >>> coverage(probs, torch.tensor([0.12, 0.29]), bins, level=[0.5, 0.95])
    tensor([0.5000, 1.0000], dtype=torch.float64)
    """
    check_reduction(reduction)
    _check.instance("bins", bins, RedshiftBins)
    levels = _levels(level)
    # from the host to a device without waiting, which would be no copy yet the other way round
    levels = levels.to(bins.edges.device, non_blocking=levels.device.type == "cpu")
    value = credibility(probs, z_spec, bins, interval=interval)
    if reduction == "none":
        value = value.detach().reshape(*value.shape, *levels.ndim * (1,))
        return torch.where(value.isnan(), torch.nan, (value <= levels).double())
    covered = _covered(value, levels)
    return covered / value.numel() if reduction == "mean" else covered


class Coverage(StreamingMetric):
    """`coverage` over everything seen, exact over batches and ranks: keeps one count a level.

    Parameters
    ----------
    bins : RedshiftBins
    level, interval
        As in `coverage`.
    **kwargs
        Of ``torchmetrics.Metric``.

    Examples
    --------
    >>> import torch
    >>> from photoz_losses import RedshiftBins
    >>> from photoz_losses.metrics import Coverage
    >>> bins = RedshiftBins.uniform(0.0, 0.4, 4)
    >>> metric = Coverage(bins, level=0.5)
    >>> probs = torch.tensor([[0.25, 0.5, 0.25, 0.0]])
    >>> metric.update(probs, torch.tensor([0.12]))
    >>> metric.update(probs, torch.tensor([0.29]))
    >>> metric.compute()
    tensor(0.5000, dtype=torch.float64)
    """

    level: Tensor
    _options = ("level", "interval")

    def __init__(
        self,
        bins: RedshiftBins,
        *,
        level: float | Sequence[float] | Tensor = 0.68,
        interval: str = "central",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.bins = _check.instance("bins", bins, RedshiftBins)
        self.interval = _check.one_of("interval", interval, INTERVALS)
        self.register_buffer("level", _levels(level), persistent=False)
        # Names of its own: MetricCollection takes metrics whose states agree for one and the same.
        own = digest(bins, self.level, interval)
        self._covered, self._count = f"covered_{own}", f"coverage_count_{own}"
        self.add_state(self._covered, torch.zeros_like(self.level), dist_reduce_fx="sum")
        self.add_state(self._count, torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, probs: Tensor, z_spec: Tensor) -> None:
        """Take in a batch of masses (N, C) and true redshifts (N,)."""
        value = credibility(probs, z_spec, self.bins, interval=self.interval)
        covered = _covered(value, self.level.to(value.device))
        setattr(self, self._covered, getattr(self, self._covered) + covered)
        setattr(self, self._count, getattr(self, self._count) + value.numel())

    def compute(self) -> Tensor:
        """Fraction of true redshifts covered, float64, shape of `level`; NaN without galaxies."""
        fraction: Tensor = getattr(self, self._covered) / getattr(self, self._count)
        return fraction


def _levels(level: float | Sequence[float] | Tensor) -> Tensor:
    if isinstance(level, (float, int)):  # a fill: torch 2.4 exports no constant without a warning
        levels = torch.full((), _check.number("level", level), dtype=torch.float64)
    elif isinstance(level, Tensor) and level.is_floating_point():
        levels = level.detach().to(torch.float64, copy=True)
    else:
        levels = torch.from_numpy(_check.numbers("level", level))
    if _check.can_read_free(levels) and not bool(((levels >= 0) & (levels <= 1)).all()):
        raise ValueError(
            f"level must lie in [0, 1], got {_check.span(levels)}: give fractions, not percentages"
        )
    return levels


def _covered(value: Tensor, levels: Tensor) -> Tensor:
    """How many of the values each level reaches; NaN where one is NaN."""
    ordered = value.detach().flatten().sort().values
    number = torch.searchsorted(ordered, levels.contiguous(), right=True).double()
    return torch.where(ordered.isnan().any(), torch.nan, number)
