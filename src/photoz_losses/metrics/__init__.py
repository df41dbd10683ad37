"""Metrics of photometric redshifts: functions, and torchmetrics classes that stream and reduce."""

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
from photoz_losses.metrics.scores import CRPS, CDELoss, cde_loss, crps

__all__ = [
    "CRPS",
    "MAD",
    "PIT",
    "RMS",
    "Bias",
    "CDELoss",
    "OutlierRate",
    "SigmaIQR",
    "bias",
    "cde_loss",
    "crps",
    "mad",
    "outlier_rate",
    "pit",
    "rms",
    "sigma_iqr",
]
