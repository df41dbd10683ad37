"""Metrics of photometric redshifts: functions, and torchmetrics classes that stream and reduce."""

from photoz_losses.metrics.binned import Binned, PerBin, binned
from photoz_losses.metrics.bootstrap import standard_error
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
from photoz_losses.metrics.scores import CRPS, CDELoss, cde_loss, crps

__all__ = [
    "CRPS",
    "MAD",
    "PIT",
    "PRESETS",
    "RMS",
    "Bias",
    "Binned",
    "CDELoss",
    "OutlierRate",
    "PerBin",
    "PhotoZMetrics",
    "Preset",
    "SigmaIQR",
    "bias",
    "binned",
    "cde_loss",
    "crps",
    "mad",
    "outlier_rate",
    "photo_z_metrics",
    "pit",
    "rms",
    "sigma_iqr",
    "standard_error",
]
