"""Whether a sample of PIT values is uniform: tests with p-values, and the histogram."""

import math
from typing import Any

import torch
from scipy import stats
from torch import Tensor

from photoz_losses import _check
from photoz_losses.bins import RedshiftBins
from photoz_losses.metrics._pvalues import (
    anderson_darling_pvalue,
    cramer_von_mises_pvalue,
    kolmogorov_smirnov_pvalue,
)
from photoz_losses.metrics._table import MetricTable
from photoz_losses.metrics.pit import PITSample

CATASTROPHIC = 1e-4  # of a calibrated sample, this fraction lies this near to either end


def pit_histogram(pit_values: Tensor, *, n_bins: int = 20) -> Tensor:
    """Number of PIT values in equal bins of [0, 1], the upper end in the last.

    Parameters
    ----------
    pit_values : Tensor, any shape
        Values of `pit`.
    n_bins : int
        Number of bins, at least two.

    Returns
    -------
    Tensor, int64, shape (n_bins,)

    Raises
    ------
    ValueError
        If a value is NaN or outside [0, 1], or there are fewer than two bins.
    TypeError
        If the values are not floating-point.

    Examples
    --------
    >>> import torch
    >>> from photoz_losses.metrics import pit_histogram
    >>> pit_histogram(torch.tensor([0.1, 0.3, 0.6, 1.0]), n_bins=2)
    tensor([2, 2])
    """
    values = _read(pit_values)
    _check.count("n_bins", n_bins, 2)
    if bool(values.isnan().any()):
        raise ValueError("pit_values must not hold NaN: drop those galaxies")
    return _histogram(values, n_bins)


def pit_statistics(pit_values: Tensor, *, n_bins: int = 20) -> dict[str, Tensor]:
    r"""Distances of PIT values from the uniform distribution, each with its p-value.

    With :math:`u_1 \le \dots \le u_N` the sorted values and :math:`f_k` the fraction of them in bin
    :math:`k` of `n_bins` equal ones, :math:`K`:

    .. math::

        \mathrm{ks} &= \max_i \max\bigl(\tfrac iN - u_i,\ u_i - \tfrac{i-1}N\bigr) \\
        \mathrm{cvm} &= \frac1{12N} + \sum_i \Bigl(u_i - \frac{2i-1}{2N}\Bigr)^2 \\
        \mathrm{ad} &= -N - \frac1N \sum_i (2i-1)\,\ln\bigl(u_i\,(1 - u_{N+1-i})\bigr) \\
        \mathrm{kl} &= \sum_k f_k \ln (f_k K)

    A p-value is the probability that a calibrated sample of this size lies at least as far away:
    exact for ks (Simard & L'Ecuyer 2011, in SciPy; for more than 100,000 values within 1e-6, Vrbik
    2020), to order 1/N for cvm (Csörgő & Faraway 1996, in SciPy), and for kl that of the
    likelihood-ratio test, :math:`2 N \mathrm{kl}` against :math:`\chi^2_{K-1}`, for several
    galaxies a bin.

    That of ad is exact for one galaxy,

    .. math::

        P(\mathrm{ad} \ge a) = 1 - \sqrt{1 - 4 e^{-1-a}}, \qquad a \ge \ln 4 - 1,

    as then :math:`\mathrm{ad} = -1 - \ln\bigl(u (1 - u)\bigr)`. For more it is that of Marsaglia &
    Marsaglia (2004, *Journal of Statistical Software* 9, 2), whose correction for small N is a fit.
    Against simulation it is off by at most 0.013 for N = 2, 0.0042 for 3, 0.0013 for 4 and 4e-4 for
    5, all near p = 0.95; where p < 0.1 by 7e-4 for N = 2 and 2e-4 from 3 on. It never falls much
    below 6e-4 / N: read a smaller one as that.

    `pit_outlier_rate` is the fraction below 1e-4 or above 0.9999, by counting, 2e-4 if calibrated
    (Schmidt et al. 2020).

    Parameters
    ----------
    pit_values : Tensor, any shape
        Values of `pit`. A value of exactly 0 or 1 is impossible under calibration: it makes ad
        infinite, with p-value 0, and leaves the others finite. In float32 a PIT within 3e-8 of 1
        rounds to it; `PITStatistics` computes in float64.
    n_bins : int
        Number of bins of kl, at least two.

    Returns
    -------
    dict of str to Tensor, float64 scalars
        ``ks``, ``cvm``, ``ad``, ``kl``, each also with ``_pvalue`` appended, and
        ``pit_outlier_rate``. All NaN without galaxies or where a value is NaN; ``cvm_pvalue`` also
        for a single galaxy.

    Raises
    ------
    ValueError
        If a value lies outside [0, 1], or there are fewer than two bins.
    TypeError
        If the values are not floating-point.

    Examples
    --------
    >>> import torch
    >>> from photoz_losses.metrics import pit_statistics
    >>> statistics = pit_statistics(torch.tensor([0.1, 0.2, 0.3, 0.4]), n_bins=2)
    >>> statistics["ks"], statistics["ad"]
    (tensor(0.6000, dtype=torch.float64), tensor(1.7497, dtype=torch.float64))
    """
    _check.count("n_bins", n_bins, 2)
    return MetricTable(_statistics(_read(pit_values), n_bins))


