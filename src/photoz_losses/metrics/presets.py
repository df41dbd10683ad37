"""Conventions of surveys and papers, as data, and all their metrics in one collection."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Never

from torch import Tensor
from torchmetrics import MetricCollection

from photoz_losses import _check
from photoz_losses._calls import typed_as
from photoz_losses.bins import RedshiftBins
from photoz_losses.metrics._table import MetricTable
from photoz_losses.metrics.point import (
    MAD,
    NORMAL_MAD,
    RAIL_IQR,
    Bias,
    OutlierRate,
    SigmaIQR,
)
from photoz_losses.metrics.scores import CRPS, CDELoss, LogScore
from photoz_losses.metrics.uniformity import PITStatistics


@dataclass(frozen=True)
class Preset:
    """How a survey or a paper measures point estimates.

    Attributes
    ----------
    estimate : {"mean", "median", "mode"}
        Of the density: a method of `RedshiftBins`.
    centered : bool
        Whether the MAD is about the median residual.
    mad_factor : float
        Of the MAD.
    iqr_factor : float or None
        Of the interquartile range; None where it is not reported.
    bias : {"mean", "median"}
        Of the residuals.
    threshold : float or "sigma_iqr"
        Of outliers, as in `outlier_rate`.
    source : str
        Where this is written.
    """

    estimate: str
    centered: bool
    mad_factor: float
    iqr_factor: float | None
    bias: str
    threshold: float | str
    source: str


PRESETS: Mapping[str, Preset] = {
    "paper": Preset(
        estimate="mean",
        centered=False,
        mad_factor=NORMAL_MAD,
        iqr_factor=None,
        bias="mean",
        threshold=0.05,
        source="Engel & Strube (2023), section 4.1; expectation of the density: appendix D. "
        "Their Table 1 says 0.15 for the threshold.",
    ),
    "pasquet": Preset(
        estimate="mean",
        centered=True,
        mad_factor=NORMAL_MAD,
        iqr_factor=None,
        bias="mean",
        threshold=0.05,
        source="Pasquet et al. (2019), A&A 621, A26, section 4: bias, sigma_MAD, and outliers.",
    ),
    "rail": Preset(
        estimate="mode",
        centered=True,
        mad_factor=NORMAL_MAD,
        iqr_factor=RAIL_IQR,
        bias="median",
        threshold="sigma_iqr",
        source="RAIL and qp.metrics: PointSigmaMAD, PointSigmaIQR, PointBias and "
        "PointOutlierRate, after the LSST Science Book (2009) and Schmidt et al. (2020).",
    ),
    "euclid": Preset(
        estimate="median",
        centered=True,
        mad_factor=NORMAL_MAD,
        iqr_factor=None,
        bias="mean",
        threshold=0.15,
        source="Euclid Collaboration: Desprez et al. (2020), A&A 644, A31: outliers beyond "
        "0.15 (1 + z); PHZ_MEDIAN of the Euclid data products; normalised MAD. Euclid papers "
        "differ in the statistic of the bias: the mean here.",
    ),
}


class PhotoZMetrics(MetricCollection):
    """What `photo_z_metrics` returns: metrics that take `probs` and `z_spec`, by name.

    Parameters
    ----------
    metrics : mapping of str to torchmetrics.Metric
        Of densities, and of the point estimate.
    bins : RedshiftBins
    estimate : str
        The point estimate, a method of `bins`: "mean", say.

    Raises
    ------
    ValueError, TypeError
        From the call, as the metrics'.
    """

    def __init__(self, metrics: Mapping[str, Any], bins: RedshiftBins, estimate: str) -> None:
        super().__init__(dict(metrics))
        self._bins = (bins,)  # in a tuple: every Module of a MetricCollection is a metric
        self._estimate = estimate

    def update(  # type: ignore[override]
        self, *unnamed: Never, probs: Tensor, z_spec: Tensor
    ) -> None:
        """Take in a batch of masses (N, C) and true redshifts (N,); all of it, or none."""
        # unnamed, so that Python names the keywords that are missing, not how many came by place
        if unnamed:
            raise TypeError("update takes its arguments by keyword: update(probs=..., z_spec=...)")
        super().update(**self._arguments(probs, z_spec))

    def forward(self, *, probs: Tensor, z_spec: Tensor) -> dict[str, Any]:
        """Values of this batch alone, which is then taken in; all of it, or none."""
        return MetricTable(super().forward(**self._arguments(probs, z_spec)))

    if TYPE_CHECKING:

        @typed_as(forward)
        def __call__(self) -> None:
            """As `forward`."""

    def compute(self) -> dict[str, Any]:
        """Every value by name, of all batches; shown as a table."""
        return MetricTable(super().compute())

    def extra_repr(self) -> str:
        """What the point metrics are taken of, for ``repr``."""
        return f"z_phot={self._estimate!r}"

    def _arguments(self, probs: Tensor, z_spec: Tensor) -> dict[str, Tensor]:
        """What the metrics take, after every check: none of them has to refuse it later."""
        bins = self._bins[0]
        probs = bins.read_probs(_check.floating("probs", probs).detach())
        bins.locate(z_spec, probs.shape[:-1])
        z_phot: Tensor = getattr(bins, self._estimate)(probs)
        return {"probs": probs, "z_spec": z_spec, "z_phot": z_phot}


def photo_z_metrics(
    bins: RedshiftBins,
    preset: str = "paper",
    *,
    approximate: int | None = None,
    **kwargs: Any,
) -> PhotoZMetrics:
    """The metrics that papers report, with point estimates measured as in a survey or paper.

    ===========  =========  ===========  ========  ===================================  =========
    preset       estimate   `mad` about  `bias`    `outlier_rate` beyond                `sigma_iqr`
    ===========  =========  ===========  ========  ===================================  =========
    ``paper``    mean       zero         mean      0.05                                 no
    ``pasquet``  mean       the median   mean      0.05                                 no
    ``rail``     mode       the median   median    max(0.06, 3 IQR / 1.349)             IQR / 1.349
    ``euclid``   median     the median   mean      0.15                                 no
    ===========  =========  ===========  ========  ===================================  =========

    The factor of the MAD is 1.4826 in all of them. ``PRESETS`` holds these data, and the source of
    each.

    Parameters
    ----------
    bins : RedshiftBins
        The C bins.
    preset : {"paper", "pasquet", "rail", "euclid"}
    approximate : int, optional
        Keep histograms of that many bins instead of every residual and every PIT, with the errors
        that `MAD` and `PITStatistics` state; ``ad`` and its p-value are NaN then.
    **kwargs
        Of every ``torchmetrics.Metric`` in the collection.

    Returns
    -------
    torchmetrics.MetricCollection
        ``update(probs=, z_spec=)`` takes masses (N, C) and true redshifts (N,); ``compute()`` gives
        a dict with "mad", "bias", "outlier_rate", "sigma_iqr" (where the preset has it),
        "cde_loss", "crps", "log_score" and the names of ``pit_statistics``.

    Raises
    ------
    ValueError
        If the preset is unknown.
    TypeError
        If `bins` are no `RedshiftBins`.

    Examples
    --------
    >>> import torch
    >>> from photoz_losses import RedshiftBins
    >>> from photoz_losses.metrics import photo_z_metrics
    >>> bins = RedshiftBins.uniform(0.0, 0.4, 4)
    >>> metrics = photo_z_metrics(bins, "paper")
    >>> probs = torch.tensor([[0.2, 0.6, 0.2, 0.0], [0.0, 0.1, 0.8, 0.1]])
    >>> metrics.update(probs=probs, z_spec=torch.tensor([0.15, 0.15]))
    >>> metrics.compute()["outlier_rate"]
    tensor(0.5000, dtype=torch.float64)
    """
    chosen = PRESETS[_check.one_of("preset", preset, tuple(PRESETS))]
    kept = {"approximate": approximate, **kwargs}
    metrics = {
        "mad": MAD(chosen.centered, factor=chosen.mad_factor, **kept),
        "bias": Bias(chosen.bias, **kept),
        "outlier_rate": OutlierRate(chosen.threshold, **kept),
        "cde_loss": CDELoss(bins, **kwargs),
        "crps": CRPS(bins, **kwargs),
        "log_score": LogScore(bins, **kwargs),
        "pit": PITStatistics(bins, **kept),
    }
    if chosen.iqr_factor is not None:
        metrics["sigma_iqr"] = SigmaIQR(factor=chosen.iqr_factor, **kept)
    return PhotoZMetrics(metrics, bins, chosen.estimate)
