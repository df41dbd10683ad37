"""Loss terms, each a function and a Module in a file of its own."""

from photoz_losses.losses.cde import CDELoss, cde_loss
from photoz_losses.losses.cross_entropy import (
    L2Penalty,
    RedshiftCrossEntropy,
    cross_entropy,
    l2_penalty,
)
from photoz_losses.losses.crps import CRPSLoss, crps_loss
from photoz_losses.losses.flux import FluxLoss, SpectrophotometricFluxLoss, flux_loss
from photoz_losses.losses.gradients import gradient_norms
from photoz_losses.losses.invariance import InvarianceLoss, invariance_loss
from photoz_losses.losses.rotation import RotationDerivativeLoss, rotation_derivative_loss
from photoz_losses.losses.schedule import WeightSchedule
from photoz_losses.losses.total import TotalLoss
from photoz_losses.losses.weights import ReLoBRaLo, UncertaintyWeights

__all__ = [
    "CDELoss",
    "CRPSLoss",
    "FluxLoss",
    "InvarianceLoss",
    "L2Penalty",
    "ReLoBRaLo",
    "RedshiftCrossEntropy",
    "RotationDerivativeLoss",
    "SpectrophotometricFluxLoss",
    "TotalLoss",
    "UncertaintyWeights",
    "WeightSchedule",
    "cde_loss",
    "cross_entropy",
    "crps_loss",
    "flux_loss",
    "gradient_norms",
    "invariance_loss",
    "l2_penalty",
    "rotation_derivative_loss",
]
