"""Metrics of point estimates, from the residual (z_phot - z_spec) / (1 + z_spec)."""

import math
from typing import Any

import torch
from torch import Tensor

from photoz_losses import _check
from photoz_losses.bins import RedshiftBins
from photoz_losses.metrics._samples import SampleMetric
from photoz_losses.metrics._weighted import mean, median, quantiles, read_weights

# Both make the spread of a Gaussian its standard deviation, in the digits of the sources.
NORMAL_MAD = 1.4826  # the paper's, and everyone's: 1 / 0.67449
NORMAL_IQR = 0.7413  # 1 / (2 * 0.67449)
RAIL_IQR = 1 / 1.349  # as RAIL and qp write it, 1e-5 below
RAIL_FLOOR = 0.06


def residuals(z_phot: Tensor, z_spec: Tensor) -> Tensor:
    """``(z_phot - z_spec) / (1 + z_spec)`` in float64, after the checks all point metrics make."""
    _check.floating("z_phot", z_phot)
    _check.redshift("z_spec", z_spec)
    _check.same_shape("z_phot", z_phot, z_spec.shape, "z_spec")
    z_phot, z_spec = z_phot.detach().double(), z_spec.detach().double()
    if _check.can_read_free(z_spec) and not bool(((z_spec > -1) & z_spec.isfinite()).all()):
        raise ValueError("z_spec must be finite and above -1, got NaN or else: drop those galaxies")
    return ((z_phot - z_spec) / (1 + z_spec)).flatten()


