"""Metrics of point estimates, from the residual (z_phot - z_spec) / (1 + z_spec)."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from photoz_losses import _check

NORMAL_MAD = 1.4826  # the paper's: makes the median deviation of a Gaussian its standard deviation


def residuals(z_phot: Tensor, z_spec: Tensor) -> Tensor:
    """``(z_phot - z_spec) / (1 + z_spec)`` in float64, after the checks all point metrics make."""
    _check.floating("z_phot", z_phot)
    _check.redshift("z_spec", z_spec)
    _check.same_shape("z_phot", z_phot, z_spec.shape, "z_spec")
    z_phot, z_spec = z_phot.detach().double(), z_spec.detach().double()
    if _check.can_read_free(z_spec) and not bool(((z_spec > -1) & z_spec.isfinite()).all()):
        raise ValueError("z_spec must be finite and above -1, got NaN or else: drop those galaxies")
    return ((z_phot - z_spec) / (1 + z_spec)).flatten()


def median(values: Tensor) -> Tensor:
    """True median: the mean of the middle two for an even count, NaN for none or with NaN.

    ``torch.median`` returns the lower of the two; ``torch.quantile`` refuses 2**24 values.
    """
    if not values.numel():
        return values.new_tensor(torch.nan)
    ordered = values.sort().values
    middle = (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
    return torch.where(ordered[-1].isnan(), torch.nan, middle)


def _mad(residual: Tensor, centered: bool) -> Tensor:
    centre = median(residual) if centered else 0.0
    return NORMAL_MAD * median((residual - centre).abs())


def _bias(residual: Tensor, statistic: str) -> Tensor:
    return median(residual) if statistic == "median" else residual.mean()


def _outlier_rate(residual: Tensor, threshold: float) -> Tensor:
    rate = (residual.abs() > threshold).double().mean()
    return torch.where(residual.isnan().any(), torch.nan, rate)


def mad(z_phot: Tensor, z_spec: Tensor, *, centered: bool = False) -> Tensor:
    r"""Scaled median absolute deviation of the residuals.

    .. math:: \mathrm{MAD} = 1.4826\,\mathrm{median}\,|\Delta|, \qquad
              \Delta = \frac{z_\mathrm{phot} - \hat z}{1 + \hat z}

    Engel & Strube (2023), section 4.1. With `centered`, about the median residual (Pasquet et al.
    2019).

    Parameters
    ----------
    z_phot, z_spec : Tensor, same shape
        Point estimates and true redshifts. All galaxies at once: a median of batch medians is no
        median; to go batch by batch use the class `MAD`.
    centered : bool
        Subtract the median residual first.

    Returns
    -------
    Tensor
        float64 scalar; NaN without galaxies or where an estimate is NaN.

    Raises
    ------
    ValueError
        If shapes disagree, or a true redshift is NaN or not above -1.
    TypeError
        If an argument is not floating-point.

    Examples
    --------
    >>> mad(torch.tensor([0.11, 0.10, 0.25, 0.30]), torch.tensor([0.10, 0.10, 0.20, 0.30]))
    tensor(0.0067, dtype=torch.float64)
    """
    return _mad(residuals(z_phot, z_spec), centered)


def bias(z_phot: Tensor, z_spec: Tensor, *, statistic: str = "mean") -> Tensor:
    r"""Mean of the residuals (paper, section 4.1), or their median (as RAIL).

    Parameters
    ----------
    z_phot, z_spec
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
    >>> bias(torch.tensor([0.11, 0.31]), torch.tensor([0.10, 0.30]))
    tensor(0.0084, dtype=torch.float64)
    """
    _check.one_of("statistic", statistic, ("mean", "median"))
    return _bias(residuals(z_phot, z_spec), statistic)


def outlier_rate(z_phot: Tensor, z_spec: Tensor, *, threshold: float = 0.05) -> Tensor:
    r"""Fraction of galaxies whose absolute residual exceeds `threshold`.

    Engel & Strube (2023), section 4.1; their text has 0.05, their table 1 0.15. A fraction, not a
    percentage.

    Parameters
    ----------
    z_phot, z_spec
        As in `mad`.
    threshold : float
        Positive.

    Returns
    -------
    Tensor
        As in `mad`.

    Raises
    ------
    ValueError, TypeError
        As `mad`; also if `threshold` is not positive.

    Examples
    --------
    >>> outlier_rate(torch.tensor([0.11, 0.40]), torch.tensor([0.10, 0.30]))
    tensor(0.5000, dtype=torch.float64)
    """
    _check_threshold(threshold)
    return _outlier_rate(residuals(z_phot, z_spec), threshold)


def _check_threshold(threshold: float) -> None:
    if not threshold > 0:
        raise ValueError(f"threshold must be positive, got {threshold}")


class _ResidualMetric(Metric):
    """Keeps every residual, one number a galaxy: medians over batches and ranks stay exact."""

    full_state_update = False
    residual: list[Tensor]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.set_dtype(torch.float64)  # of what a rank without any galaxy sends to the others
        self.add_state("residual", default=[], dist_reduce_fx="cat")

    def update(self, z_phot: Tensor, z_spec: Tensor) -> None:
        """Take in a batch of point estimates and true redshifts of the same shape."""
        self.residual.append(residuals(z_phot, z_spec))

    def _all(self) -> Tensor:
        nothing = torch.empty(0, dtype=torch.float64, device=self.device)
        return dim_zero_cat(self.residual) if len(self.residual) else nothing


class MAD(_ResidualMetric):
    """`mad` over everything seen, exact over batches and ranks.

    Parameters
    ----------
    centered : bool
        As in `mad`.
    **kwargs
        Of ``torchmetrics.Metric``.

    Examples
    --------
    >>> metric = MAD()
    >>> metric.update(torch.tensor([0.11, 0.10]), torch.tensor([0.10, 0.10]))
    >>> metric.update(torch.tensor([0.25, 0.30]), torch.tensor([0.20, 0.30]))
    >>> metric.compute()
    tensor(0.0067, dtype=torch.float64)
    """

    higher_is_better = False

    def __init__(self, centered: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.centered = centered

    def compute(self) -> Tensor:
        """Scaled median absolute deviation; NaN without galaxies."""
        return _mad(self._all(), self.centered)


class Bias(_ResidualMetric):
    """`bias` over everything seen, exact over batches and ranks.

    Parameters
    ----------
    statistic : {"mean", "median"}
        As in `bias`.
    **kwargs
        Of ``torchmetrics.Metric``.
    """

    def __init__(self, statistic: str = "mean", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.statistic = _check.one_of("statistic", statistic, ("mean", "median"))

    def compute(self) -> Tensor:
        """Mean or median residual; NaN without galaxies."""
        return _bias(self._all(), self.statistic)


class OutlierRate(_ResidualMetric):
    """`outlier_rate` over everything seen, exact over batches and ranks.

    Parameters
    ----------
    threshold : float
        As in `outlier_rate`.
    **kwargs
        Of ``torchmetrics.Metric``.
    """

    higher_is_better = False

    def __init__(self, threshold: float = 0.05, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        _check_threshold(threshold)
        self.threshold = threshold

    def compute(self) -> Tensor:
        """Fraction of outliers; NaN without galaxies."""
        return _outlier_rate(self._all(), self.threshold)
