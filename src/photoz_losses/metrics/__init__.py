"""Metrics of photometric redshifts: functions, and torchmetrics classes that stream and reduce."""

from photoz_losses.metrics.intervals import Coverage, coverage, credibility
from photoz_losses.metrics.pit import PIT, pit
from photoz_losses.metrics.point import MAD, Bias, OutlierRate, bias, mad, outlier_rate
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
    "Bias",
    "Brier",
    "CDELoss",
    "Coverage",
    "Entropy",
    "LogScore",
    "OutlierRate",
    "PITStatistics",
    "bias",
    "brier",
    "cde_loss",
    "coverage",
    "credibility",
    "crps",
    "entropy",
    "log_score",
    "mad",
    "outlier_rate",
    "pit",
    "pit_histogram",
    "pit_statistics",
]
