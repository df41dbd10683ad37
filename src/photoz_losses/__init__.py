"""Exact, nearly free loss terms and metrics for photometric-redshift networks."""

from importlib import import_module
from types import ModuleType

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


def __getattr__(name: str) -> ModuleType:
    """Import `metrics` and `plots` when they are first asked for: torchmetrics takes seconds."""
    if name in ("metrics", "plots"):
        return import_module(f"photoz_losses.{name}")
    raise AttributeError(f"module 'photoz_losses' has no attribute {name!r}")


__version__ = "0.1.0"
