"""Bad input: what every loss and score asks of logits, redshifts and the reduction."""

import numpy as np
import torch
from astropy import units
from errors.table import BINS, FLUX, LOGITS, NAN, PHOTOMETRY, PROBS, RESIDUAL, Cases, Z, changed

from photoz_losses import (
    CDELoss,
    CRPSLoss,
    FluxLoss,
    InvarianceLoss,
    RedshiftCrossEntropy,
    RotationDerivativeLoss,
    SpectrophotometricFluxLoss,
    cde_loss,
    cross_entropy,
    crps_loss,
    flux_loss,
    flux_residual,
    invariance_loss,
    metrics,
    rotation_derivative_loss,
)
from photoz_losses.calibration import PITRecalibration, TemperatureScaling

case = Cases()

OF_REDSHIFTS = {
    "cross_entropy": lambda z: cross_entropy(LOGITS, z, BINS),
    "RedshiftCrossEntropy": lambda z: RedshiftCrossEntropy(BINS)(LOGITS, z),
    "cde_loss": lambda z: cde_loss(LOGITS, z, BINS),
    "CDELoss": lambda z: CDELoss(BINS)(LOGITS, z),
    "crps_loss": lambda z: crps_loss(LOGITS, z, BINS),
    "CRPSLoss": lambda z: CRPSLoss(BINS)(LOGITS, z),
    "flux_residual": lambda z: flux_residual(PHOTOMETRY, FLUX, z, BINS),
    "SpectrophotometricFluxLoss": lambda z: SpectrophotometricFluxLoss(BINS, PHOTOMETRY)(
        LOGITS, FLUX, z
    ),
    "metrics.pit": lambda z: metrics.pit(PROBS, z, BINS),
    "metrics.cde_loss": lambda z: metrics.cde_loss(PROBS, z, BINS),
    "metrics.crps": lambda z: metrics.crps(PROBS, z, BINS),
    "metrics.PIT": lambda z: metrics.PIT(BINS).update(PROBS, z),
    "metrics.CDELoss": lambda z: metrics.CDELoss(BINS).update(PROBS, z),
    "metrics.CRPS": lambda z: metrics.CRPS(BINS).update(PROBS, z),
    "metrics.log_score": lambda z: metrics.log_score(PROBS, z, BINS),
    "metrics.brier": lambda z: metrics.brier(PROBS, z, BINS),
    "metrics.credibility": lambda z: metrics.credibility(
        PROBS, z, BINS, interval="highest_density"
    ),
    "metrics.coverage": lambda z: metrics.coverage(PROBS, z, BINS),
    "metrics.galaxy_scores": lambda z: metrics.galaxy_scores(PROBS, z, BINS),
    "metrics.PITStatistics": lambda z: metrics.PITStatistics(BINS).update(PROBS, z),
    "metrics.LogScore": lambda z: metrics.LogScore(BINS).update(PROBS, z),
    "metrics.Brier": lambda z: metrics.Brier(BINS).update(PROBS, z),
    "metrics.Coverage": lambda z: metrics.Coverage(BINS).update(PROBS, z),
    "TemperatureScaling.fit": lambda z: TemperatureScaling(BINS).fit(LOGITS, z),
    "PITRecalibration.fit": lambda z: PITRecalibration(BINS).fit(LOGITS, z),
}
BAD_REDSHIFTS = {
    "NaN": (changed(Z, 1, NAN), ValueError, "must lie in [0, 0.4]", "1 of 2", "nan at index 1"),
    "above": (changed(Z, 0, 0.5), ValueError, "[0, 0.4]", "0.5 at index 0", "widen the bins"),
    "below": (changed(Z, 0, -0.1), ValueError, "[0, 0.4]", "-0.1 at index 0", "Drop"),
    "integer": (torch.tensor([0, 0]), TypeError, "int64", "z_spec.float()", "bins.centers[z_spec]"),
    "bfloat16": (Z.bfloat16(), TypeError, "float32 or float64", "bfloat16"),
    "float16": (Z.half(), TypeError, "float32 or float64", "float16"),
    "shape (N, 1)": (Z.unsqueeze(-1), ValueError, "(2,)", "(2, 1)", "squeeze(-1)"),
    "too few": (Z[:1], ValueError, "(2,)", "(1,)"),
    "two tensors": ((Z, Z), TypeError, "torch.Tensor", "tuple of tensors", "unpack it"),
    "NumPy": (Z.numpy(), TypeError, "torch.Tensor", "ndarray", "torch.as_tensor"),
    "sparse": (Z.to_sparse(), TypeError, "dense", "sparse_coo", "z_spec.to_dense()"),
    "float8": (Z.to(torch.float8_e5m2), TypeError, "float32 or", "float8_e5m2", "half"),
}
for name, call in OF_REDSHIFTS.items():
    for fault, (z, error, *says) in BAD_REDSHIFTS.items():
        case(f"{name}: z_spec {fault}", lambda c=call, z=z: c(z), error, "z_spec", *says)


class Series:
    """As pandas' are, which torch does not take for arrays."""

    dtype = np.dtype(">f4")

    def __array__(self, dtype=None, copy=None):
        return COLUMN

    to_numpy = __array__


