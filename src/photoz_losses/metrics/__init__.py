"""Metrics of photometric redshifts: functions, and torchmetrics classes that stream and reduce."""

from photoz_losses.metrics.binned import Binned, PerBin, binned
from photoz_losses.metrics.bootstrap import standard_error
from photoz_losses.metrics.galaxies import galaxy_scores
from photoz_losses.metrics.intervals import Coverage, coverage, credibility
from photoz_losses.metrics.pit import PIT, pit
from photoz_losses.metrics.point import (
    MAD,
    RMS,
    Bias,
    OutlierRate,
    SigmaIQR,
    bias,
    mad,
    outlier_rate,
    rms,
    sigma_iqr,
)
from photoz_losses.metrics.presets import PRESETS, PhotoZMetrics, Preset, photo_z_metrics
from photoz_losses.metrics.scores import (
    CRPS,
    Brier,
    CDELoss,
    Entropy,
    LogScore,
    brier,
    cde_loss,
    crps,
    entropy,
    log_score,
)
from photoz_losses.metrics.uniformity import PITStatistics, pit_histogram, pit_statistics

__all__ = [
    "CRPS",
    "MAD",
    "PIT",
    "PRESETS",
    "RMS",
    "Bias",
    "Binned",
    "Brier",
    "CDELoss",
    "Coverage",
    "Entropy",
    "LogScore",
    "OutlierRate",
    "PITStatistics",
    "PerBin",
    "PhotoZMetrics",
    "Preset",
    "SigmaIQR",
    "bias",
    "binned",
    "brier",
    "cde_loss",
    "coverage",
    "credibility",
    "crps",
    "entropy",
    "galaxy_scores",
    "log_score",
    "mad",
    "outlier_rate",
    "photo_z_metrics",
    "pit",
    "pit_histogram",
    "pit_statistics",
    "rms",
    "sigma_iqr",
    "standard_error",
]