class PITStatistics(PITSample):
    r"""`pit_statistics` of everything seen, exact over batches and ranks; PIT in float64.

    With `approximate`, a histogram of PIT values is kept, whose size does not grow. Its bins are no
    wider than :math:`h`, 1 / `approximate`, to 1e-9, and the fraction :math:`F_j` of values up to
    each inner edge :math:`e_j` is exact. Then, with :math:`d_j = F_j - e_j`, zero at 0 and at 1,

    .. math::

        \mathrm{ks} &= \max_j |d_j| \\
        \mathrm{cvm} &= N \sum_j (e_j - e_{j-1})\,\frac{d_{j-1}^2 + d_{j-1} d_j + d_j^2}3

    ``ks`` is never above the exact one, and below it by at most :math:`h`. ``cvm``, which spreads
    values evenly in their bins, is off by at most :math:`N h\,(\mathrm{ks} + h / 2)`. Their
    p-values are of these statistics and the true :math:`N`: that of ks is never below the exact
    one, so that no calibrated sample looks worse for it. ``kl``, its p-value and
    ``pit_outlier_rate`` are exact, since all that they tell apart lies on two sides of an edge.
    ``ad`` and its p-value are NaN: a value in the first or in the last bin may add anything to it,
    up to infinity. Counts are exact up to :math:`2^{53}`.

    Parameters
    ----------
    bins : RedshiftBins
    n_bins
        As in `pit_statistics`.
    approximate : int, optional
        Number of bins of the histogram, at least two, which are split at the edges of the `n_bins`
        and at 1e-4 and 0.9999; by default the PIT of every galaxy is kept.
    **kwargs
        Of `PIT` and of ``torchmetrics.Metric``.

    Examples
    --------
    >>> import torch
    >>> from photoz_losses import RedshiftBins
    >>> from photoz_losses.metrics import PITStatistics
    >>> bins = RedshiftBins.uniform(0.0, 0.4, 4)
    >>> metric = PITStatistics(bins)
    >>> metric.update(torch.tensor([[0.2, 0.6, 0.2, 0.0]]), torch.tensor([0.15]))
    >>> metric.compute()["ks"]
    tensor(0.5000, dtype=torch.float64)
    """

    higher_is_better = None
    _options = ("n_bins", "randomized", "generator", "approximate")

    def __init__(
        self,
        bins: RedshiftBins,
        *,
        n_bins: int = 20,
        approximate: int | None = None,
        **kwargs: Any,
    ) -> None:
        _check.count("n_bins", n_bins, 2)
        edges = _split(n_bins) if approximate is not None else ()
        super().__init__(bins, approximate=approximate, edges=edges, **kwargs)
        self.n_bins = n_bins

    def compute(self) -> dict[str, Tensor]:
        """Dictionary of `pit_statistics`."""
        if self.approximate is None:
            return MetricTable(_statistics(self._sample("pit")[0], self.n_bins))
        counts: Tensor = self._state("pit", "counts")
        edges = self._edges_of("pit").to(counts.device)
        return MetricTable(_counted_statistics(counts, edges, self.n_bins))


def _read(pit_values: Tensor) -> Tensor:
    """Values as one float64 vector; NaN may be among them."""
    values = _check.floating("pit_values", pit_values).detach().double()
    rows = values if values.ndim > 1 and values.shape[-1] > 1 else values.new_zeros(0, 2)
    if len(rows) and bool(((rows.sum(-1) - 1).abs() < 1e-4).all()):
        raise ValueError(
            f"pit_values must be values of metrics.pit, got {tuple(values.shape)} whose rows all "
            f"sum to 1: are these probs? Call pit(probs, z_spec, bins)"
        )
    values = values.flatten()
    if bool(((values < 0) | (values > 1)).any()):
        raise ValueError(
            f"pit_values must lie in [0, 1], got {values.min().item():g} to "
            f"{values.max().item():g}: give what metrics.pit returns"
        )
    return values