COLUMN = Z.numpy().astype(">f4")
for name, column, *says in (
    ("FITS", COLUMN, "got ndarray", "give torch.as_tensor(z_spec.astype('f4'))"),
    ("pandas", Series(), "got Series", "give torch.as_tensor(z_spec.to_numpy().astype('f4'))"),
    ("a masked column", np.ma.masked_less(COLUMN, 0.1), "no mask", "z_spec.compressed()"),
    ("a column of velocities", COLUMN * units.km / units.s, "no unit", "numbers in km / s"),
):
    case(
        f"cross_entropy: z_spec of {name}",
        lambda z=column: cross_entropy(LOGITS, z, BINS), TypeError, "z_spec", *says,
    )  # fmt: skip

MANY, TRUTHS = LOGITS.repeat(20, 1), torch.tensor([0.25, 0.15, 0.05, 0.35]).repeat(10)
FITTED = [fit(BINS).fit(MANY, TRUTHS) for fit in (TemperatureScaling, PITRecalibration)]
OF_LOGITS = {
    "cross_entropy": lambda x: cross_entropy(x, Z, BINS),
    "RedshiftCrossEntropy": lambda x: RedshiftCrossEntropy(BINS)(x, Z),
    "cde_loss": lambda x: cde_loss(x, Z, BINS),
    "CDELoss": lambda x: CDELoss(BINS)(x, Z),
    "crps_loss": lambda x: crps_loss(x, Z, BINS),
    "CRPSLoss": lambda x: CRPSLoss(BINS)(x, Z),
    "FluxLoss": lambda x: FluxLoss(BINS)(x, RESIDUAL),
    "SpectrophotometricFluxLoss": lambda x: SpectrophotometricFluxLoss(BINS, PHOTOMETRY)(
        x, FLUX, Z
    ),
    "invariance_loss": lambda x: invariance_loss(x, x, bins=BINS),
    "InvarianceLoss": lambda x: InvarianceLoss(bins=BINS)(x, x),
    "rotation_derivative_loss": lambda x: rotation_derivative_loss(x, LOGITS, bins=BINS),
    "RotationDerivativeLoss": lambda x: RotationDerivativeLoss(bins=BINS)(x, LOGITS),
    "TemperatureScaling": lambda x: FITTED[0](x),
    "PITRecalibration": lambda x: FITTED[1](x),
    "TemperatureScaling.fit": lambda x: TemperatureScaling(BINS).fit(x, Z),
    "PITRecalibration.fit": lambda x: PITRecalibration(BINS).fit(x, Z),
}
BAD_LOGITS = {
    "probabilities": (PROBS, ValueError, "look like probabilities", "without softmax"),
    "of too few bins": (LOGITS[:, 1:], ValueError, "4)", "(2, 3)"),
    "integer": (LOGITS.long(), TypeError, "floating-point", "int64", ".float()"),
    "a list": (LOGITS.tolist(), TypeError, "torch.Tensor", "list", "torch.as_tensor"),
    "sparse": (LOGITS.to_sparse(), TypeError, "dense", "sparse_coo", "logits.to_dense()"),
    "float8": (LOGITS.to(torch.float8_e5m2), TypeError, "float32", "float8_e5m2", ".float()"),
}
for name, call in OF_LOGITS.items():
    for fault, (logits, error, *says) in BAD_LOGITS.items():
        case(f"{name}: logits {fault}", lambda c=call, x=logits: c(x), error, "logits", *says)

WITH_REDUCTION = {
    "cross_entropy": lambda r: cross_entropy(LOGITS, Z, BINS, reduction=r),
    "RedshiftCrossEntropy": lambda r: RedshiftCrossEntropy(BINS, reduction=r)(LOGITS, Z),
    "cde_loss": lambda r: cde_loss(LOGITS, Z, BINS, reduction=r),
    "CDELoss": lambda r: CDELoss(BINS, reduction=r)(LOGITS, Z),
    "crps_loss": lambda r: crps_loss(LOGITS, Z, BINS, reduction=r),
    "CRPSLoss": lambda r: CRPSLoss(BINS, reduction=r)(LOGITS, Z),
    "flux_loss": lambda r: flux_loss(LOGITS, RESIDUAL, reduction=r),
    "FluxLoss": lambda r: FluxLoss(BINS, reduction=r)(LOGITS, RESIDUAL),
    "SpectrophotometricFluxLoss": lambda r: SpectrophotometricFluxLoss(
        BINS, PHOTOMETRY, reduction=r
    )(LOGITS, FLUX, Z),
    "invariance_loss": lambda r: invariance_loss(LOGITS, LOGITS, reduction=r),
    "InvarianceLoss": lambda r: InvarianceLoss(reduction=r)(LOGITS, LOGITS),
    "rotation_derivative_loss": lambda r: rotation_derivative_loss(LOGITS, LOGITS, reduction=r),
    "RotationDerivativeLoss": lambda r: RotationDerivativeLoss(reduction=r)(LOGITS, LOGITS),
    "metrics.cde_loss": lambda r: metrics.cde_loss(PROBS, Z, BINS, reduction=r),
    "metrics.crps": lambda r: metrics.crps(PROBS, Z, BINS, reduction=r),
    "metrics.log_score": lambda r: metrics.log_score(PROBS, Z, BINS, reduction=r),
    "metrics.brier": lambda r: metrics.brier(PROBS, Z, BINS, reduction=r),
    "metrics.entropy": lambda r: metrics.entropy(PROBS, BINS, reduction=r),
    "metrics.coverage": lambda r: metrics.coverage(PROBS, Z, BINS, reduction=r),
}
for name, call in WITH_REDUCTION.items():
    case(
        f"{name}: reduction",
        lambda c=call: c("average"),
        ValueError, "reduction", "'mean', 'sum', 'none'", "'average'",
    )  # fmt: skip