def _sample(z_phot: Tensor, z_spec: Tensor, weights: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Residuals and weights, each with the galaxies in its last dimension."""
    delta = residuals(z_phot, z_spec)
    return delta, None if weights is None else read_weights(weights, z_spec, "z_spec")


def _check_factor(factor: float) -> float:
    if not 0 < _check.number("factor", factor) < math.inf:
        raise ValueError(f"factor must be positive and finite, got {factor}")
    return factor


def _mad(delta: Tensor, weights: Tensor | None, centered: bool, factor: float) -> Tensor:
    if _check.flag("centered", centered):
        delta = delta - median(delta, weights).unsqueeze(-1)
    return factor * median(delta.abs(), weights)


def _sigma_iqr(delta: Tensor, weights: Tensor | None, factor: float) -> Tensor:
    low, high = quantiles(delta, (0.25, 0.75), weights)
    return factor * (high - low)


def _bias(delta: Tensor, weights: Tensor | None, statistic: str) -> Tensor:
    return median(delta, weights) if statistic == "median" else mean(delta, weights)


def is_outlier(delta: Tensor, weights: Tensor | None, threshold: float | str) -> Tensor:
    """1. for each residual beyond the threshold, 0. for the others, NaN for NaN."""
    limit = delta.new_full((), torch.nan if isinstance(threshold, str) else threshold)
    if isinstance(threshold, str):
        limit = (3 * _sigma_iqr(delta, weights, RAIL_IQR)).clamp(min=RAIL_FLOOR).unsqueeze(-1)
    undefined = delta.isnan() | ~limit.isfinite()
    return torch.where(undefined, torch.nan, (delta.abs() > limit).double())


def _outlier_rate(delta: Tensor, weights: Tensor | None, threshold: float | str) -> Tensor:
    return mean(is_outlier(delta, weights, threshold), weights)


def _rms(delta: Tensor, weights: Tensor | None) -> Tensor:
    return mean(delta.square(), weights).sqrt()


def mad(
    z_phot: Tensor,
    z_spec: Tensor,
    *,
    centered: bool = False,
    factor: float = NORMAL_MAD,
    weights: Tensor | None = None,
) -> Tensor:
    r"""Scaled median absolute deviation of the residuals.

    .. math:: \mathrm{MAD} = 1.4826\,\mathrm{median}\,|\Delta|, \qquad
              \Delta = \frac{z_\mathrm{phot} - \hat z}{1 + \hat z}

    Engel & Strube (2023), section 4.1. With `centered`, about the median residual (Pasquet et al.
    2019), often called the NMAD.

    Parameters
    ----------
    z_phot, z_spec : Tensor, same shape
        Point estimates and true redshifts. All galaxies at once: a median of batch medians is no
        median; to go batch by batch use the class `MAD`.
    centered : bool
        Subtract the median residual first.
    factor : float
        1.4826 makes the value of a Gaussian its standard deviation.
    weights : Tensor, shape (..., \*z_spec.shape), optional
        Not negative. A galaxy of integer weight counts as that many galaxies, for an even total
        too: the median is the mean of the first values at which the sum of the sorted weights
        reaches and exceeds half of the total. Dimensions in front of those of `z_spec` hold
        replicas, each with weights of its own.

    Returns
    -------
    Tensor
        float64, a scalar, or one value a replica; NaN without galaxies or where an estimate is NaN.

    Raises
    ------
    ValueError
        If shapes disagree, a true redshift is NaN or not above -1, or a weight is negative or NaN.
    TypeError
        If an argument is not floating-point; weights may be integers.

    Examples
    --------
    >>> import torch
    >>> from photoz_losses.metrics import mad
    >>> mad(torch.tensor([0.11, 0.10, 0.25, 0.30]), torch.tensor([0.10, 0.10, 0.20, 0.30]))
    tensor(0.0067, dtype=torch.float64)
    """
    return _mad(*_sample(z_phot, z_spec, weights), centered, _check_factor(factor))


def sigma_iqr(
    z_phot: Tensor,
    z_spec: Tensor,
    *,
    factor: float = NORMAL_IQR,
    weights: Tensor | None = None,
) -> Tensor:
    r"""Scaled interquartile range of the residuals.

    .. math:: \sigma_\mathrm{IQR} = 0.7413\,(Q_{75\%} - Q_{25\%})

    Quantiles are linear between two values, as in NumPy. RAIL, after the LSST Science Book, divides
    by 1.349, which is ``factor=1 / 1.349``.

    Parameters
    ----------
    z_phot, z_spec
        As in `mad`.
    factor : float
        0.7413 makes the value of a Gaussian its standard deviation.
    weights : Tensor, shape (..., \*z_spec.shape), optional
        As in `mad`. The total :math:`W` stands for the number of galaxies, and a quantile for the
        mean of the sorted values over the window of weights from :math:`(W - 1) q` to
        :math:`(W - 1) q + 1`: divide weights of another normalisation by their mean.

    Returns
    -------
    Tensor
        As in `mad`.

    Raises
    ------
    ValueError, TypeError
        As `mad`.

    Examples
    --------
    >>> import torch
    >>> from photoz_losses.metrics import sigma_iqr
    >>> sigma_iqr(torch.tensor([0.10, 0.11, 0.12, 0.13, 0.14]), torch.full((5,), 0.10))
    tensor(0.0135, dtype=torch.float64)
    """
    return _sigma_iqr(*_sample(z_phot, z_spec, weights), _check_factor(factor))


def bias(
    z_phot: Tensor,
    z_spec: Tensor,
    *,
    statistic: str = "mean",
    weights: Tensor | None = None,
) -> Tensor:
    r"""Mean of the residuals (paper, section 4.1), or their median (as RAIL).

    Parameters
    ----------
    z_phot, z_spec, weights
        As in `mad`.
    statistic : {"mean", "median"}

    Returns
    -------
    Tensor
        As in `mad`.

    Raises
    ------
    ValueError, TypeError
        As `mad`; also if `statistic` is unknown.

    Examples
    --------
    >>> import torch
    >>> from photoz_losses.metrics import bias
    >>> bias(torch.tensor([0.11, 0.31]), torch.tensor([0.10, 0.30]))
    tensor(0.0084, dtype=torch.float64)
    """
    _check.one_of("statistic", statistic, ("mean", "median"))
    return _bias(*_sample(z_phot, z_spec, weights), statistic)


def outlier_rate(
    z_phot: Tensor,
    z_spec: Tensor,
    *,
    threshold: float | str = 0.05,
    weights: Tensor | None = None,
) -> Tensor:
    r"""Fraction of galaxies whose absolute residual exceeds `threshold`.

    Engel & Strube (2023), section 4.1; their text has 0.05, their table 1 0.15. A fraction, not a
    percentage.

    Parameters
    ----------
    z_phot, z_spec, weights
        As in `mad`.
    threshold : float or "sigma_iqr"
        A number between 0 and 1, or :math:`\max(0.06, 3\,\sigma_\mathrm{IQR})` of the same
        residuals with :math:`\sigma_\mathrm{IQR}` the interquartile range over 1.349 (RAIL, after
        the LSST Science Book).

    Returns
    -------
    Tensor
        As in `mad`.

    Raises
    ------
    ValueError, TypeError
        As `mad`; also if `threshold` does not lie between 0 and 1, or is another word.

    Examples
    --------
    >>> import torch
    >>> from photoz_losses.metrics import outlier_rate
    >>> outlier_rate(torch.tensor([0.11, 0.40]), torch.tensor([0.10, 0.30]))
    tensor(0.5000, dtype=torch.float64)
    """
    _check_threshold(threshold)
    return _outlier_rate(*_sample(z_phot, z_spec, weights), threshold)


def rms(z_phot: Tensor, z_spec: Tensor, *, weights: Tensor | None = None) -> Tensor:
    r"""Root of the mean square of the residuals, about zero and not about their mean.

    .. math:: \mathrm{rms} = \sqrt{\mathrm{mean}\,\Delta^2}

    Parameters
    ----------
    z_phot, z_spec, weights
        As in `mad`.

    Returns
    -------
    Tensor
        As in `mad`.

    Raises
    ------
    ValueError, TypeError
        As `mad`.

    Examples
    --------
    >>> import torch
    >>> from photoz_losses.metrics import rms
    >>> rms(torch.tensor([0.13, 0.06]), torch.tensor([0.0, 0.0]))
    tensor(0.1012, dtype=torch.float64)
    """
    return _rms(*_sample(z_phot, z_spec, weights))


def _check_threshold(threshold: float | str) -> None:
    if isinstance(threshold, str):
        if threshold != "sigma_iqr":
            raise ValueError(f"threshold must be a number or 'sigma_iqr', got {threshold!r}")
    else:
        _check.fraction("threshold", threshold)


def _refuse_bins(name: str, value: object) -> None:
    """TypeError where bins, the first argument of a metric of densities, came as an option."""
    if isinstance(value, RedshiftBins):
        raise TypeError(
            f"{name} must be an option, got RedshiftBins: metrics of point estimates take no bins"
        )


class _ResidualMetric(SampleMetric):
    """Keeps every residual: medians over batches and ranks stay exact."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__({"residual": (-1.0, 1.0)}, weighted=True, **kwargs)

    def update(self, z_phot: Tensor, z_spec: Tensor, weights: Tensor | None = None) -> None:
        """Take in a batch of point estimates, true redshifts and weights of the same shape."""
        delta, weights = _sample(z_phot, z_spec, weights)
        if weights is not None:
            _check.same_shape("weights", weights, delta.shape, "z_spec, without replicas")
        self._keep(residual=delta, weights=weights)

    def _mean_of(self, power: int) -> Tensor:
        """Mean of the residuals to that power, exact with a histogram too."""
        total, *sums = self._moments("residual")
        return sums[power - 1] / total


class MAD(_ResidualMetric):
    """`mad` over everything seen, exact over batches and ranks.

    Parameters
    ----------
    centered, factor
        As in `mad`.
    approximate : int, optional
        Keep a histogram of that many bins over residuals from -1 to 1 instead of every residual.
        The median is then off by at most half a bin, ``1 / approximate``, `mad` by `factor` times
        that, twice that if `centered`.
    **kwargs
        Of ``torchmetrics.Metric``.

    Examples
    --------
    >>> import torch
    >>> from photoz_losses.metrics import MAD
    >>> metric = MAD()
    >>> metric.update(torch.tensor([0.11, 0.10]), torch.tensor([0.10, 0.10]))
    >>> metric.update(torch.tensor([0.25, 0.30]), torch.tensor([0.20, 0.30]))
    >>> metric.compute()
    tensor(0.0067, dtype=torch.float64)
    """

    higher_is_better = False
    _options = ("centered", "factor", "approximate")

    def __init__(
        self,
        centered: bool = False,
        *,
        factor: float = NORMAL_MAD,
        approximate: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(approximate=approximate, **kwargs)
        _refuse_bins("centered", centered)
        self.centered = _check.flag("centered", centered)
        self.factor = _check_factor(factor)

    def compute(self) -> Tensor:
        """Scaled median absolute deviation; NaN without galaxies."""
        return _mad(*self._sample("residual"), self.centered, self.factor)


class SigmaIQR(_ResidualMetric):
    """`sigma_iqr` over everything seen, exact over batches and ranks.

    Parameters
    ----------
    factor : float
        As in `sigma_iqr`.
    approximate : int, optional
        As in `MAD`; the range is off by at most one bin, ``2 / approximate``, times `factor`.
    **kwargs
        Of ``torchmetrics.Metric``.

    Examples
    --------
    >>> import torch
    >>> from photoz_losses.metrics import SigmaIQR
    >>> metric = SigmaIQR()
    >>> z_spec = torch.tensor([0.1, 0.2, 0.3])
    >>> metric.update(z_spec + torch.tensor([0.01, -0.02, 0.09]), z_spec)
    >>> metric.compute()
    tensor(0.0318, dtype=torch.float64)
    """

    higher_is_better = False
    _options = ("factor", "approximate")

    def __init__(
        self, *, factor: float = NORMAL_IQR, approximate: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(approximate=approximate, **kwargs)
        self.factor = _check_factor(factor)

    def compute(self) -> Tensor:
        """Scaled interquartile range; NaN without galaxies."""
        return _sigma_iqr(*self._sample("residual"), self.factor)


class Bias(_ResidualMetric):
    """`bias` over everything seen, exact over batches and ranks.

    Parameters
    ----------
    statistic : {"mean", "median"}
        As in `bias`.
    approximate : int, optional
        As in `MAD`; the mean stays exact, the median is off by at most ``1 / approximate``.
    **kwargs
        Of ``torchmetrics.Metric``.

    Examples
    --------
    >>> import torch
    >>> from photoz_losses.metrics import Bias
    >>> metric = Bias()
    >>> z_spec = torch.tensor([0.1, 0.2, 0.3])
    >>> metric.update(z_spec + torch.tensor([0.01, -0.02, 0.09]), z_spec)
    >>> metric.compute()
    tensor(0.0206, dtype=torch.float64)
    """

    _options = ("statistic", "approximate")

    def __init__(
        self, statistic: str = "mean", *, approximate: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(approximate=approximate, **kwargs)
        _refuse_bins("statistic", statistic)
        self.statistic = _check.one_of("statistic", statistic, ("mean", "median"))

    def compute(self) -> Tensor:
        """Mean or median residual; NaN without galaxies."""
        if self.statistic == "mean":
            return self._mean_of(1)
        return _bias(*self._sample("residual"), self.statistic)


class OutlierRate(_ResidualMetric):
    """`outlier_rate` over everything seen, exact over batches and ranks.

    Parameters
    ----------
    threshold : float or "sigma_iqr"
        As in `outlier_rate`.
    approximate : int, optional
        As in `MAD`; exact for a number, which is made an edge of the histogram. For "sigma_iqr"
        the threshold is off by up to ``3 / 1.349`` bins, and residuals within half a bin of it may
        fall on either side.
    **kwargs
        Of ``torchmetrics.Metric``.

    Examples
    --------
    >>> import torch
    >>> from photoz_losses.metrics import OutlierRate
    >>> metric = OutlierRate(threshold=0.05)
    >>> z_spec = torch.tensor([0.1, 0.2, 0.3])
    >>> metric.update(z_spec + torch.tensor([0.01, -0.02, 0.09]), z_spec)
    >>> metric.compute()
    tensor(0.3333, dtype=torch.float64)
    """

    higher_is_better = False
    _options = ("threshold", "approximate")

    def __init__(
        self, threshold: float | str = 0.05, *, approximate: int | None = None, **kwargs: Any
    ) -> None:
        _refuse_bins("threshold", threshold)
        _check_threshold(threshold)
        edges = () if isinstance(threshold, str) else (-threshold, threshold)
        super().__init__(approximate=approximate, edges=edges, **kwargs)
        self.threshold = threshold

    def compute(self) -> Tensor:
        """Fraction of outliers; NaN without galaxies."""
        return _outlier_rate(*self._sample("residual"), self.threshold)


class RMS(_ResidualMetric):
    """`rms` over everything seen, exact over batches and ranks.

    Parameters
    ----------
    approximate : int, optional
        As in `MAD`; the value stays exact.
    **kwargs
        Of ``torchmetrics.Metric``.

    Examples
    --------
    >>> import torch
    >>> from photoz_losses.metrics import RMS
    >>> metric = RMS()
    >>> z_spec = torch.tensor([0.1, 0.2, 0.3])
    >>> metric.update(z_spec + torch.tensor([0.01, -0.02, 0.09]), z_spec)
    >>> metric.compute()
    tensor(0.0414, dtype=torch.float64)
    """

    higher_is_better = False
    _options = ("approximate",)

    def __init__(self, *, approximate: int | None = None, **kwargs: Any) -> None:
        super().__init__(approximate=approximate, **kwargs)

    def compute(self) -> Tensor:
        """Root mean square residual; NaN without galaxies."""
        return self._mean_of(2).sqrt()
