"""Whether a sample of PIT values is uniform: tests with p-values, and the histogram."""

import math
from typing import Any

import torch
from scipy import stats
from torch import Tensor

from photoz_losses import _check
from photoz_losses.bins import RedshiftBins
from photoz_losses.metrics.pit import PIT

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
    >>> pit_histogram(torch.tensor([0.1, 0.3, 0.6, 1.0]), n_bins=2)
    tensor([2, 2])
    """
    values = _read(pit_values)
    _check_n_bins(n_bins)
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
    exact for ks (Simard & L'Ecuyer 2011, in SciPy), to order 1/N for cvm (Csörgő & Faraway 1996, in
    SciPy), and for kl that of the likelihood-ratio test, :math:`2 N \mathrm{kl}` against
    :math:`\chi^2_{K-1}`, for several galaxies a bin.

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
    >>> statistics = pit_statistics(torch.tensor([0.1, 0.2, 0.3, 0.4]), n_bins=2)
    >>> statistics["ks"], statistics["ad"]
    (tensor(0.6000, dtype=torch.float64), tensor(1.7497, dtype=torch.float64))
    """
    _check_n_bins(n_bins)
    return _statistics(_read(pit_values), n_bins)


class PITStatistics(PIT):
    """`pit_statistics` of everything seen, exact over batches and ranks; PIT in float64.

    Parameters
    ----------
    bins : RedshiftBins
    n_bins
        As in `pit_statistics`.
    **kwargs
        Of `PIT` and of ``torchmetrics.Metric``.

    Examples
    --------
    >>> bins = RedshiftBins.uniform(0.0, 0.4, 4)
    >>> metric = PITStatistics(bins)
    >>> metric.update(torch.tensor([[0.2, 0.6, 0.2, 0.0]]), torch.tensor([0.15]))
    >>> metric.compute()["ks"]
    tensor(0.5000, dtype=torch.float64)
    """

    higher_is_better = None

    def __init__(self, bins: RedshiftBins, *, n_bins: int = 20, **kwargs: Any) -> None:
        super().__init__(bins, **kwargs)
        _check_n_bins(n_bins)
        self.n_bins = n_bins

    def compute(self) -> dict[str, Tensor]:  # type: ignore[override]
        """Dictionary of `pit_statistics`."""
        return _statistics(super().compute(), self.n_bins)


def _read(pit_values: Tensor) -> Tensor:
    """Values as one float64 vector; NaN may be among them."""
    values = _check.floating("pit_values", pit_values).detach().flatten().double()
    if bool(((values < 0) | (values > 1)).any()):
        raise ValueError(
            f"pit_values must lie in [0, 1], got {values.min().item():g} to "
            f"{values.max().item():g}: give what metrics.pit returns"
        )
    return values


def _check_n_bins(n_bins: int) -> None:
    if n_bins < 2:
        raise ValueError(f"n_bins must be at least 2, got {n_bins}")


def _histogram(values: Tensor, n_bins: int) -> Tensor:
    edges = torch.linspace(0, 1, n_bins + 1, dtype=torch.float64, device=values.device)
    place = torch.searchsorted(edges, values, right=True).clamp(max=n_bins) - 1
    return torch.bincount(place, minlength=n_bins)


def _statistics(values: Tensor, n_bins: int) -> dict[str, Tensor]:
    N = len(values)
    names = ("ks", "cvm", "ad", "kl")
    nothing = values.new_full((), torch.nan)
    if not N or bool(values.isnan().any()):
        keys = [key for name in names for key in (name, f"{name}_pvalue")]
        return dict.fromkeys([*keys, "pit_outlier_rate"], nothing)
    u = values.sort().values
    rank = torch.arange(1, N + 1, dtype=torch.float64, device=u.device)
    odd = 2 * rank - 1
    share = _histogram(u, n_bins).double() / N
    statistic = {
        "ks": torch.maximum(rank / N - u, u - (rank - 1) / N).max(),
        "cvm": 1 / (12 * N) + (u - odd / (2 * N)).square().sum(),
        "ad": -N - (odd * (u.log() + (-u.flip(0)).log1p())).sum() / N,
        "kl": torch.special.xlogy(share, share * n_bins).sum(),
    }
    pvalue = {
        "ks": stats.kstwo.sf(statistic["ks"].item(), N),
        "cvm": stats.cramervonmises(u.cpu().numpy(), "uniform").pvalue if N > 1 else math.nan,
        "ad": _anderson_darling_pvalue(statistic["ad"].item(), N),
        "kl": stats.chi2.sf(2 * N * statistic["kl"].item(), n_bins - 1),
    }
    results: dict[str, Tensor] = {}
    for name in names:
        results |= {name: statistic[name], f"{name}_pvalue": u.new_tensor(float(pvalue[name]))}
    outlying = (u < CATASTROPHIC) | (u > 1 - CATASTROPHIC)
    return results | {"pit_outlier_rate": outlying.double().mean()}


def _anderson_darling_pvalue(ad: float, n: int) -> float:
    """Marsaglia & Marsaglia (2004): their `adinf`, and `errfix` for a sample of n."""
    if ad <= 0:
        return 1.0
    if math.isinf(ad):
        return 0.0
    if n == 1:  # ad = -1 - ln(u (1 - u)): both ends of u beyond those where 4 u (1 - u) = ends
        ends = min(4 * math.exp(-1 - ad), 1.0)
        return ends / (1 + math.sqrt(1 - ends))
    if ad < 2:
        tail = (2.00012, 0.247105, -0.0649821, 0.0347962, -0.011672, 0.00168691)
        below = math.exp(-1.2337141 / ad) / math.sqrt(ad) * _polynomial(tail, ad)
    else:
        tail = (1.0776, -2.30695, 0.43424, -0.082433, 0.008056, -0.0003146)
        below = math.exp(-math.exp(_polynomial(tail, ad)))
    return min(max(1 - below - _finite_sample(below, n), 0.0), 1.0)


def _finite_sample(below: float, n: int) -> float:
    """What a sample of n adds to the limiting distribution at the quantile `below`."""
    start = 0.01265 + 0.1757 / n
    if below > 0.8:
        terms = (-130.2137, 745.2337, -1705.091, 1950.646, -1116.360, 255.7844)
        return _polynomial(terms, below) / n
    if below < start:
        x = below / start
        shape = math.sqrt(x) * (1 - x) * (49 * x - 102)
        return shape * (0.0037 / n**3 + 0.00078 / n**2 + 0.00006 / n)
    terms = (-0.00022633, 6.54034, -14.6538, 14.458, -8.259, 1.91864)
    shape = _polynomial(terms, (below - start) / (0.8 - start))
    return shape * (0.04213 / n + 0.01365 / n**2)


def _polynomial(coefficients: tuple[float, ...], x: float) -> float:
    return math.fsum(c * x**k for k, c in enumerate(coefficients))