def _histogram(values: Tensor, n_bins: int, counts: Tensor | None = None) -> Tensor:
    edges = torch.linspace(0, 1, n_bins + 1, dtype=torch.float64, device=values.device)
    place = torch.searchsorted(edges, values, right=True).clamp(max=n_bins) - 1
    return torch.bincount(place, counts, minlength=n_bins)


def _split(n_bins: int) -> list[float]:
    """Edges (a, b] of a histogram between which lies what kl and the outlier rate count.

    Their bins are [a, b), and outliers are below the one and above the other: no value is between
    an edge and the float before it.
    """
    inner = torch.linspace(0, 1, n_bins + 1, dtype=torch.float64)[1:-1].tolist()
    return [math.nextafter(edge, 0) for edge in (*inner, CATASTROPHIC)] + [1 - CATASTROPHIC]


def _statistics(values: Tensor, n_bins: int) -> dict[str, Tensor]:
    N = len(values)
    if not N or bool(values.isnan().any()):
        return _nothing(values)
    u = values.sort().values
    rank = torch.arange(1, N + 1, dtype=torch.float64, device=u.device)
    odd = 2 * rank - 1
    ks = torch.maximum(rank / N - u, u - (rank - 1) / N).max()
    cvm = 1 / (12 * N) + (u - odd / (2 * N)).square().sum()
    ad = -N - (odd * (u.log() + (-u.flip(0)).log1p())).sum() / N
    outlying = (u < CATASTROPHIC) | (u > 1 - CATASTROPHIC)
    return {
        **_with_pvalue("ks", ks, kolmogorov_smirnov_pvalue(ks.item(), N)),
        **_with_pvalue(
            "cvm",
            cvm,
            stats.cramervonmises(u.cpu().numpy(), "uniform").pvalue if N > 1 else math.nan,
        ),
        **_with_pvalue("ad", ad, anderson_darling_pvalue(ad.item(), N)),
        **_kl(_histogram(u, n_bins)),
        "pit_outlier_rate": outlying.double().mean(),
    }


def _counted_statistics(counts: Tensor, edges: Tensor, n_bins: int) -> dict[str, Tensor]:
    """Of counts in bins (a, b], the first with a; none beyond the edges, those of NaN last."""
    N = int(counts.sum())
    if not N or bool(counts[-1]):
        return _nothing(counts)
    inside, lower, upper = counts[1:-2], edges[:-1], edges[1:]
    d = torch.cat([counts.new_zeros(1), inside.cumsum(0) / N - upper])
    before, after = d[:-1], d[1:]
    ks = d.abs().max()
    area = (before.square() + before * after + after.square()) / 3
    cvm = N * ((upper - lower) * area).sum()
    outlying = (upper < CATASTROPHIC) | (lower >= 1 - CATASTROPHIC)
    return {
        **_with_pvalue("ks", ks, kolmogorov_smirnov_pvalue(ks.item(), N)),
        **_with_pvalue("cvm", cvm, cramer_von_mises_pvalue(cvm.item(), N)),
        **_with_pvalue("ad", ks.new_full((), torch.nan), math.nan),
        **_kl(_histogram(upper, n_bins, inside)),
        "pit_outlier_rate": inside[outlying].sum() / N,
    }


def _kl(counts: Tensor) -> dict[str, Tensor]:
    N, K = counts.sum().item(), len(counts)
    share = counts.double() / N
    kl = torch.special.xlogy(share, share * K).sum()
    return _with_pvalue("kl", kl, stats.chi2.sf(2 * N * kl.item(), K - 1))


def _with_pvalue(name: str, statistic: Tensor, pvalue: float) -> dict[str, Tensor]:
    return {name: statistic, f"{name}_pvalue": statistic.new_tensor(float(pvalue))}


def _nothing(like: Tensor) -> dict[str, Tensor]:
    keys = [key for name in ("ks", "cvm", "ad", "kl") for key in (name, f"{name}_pvalue")]
    return dict.fromkeys([*keys, "pit_outlier_rate"], like.new_full((), torch.nan))
