"""Metrics of photometric redshifts: functions, and torchmetrics classes that stream and reduce."""

from photoz_losses.metrics.pit import PIT, pit
from photoz_losses.metrics.point import MAD, Bias, OutlierRate, bias, mad, outlier_rate
from photoz_losses.metrics.scores import CRPS, CDELoss, cde_loss, crps

__all__ = [
    "CRPS",
    "MAD",
    "PIT",
    "Bias",
    "CDELoss",
    "OutlierRate",
    "bias",
    "cde_loss",
    "crps",
    "mad",
    "outlier_rate",
    "pit",
]
