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
    ReLoBRaLo,
    RotationDerivativeLoss,
    SpectrophotometricFluxLoss,
    TotalLoss,
    UncertaintyWeights,
    WeightSchedule,
    cde_loss,
    cross_entropy,
    crps_loss,
    flux_loss,
    gradient_norms,
    invariance_loss,
    l2_penalty,
    rotation_derivative_loss,
)
from photoz_losses.photometry import flux_residual
from photoz_losses.rebinning import rebin
from photoz_losses.views import Views, average_views, rotation_derivative, two_views

__all__ = [
    "CDELoss",
    "CRPSLoss",
    "FluxLoss",
    "InvarianceLoss",
    "L2Penalty",
    "ReLoBRaLo",
    "RedshiftBins",
    "RedshiftCrossEntropy",
    "RotationDerivativeLoss",
    "SpectrophotometricFluxLoss",
    "TotalLoss",
    "UncertaintyWeights",
    "Views",
    "WeightSchedule",
    "average_views",
    "cde_loss",
    "cross_entropy",
    "crps_loss",
    "flux_loss",
    "flux_residual",
    "gradient_norms",
    "invariance_loss",
    "l2_penalty",
    "photometry",
    "rebin",
    "rotation_derivative",
    "rotation_derivative_loss",
    "transforms",
    "two_views",
]


_LAZY = ("calibration", "io", "metrics", "plots", "report")


def __getattr__(name: str) -> ModuleType:
    """Import what is slow to import when it is first asked for: torchmetrics takes seconds."""
    if name in _LAZY:
        return import_module(f"photoz_losses.{name}")
    mend = ""
    if not name.startswith("_"):  # whoever looks a package over asks for those, and should not wait
        for room in ("calibration", "metrics"):  # the others need extras
            if name in import_module(f"photoz_losses.{room}").__all__:
                mend = f": it is photoz_losses.{room}.{name}"
    raise AttributeError(f"module 'photoz_losses' has no attribute {name!r}{mend}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})


__version__ = "0.1.0"
