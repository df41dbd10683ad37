"""Exact, nearly free loss terms and metrics for photometric-redshift networks."""

from photoz_losses import photometry, transforms
from photoz_losses.bins import RedshiftBins
from photoz_losses.losses import (
    CDELoss,
    CRPSLoss,
    FluxLoss,
    InvarianceLoss,
    L2Penalty,
    RedshiftCrossEntropy,
    SpectrophotometricFluxLoss,
    TotalLoss,
    cde_loss,
    cross_entropy,
    crps_loss,
    flux_loss,
    invariance_loss,
    l2_penalty,
)
from photoz_losses.photometry import flux_residual

__all__ = [
    "CDELoss",
    "CRPSLoss",
    "FluxLoss",
    "InvarianceLoss",
    "L2Penalty",
    "RedshiftBins",
    "RedshiftCrossEntropy",
    "SpectrophotometricFluxLoss",
    "TotalLoss",
    "cde_loss",
    "cross_entropy",
    "crps_loss",
    "flux_loss",
    "flux_residual",
    "invariance_loss",
    "l2_penalty",
    "photometry",
    "transforms",
]
__version__ = "0.1.0"
