"""Probabilities under calibration that SciPy does not give, or not without a sample."""

import math

import numpy as np
from scipy import stats

LARGEST = 100_000  # galaxies for which the distribution of just that number is taken


def kolmogorov_smirnov_pvalue(ks: float, n: int) -> float:
    """Exact up to `LARGEST`; beyond, where SciPy takes seconds or fails, that of Vrbik (2020).

    *Applied Mathematics* 11, 227: the limiting distribution with corrections to order 1/n.
    """
    if n <= LARGEST:
        return float(stats.kstwo.sf(ks, n))
    x = math.sqrt(n) * ks
    return float(stats.kstwobign.sf(x + 1 / (6 * math.sqrt(n)) + (x - 1) / (4 * n)))


def cramer_von_mises_pvalue(cvm: float, n: int) -> float:
    """SciPy's for a sample of n: it takes one, whose values here are all equally far off.

    Of `LARGEST` values instead of more: their number changes the p-value by less than 1e-5.
    """
    if n < 2:
        return math.nan
    n = min(n, LARGEST)
    least = 1 / (12 * n)
    if cvm <= least:
        return 1.0
    places = (np.arange(n) + 0.5) / n
    apart = math.sqrt((cvm - least) / n)
    return float(stats.cramervonmises(places, lambda place: place + apart).pvalue)


def anderson_darling_pvalue(ad: float, n: int) -> float:
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
