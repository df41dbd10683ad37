"""Bad input: each is refused with an error that names the argument and says what to do.

One table, for every public function and Module. A case is a call, the exception, and what its
message must say: pieces that occur in this order.
"""

import re

import pytest
import torch
from torch import nn

from photoz_losses import (
    CDELoss,
    CRPSLoss,
    FluxLoss,
    InvarianceLoss,
    L2Penalty,
    RedshiftBins,
    RedshiftCrossEntropy,
    ReLoBRaLo,
    RotationDerivativeLoss,
    SpectrophotometricFluxLoss,
    TotalLoss,
    UncertaintyWeights,
    WeightSchedule,
    average_views,
    cde_loss,
    cross_entropy,
    crps_loss,
    flux_loss,
    flux_residual,
    gradient_norms,
    invariance_loss,
    l2_penalty,
    metrics,
    rebin,
    rotation_derivative,
    rotation_derivative_loss,
    two_views,
)
from photoz_losses.calibration import PITRecalibration, TemperatureScaling
from photoz_losses.photometry import (
    FilterSet,
    FluxTable,
    Spectra,
    SyntheticPhotometry,
    read_sdss_spectra,
    relative_variance,
)
from photoz_losses.transforms import (
    RandomDihedral,
    RandomRotation,
    ResampleBackground,
    dihedral,
    resample_background,
    rotate,
    source_mask,
)

NAN, INF = float("nan"), float("inf")
BINS = RedshiftBins.uniform(0.0, 0.4, 4)
LOGITS = torch.tensor([[0.5, -1.0, 2.0, 0.0], [0.0, 1.0, -3.0, 1.0]])
PROBS = LOGITS.softmax(-1)
Z = torch.tensor([0.05, 0.31])
BOX = FilterSet(["box"], [[5000.0, 6000.0]], [[1.0, 1.0]])
GRID = torch.linspace(4000.0, 8000.0, 41, dtype=torch.float64)
PHOTOMETRY = SyntheticPhotometry(BOX, GRID)
FLUX = torch.ones(2, 41)
VALID = torch.ones(2, 41, dtype=torch.bool)
RESIDUAL = torch.zeros(2, 4, 3)
WEIGHT = torch.ones(2, 3)
IMAGES = torch.ones(2, 5, 8, 8)
CASES = []


def case(name, call, error, *says):
    """One line of the table."""
    CASES.append(pytest.param(call, error, says, id=name))


def changed(tensor, at, value):
    """`tensor` with one entry replaced."""
    tensor = tensor.clone()
    tensor[at] = value
    return tensor


# Redshift bins ---------------------------------------------------------------------------------

for name, edges, says in (
    ("decreasing", [0.4, 0.2, 0.0], ("increase strictly", "0.4 followed by 0.2", "sort")),
    ("repeated", [0.0, 0.2, 0.2, 0.4], ("increase strictly", "index 1", "drop repeated")),
    ("NaN", [0.0, NAN, 0.4], ("finite", "drop")),
    ("infinite", [0.0, 0.2, INF], ("finite", "drop")),
    ("too few", [0.0, 0.4], ("at least 3", "(2,)")),
    ("empty", [], ("at least 3",)),
    ("2-D", [[0.0, 0.2, 0.4]], ("vector", "(1, 3)")),
):
    case(f"bins: edges {name}", lambda e=edges: RedshiftBins(e), ValueError, "edges", *says)

case("bins.uniform: reversed", lambda: RedshiftBins.uniform(0.4, 0.0, 4), ValueError, "z_min")
case("bins.uniform: one bin", lambda: RedshiftBins.uniform(0.0, 0.4, 1), ValueError, "at least")
case("bins.log1p: z_min", lambda: RedshiftBins.log1p(-1.0, 1.0, 4), ValueError, "z_min", "-1")
case(
    "bins.from_quantiles: NaN",
    lambda: RedshiftBins.from_quantiles([0.1, NAN, 0.2], 2),
    ValueError, "z_spec", "finite", "drop",
)  # fmt: skip
case(
    "bins.from_quantiles: equal values",
    lambda: RedshiftBins.from_quantiles([0.1] * 9 + [0.2], 4),
    ValueError, "z_spec", "equal", "fewer bins",
)  # fmt: skip
case(
    "bins.from_quantiles: no galaxies",
    lambda: RedshiftBins.from_quantiles([], 4),
    ValueError, "z_spec", "at least two",
)  # fmt: skip
case("bins.index: above", lambda: BINS.index(0.41), ValueError, "z must lie in [0, 0.4]", "0.41")
case("bins.index: NaN", lambda: BINS.index(NAN, "clip"), ValueError, "z must lie in", "nan")
case(
    "bins.index: option",
    lambda: BINS.index(0.1, "nearest"),
    ValueError, "out_of_range", "'raise', 'clip'", "nearest",
)  # fmt: skip
case(
    "bins.index: integers",
    lambda: BINS.index(torch.tensor([0, 1])),
    TypeError, "z", "floating-point", "int64", "float()",
)  # fmt: skip
case("bins.index: half", lambda: BINS.index(Z.half()), TypeError, "z must be float32", "float16")
case("bins.cdf: half", lambda: BINS.cdf(PROBS, Z.half()), TypeError, "z", "float32", "float16")
case("bins.pdf: half", lambda: BINS.pdf(PROBS, Z.half()), TypeError, "z", "float32", "float16")
case("bins.quantile: per cent", lambda: BINS.quantile(PROBS, 50.0), ValueError, "q", "fractions")
case("bins.quantile: negative", lambda: BINS.quantile(PROBS, -0.1), ValueError, "q", "[0, 1]")
case(
    "bins.pdf: grid without a dimension of its own",
    lambda: BINS.pdf(PROBS, torch.linspace(0, 0.4, 7)),
    ValueError, "z", "(7,)", "broadcast", "unsqueeze(-2)",
)  # fmt: skip

READERS = {
    "density": lambda p: BINS.density(p),
    "mean": lambda p: BINS.mean(p),
    "median": lambda p: BINS.median(p),
    "mode": lambda p: BINS.mode(p),
    "pdf": lambda p: BINS.pdf(p, 0.1),
    "cdf": lambda p: BINS.cdf(p, 0.1),
    "quantile": lambda p: BINS.quantile(p, 0.5),
    "metrics.pit": lambda p: metrics.pit(p, Z, BINS),
    "metrics.cde_loss": lambda p: metrics.cde_loss(p, Z, BINS),
    "metrics.crps": lambda p: metrics.crps(p, Z, BINS),
    "metrics.PIT": lambda p: metrics.PIT(BINS).update(p, Z),
    "metrics.CDELoss": lambda p: metrics.CDELoss(BINS).update(p, Z),
    "metrics.CRPS": lambda p: metrics.CRPS(BINS).update(p, Z),
    "metrics.log_score": lambda p: metrics.log_score(p, Z, BINS),
    "metrics.brier": lambda p: metrics.brier(p, Z, BINS),
    "metrics.entropy": lambda p: metrics.entropy(p, BINS),
    "metrics.credibility": lambda p: metrics.credibility(p, Z, BINS),
    "metrics.coverage": lambda p: metrics.coverage(p, Z, BINS),
    "metrics.galaxy_scores": lambda p: metrics.galaxy_scores(p, Z, BINS),
    "metrics.PITStatistics": lambda p: metrics.PITStatistics(BINS).update(p, Z),
    "metrics.LogScore": lambda p: metrics.LogScore(BINS).update(p, Z),
    "metrics.Brier": lambda p: metrics.Brier(BINS).update(p, Z),
    "metrics.Entropy": lambda p: metrics.Entropy(BINS).update(p),
    "metrics.Coverage": lambda p: metrics.Coverage(BINS).update(p, Z),
    "best": lambda p: BINS.best(p),
    "rebin": lambda p: rebin(p, BINS, BINS),
}
for name, read in READERS.items():
    case(
        f"{name}: logits for probs",
        lambda read=read: read(LOGITS),
        ValueError, "probs", "masses per bin", "softmax",
    )  # fmt: skip
    case(
        f"{name}: densities for probs",
        lambda read=read: read(PROBS / 0.1),
        ValueError, "probs", "masses per bin", "bins.widths",
    )  # fmt: skip
    case(f"{name}: NaN", lambda read=read: read(PROBS * NAN), ValueError, "probs", "not NaN")
    case(f"{name}: bins", lambda read=read: read(PROBS[:, 1:]), ValueError, "probs", "4)", "(2, 3)")
    case(
        f"{name}: integers",
        lambda read=read: read(torch.eye(4)[:2].long()),
        TypeError, "probs", "floating-point", "int64", "probs.float()",
    )  # fmt: skip

# What every loss and score asks of logits and redshifts ------------------------------------------

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
    "integer": (torch.tensor([0, 0]), TypeError, "floating-point", "int64", "z_spec.float()"),
    "bfloat16": (Z.bfloat16(), TypeError, "float32 or float64", "bfloat16"),
    "float16": (Z.half(), TypeError, "float32 or float64", "float16"),
    "shape (N, 1)": (Z.unsqueeze(-1), ValueError, "(2,)", "(2, 1)", "squeeze(-1)"),
    "too few": (Z[:1], ValueError, "(2,)", "(1,)"),
    "NumPy": (Z.numpy(), TypeError, "torch.Tensor", "ndarray", "torch.as_tensor"),
}
for name, call in OF_REDSHIFTS.items():
    for fault, (z, error, *says) in BAD_REDSHIFTS.items():
        case(f"{name}: z_spec {fault}", lambda c=call, z=z: c(z), error, "z_spec", *says)

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

# Single losses -----------------------------------------------------------------------------------

for value in (-0.1, 1.0, NAN):
    case(
        f"cross_entropy: label_smoothing {value}",
        lambda v=value: cross_entropy(LOGITS, Z, BINS, label_smoothing=v),
        ValueError, "label_smoothing", "[0, 1)",
    )  # fmt: skip
case(
    "RedshiftCrossEntropy: label_smoothing",
    lambda: RedshiftCrossEntropy(BINS, label_smoothing=2.0),
    ValueError, "label_smoothing", "[0, 1)", "2.0",
)  # fmt: skip


def used_up():
    parameters = nn.Linear(2, 2).parameters()
    l2_penalty(parameters)
    return parameters


case(
    "l2_penalty: generator used up", lambda: l2_penalty(used_up()), ValueError, "parameters", "anew"
)
case("L2Penalty: no parameters", lambda: L2Penalty()([]), ValueError, "parameters", "empty")
case("l2_penalty: integers", lambda: l2_penalty([torch.ones(2).int()]), TypeError, "parameters")

case(
    "flux_loss: residual of other bins",
    lambda: flux_loss(LOGITS, RESIDUAL[:, 1:]),
    ValueError, "residual", "(2, 4, B)", "(2, 3, 3)",
)  # fmt: skip
case(
    "flux_loss: residual without bands",
    lambda: flux_loss(LOGITS, RESIDUAL[..., 0]),
    ValueError, "residual", "(2, 4",
)  # fmt: skip
case(
    "flux_loss: residual integer",
    lambda: flux_loss(LOGITS, RESIDUAL.long()),
    TypeError, "residual", "int64",
)  # fmt: skip
for name, call in (
    ("flux_loss", lambda w: flux_loss(LOGITS, RESIDUAL, w)),
    ("FluxLoss", lambda w: FluxLoss(BINS)(LOGITS, RESIDUAL, w)),
):
    for fault, weight, error, *says in (
        ("negative", changed(WEIGHT, (0, 1), -1.0), ValueError, "negative, NaN", "0 switches"),
        ("NaN", changed(WEIGHT, (0, 1), NAN), ValueError, "negative, NaN", "0 switches"),
        ("of other bands", WEIGHT[:, 1:], ValueError, "(2, 3)", "(2, 2)"),
        ("bool", WEIGHT.bool(), TypeError, "floating-point", "bool", "band_weight.float()"),
    ):
        case(
            f"{name}: band_weight {fault}",
            lambda c=call, w=weight: c(w), error, "band_weight", *says,
        )  # fmt: skip

for name, call in (
    ("flux_loss", lambda v: flux_loss(LOGITS, RESIDUAL, WEIGHT, variance=v)),
    ("FluxLoss", lambda v: FluxLoss(BINS)(LOGITS, RESIDUAL, variance=v)),
):
    for fault, variance, error, *says in (
        ("zero", changed(WEIGHT, (0, 1), 0.0), ValueError, "positive", "in use", "band_weight 0"),
        ("negative", changed(WEIGHT, (0, 1), -1.0), ValueError, "positive", "relative_variance"),
        ("NaN", changed(WEIGHT, (0, 1), NAN), ValueError, "not NaN"),
        ("of other bands", WEIGHT[:, 1:], ValueError, "(2, 3)", "(2, 2)"),
        ("integer", WEIGHT.long(), TypeError, "floating-point", "int64", "variance.float()"),
    ):
        case(f"{name}: variance {fault}", lambda c=call, v=variance: c(v), error, "variance", *says)

INVARIANCE = {
    "invariance_loss": lambda **options: invariance_loss(LOGITS, LOGITS, **options),
    "InvarianceLoss": lambda **options: InvarianceLoss(**options),
    "rotation_derivative_loss": lambda **options: rotation_derivative_loss(
        LOGITS, LOGITS, **options
    ),
    "RotationDerivativeLoss": lambda **options: RotationDerivativeLoss(**options),
}
for name, call in INVARIANCE.items():
    for options, *says in (
        ({"distance": "l1"}, "distance", "'l2', 'symmetric_kl', 'cramer'", "'l1'"),
        ({"space": "density"}, "space", "'probs', 'logits'", "'density'"),
        ({"distance": "cramer"}, "cramer", "bins="),
        ({"distance": "symmetric_kl", "space": "logits"}, "symmetric_kl", "space='probs'"),
    ):
        case(
            f"{name}: {' '.join(options.values())}",
            lambda c=call, o=options: c(**o), ValueError, *says,
        )  # fmt: skip
case(
    "invariance_loss: other batch",
    lambda: invariance_loss(LOGITS, LOGITS[:1]),
    ValueError, "logits_transformed", "(2, 4)", "(1, 4)",
)  # fmt: skip
case(
    "invariance_loss: second view as probabilities",
    lambda: invariance_loss(LOGITS, PROBS, bins=BINS),
    ValueError, "logits_transformed", "look like probabilities",
)  # fmt: skip

for name, call in (
    ("invariance_loss", lambda t: invariance_loss(LOGITS, LOGITS, temperature=t)),
    ("InvarianceLoss", lambda t: InvarianceLoss(temperature=t)),
    ("rotation_derivative_loss", lambda t: rotation_derivative_loss(LOGITS, LOGITS, temperature=t)),
    ("RotationDerivativeLoss", lambda t: RotationDerivativeLoss(temperature=t)),
):
    for value in (0.0, -1.0, NAN, INF):
        case(
            f"{name}: temperature {value}",
            lambda c=call, t=value: c(t), ValueError, "temperature", "positive", str(value),
        )  # fmt: skip
for fault, rows, error, *says in (
    ("a mask", torch.tensor([True, False]), TypeError, "int64", "bool"),
    ("a list", [0], TypeError, "int64", "list"),
    ("negative", torch.tensor([-1]), ValueError, "0 to 1", "-1"),
    ("too large", torch.tensor([2]), ValueError, "0 to 1", "2"),
    ("2-D", torch.tensor([[0]]), ValueError, "(M,)", "(1, 1)"),
    ("too many", torch.tensor([0, 1]), ValueError, "(2, 4) of the rows of logits", "(1, 4)"),
):
    case(
        f"invariance_loss: rows {fault}",
        lambda r=rows: invariance_loss(LOGITS, LOGITS[:1], rows=r), error, *says,
    )  # fmt: skip
case(
    "rotation_derivative_loss: other bins",
    lambda: rotation_derivative_loss(LOGITS, LOGITS[:, 1:]),
    ValueError, "derivative", "(2, 4)", "(2, 3)",
)  # fmt: skip
case(
    "rotation_derivative_loss: integer",
    lambda: rotation_derivative_loss(LOGITS, LOGITS.long()),
    TypeError, "derivative", "floating-point", "int64",
)  # fmt: skip

# Views of a batch --------------------------------------------------------------------------------


def first_pixels(images, *extra):
    """A model of four bins."""
    return images.flatten(1)[:, :4]


TWO_VIEWS = {
    "number of images": (lambda x: x[:1], ValueError, "view", "(2, 5, H, W)", "(1, 5, 8, 8)"),
    "bands": (lambda x: x[:, :3], ValueError, "view", "(2, 5, H, W)", "their bands"),
    "size": (lambda x: x[..., 1:], ValueError, "view", "(8, 8)", "(8, 7)", "crop", "detach=True"),
    "type": (lambda x: x.double(), TypeError, "view", "float32", "float64"),
    "device": (lambda x: x.to("meta"), ValueError, "view", "device cpu", "meta"),
    "a tuple": (lambda x: (x, 0), TypeError, "view", "tensor of images", "tuple"),
}
for fault, (view, error, *says) in TWO_VIEWS.items():
    case(
        f"two_views: view changes {fault}",
        lambda v=view: two_views(first_pixels, IMAGES, v),
        error,
        *says,
    )
    if fault != "size":
        case(
            f"two_views: view changes {fault}, detached",
            lambda v=view: two_views(first_pixels, IMAGES, v, detach=True), error, *says,
        )  # fmt: skip
        case(
            f"average_views: view changes {fault}",
            lambda v=view: average_views(first_pixels, IMAGES, [v]), error, *says,
        )  # fmt: skip
for value in (0.0, 1.1, NAN):
    case(
        f"two_views: fraction {value}",
        lambda f=value: two_views(first_pixels, IMAGES, torch.flip, fraction=f),
        ValueError, "fraction", "(0, 1]", str(value),
    )  # fmt: skip
OF_MODEL = {
    "two_views": lambda model, x: two_views(model, x, torch.neg),
    "two_views detached": lambda model, x: two_views(model, x, torch.neg, detach=True),
    "average_views": lambda model, x: average_views(model, x, None),
    "rotation_derivative": lambda model, x: rotation_derivative(model, x),
}
for name, call in OF_MODEL.items():
    for fault, model, images, error, *says in (
        ("two outputs", lambda x: (x, x), IMAGES, TypeError, "model", "logits alone"),
        ("one number", lambda x: x.sum(), IMAGES, ValueError, "model", "one row", "C)", "()"),
        ("too few rows", lambda x: x[1:], IMAGES, ValueError, "model", "one row", "C)"),
        ("one image", first_pixels, IMAGES[0], ValueError, "images", "unsqueeze(0)"),
        ("integers", first_pixels, IMAGES.int(), TypeError, "images", ".float()"),
    ):
        case(f"{name}: {fault}", lambda c=call, m=model, x=images: c(m, x), error, *says)
case(
    "average_views: no views",
    lambda: average_views(first_pixels, IMAGES, []), ValueError, "views is empty", "None",
)  # fmt: skip
case(
    "average_views: oblong",
    lambda: average_views(first_pixels, IMAGES[..., 1:], None), ValueError, "images", "square",
)  # fmt: skip
case(
    "average_views: training mode",
    lambda: average_views(nn.Flatten(), IMAGES, None), ValueError, "training mode", "model.eval()",
)  # fmt: skip
case(
    "rotation_derivative: small images",
    lambda: rotation_derivative(first_pixels, IMAGES[..., :3]), ValueError, "at least 4", "(8, 3)",
)  # fmt: skip
case(
    "rotation_derivative: detached",
    lambda: rotation_derivative(lambda x: first_pixels(x.detach()), IMAGES),
    ValueError, "do not follow its images",
)  # fmt: skip

# The sum of terms --------------------------------------------------------------------------------

ENTROPY = RedshiftCrossEntropy(BINS)


class _Variadic(nn.Module):
    def forward(self, *inputs):
        return inputs[0].sum()


for value in (-0.1, NAN, INF):
    case(
        f"TotalLoss: weight {value}",
        lambda v=value: TotalLoss({"ce": (v, ENTROPY)}),
        ValueError, "'ce'", "weight", "finite and not negative",
    )  # fmt: skip
case("TotalLoss: no terms", lambda: TotalLoss({}), ValueError, "terms", "at least one")
case("TotalLoss: function", lambda: TotalLoss({"ce": (1.0, cde_loss)}), TypeError, "'ce'", "Module")
case(
    "TotalLoss: no weight",
    lambda: TotalLoss({"ce": ENTROPY}),
    TypeError,
    "'ce'",
    "(weight, Module)",
)
case(
    "TotalLoss: pair turned round",
    lambda: TotalLoss({"ce": (ENTROPY, 1.0)}),
    TypeError, "'ce'", "Module", "float",
)  # fmt: skip
case(
    "TotalLoss: weight not a number",
    lambda: TotalLoss({"ce": ("1", ENTROPY)}),
    TypeError, "'ce'", "weight",
)  # fmt: skip
case(
    "TotalLoss: term without keywords",
    lambda: TotalLoss({"odd": (1.0, _Variadic())}),
    TypeError, "'odd'", "by name",
)  # fmt: skip
case(
    "TotalLoss: missing keyword",
    lambda: TotalLoss({"ce": (1.0, ENTROPY)})(logits=LOGITS, redshift=Z),
    TypeError, "'ce'", "'z_spec'", "logits, redshift",
)  # fmt: skip
case(
    "TotalLoss: misspelt optional keyword",
    lambda: TotalLoss({"flux": (1.0, FluxLoss(BINS))})(
        logits=LOGITS, residual=RESIDUAL, band_weights=WEIGHT
    ),
    TypeError, "'band_weights'", "'band_weight'",
)  # fmt: skip
case(
    "TotalLoss: term not reduced",
    lambda: TotalLoss({"cde": (1.0, CDELoss(BINS, reduction="none"))})(logits=LOGITS, z_spec=Z),
    ValueError, "'cde'", "(2,)", "reduction='mean'",
)  # fmt: skip
case(
    "TotalLoss: generator used up",
    lambda: TotalLoss({"l2": (1.0, L2Penalty())})(parameters=used_up()),
    ValueError, "parameters", "anew",
)  # fmt: skip
case(
    "TotalLoss: a term's own check",
    lambda: TotalLoss({"ce": (1.0, ENTROPY)})(logits=PROBS, z_spec=Z),
    ValueError, "logits", "without softmax",
)  # fmt: skip

SURE_OF_Z = torch.tensor([[9.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 9.0]])
RAMP = WeightSchedule(0.1, "linear", steps=10)
SOMETIMES = WeightSchedule(0.1, every=4)
for name, weights, weighting, error, *says in (
    ("not a Module", {}, ["ce"], TypeError, "weighting", "Module with names", "['ce']"),
    ("no names", {}, nn.Identity(), TypeError, "weighting", "Module with names", "Identity"),
    ("unknown name", {}, UncertaintyWeights(["flux"]), ValueError, "weighting", "'flux'", "ce"),
    ("scheduled", {"ce": RAMP}, UncertaintyWeights(["ce"]), ValueError, "'ce'", "positive number"),
    ("zero", {"ce": 0.0}, UncertaintyWeights(["ce"]), ValueError, "'ce'", "positive number"),
    (
        *("never due", {"ce": SOMETIMES, "cde": SOMETIMES}, None, ValueError),
        *("terms", "every step", "every > 1"),
    ),
):
    case(
        f"TotalLoss: weighting {name}",
        lambda g={"ce": 1.0, "cde": 0.1} | weights, w=weighting: TotalLoss(
            {"ce": (g["ce"], ENTROPY), "cde": (g["cde"], CDELoss(BINS))}, weighting=w
        ),
        error, *says,
    )  # fmt: skip
case(
    "TotalLoss.active: unknown term",
    lambda: TotalLoss({"ce": (1.0, ENTROPY)}).active("flux"),
    ValueError, "name", "one of ce", "'flux'",
)  # fmt: skip
case(
    "TotalLoss: CDE loss in a weighting",
    lambda: TotalLoss(
        {"ce": (1.0, ENTROPY), "cde": (0.1, CDELoss(BINS))}, weighting=ReLoBRaLo(["ce", "cde"])
    )(logits=SURE_OF_Z, z_spec=Z),
    ValueError, "'cde' adds -", "leave it out of names", "fixed weight",
)  # fmt: skip

# Weights between terms ---------------------------------------------------------------------------

for options, error, *says in (
    ({"weight": -1.0}, ValueError, "weight", "not negative", "-1"),
    ({"weight": NAN}, ValueError, "weight", "finite", "nan"),
    ({"weight": "1"}, TypeError, "weight", "number", "'1'"),
    ({"start": INF}, ValueError, "start", "finite", "inf"),
    ({"kind": "step"}, ValueError, "kind", "'constant', 'linear', 'cosine'", "'step'"),
    ({"kind": "linear"}, ValueError, "steps", "at least 1", "'linear'"),
    ({"steps": 5}, ValueError, "'constant'", "steps=5", "'linear' or 'cosine'"),
    ({"start": 0.5}, ValueError, "'constant'", "start=0.5", "'linear' or 'cosine'"),
    ({"kind": "linear", "steps": -1}, ValueError, "steps", "at least 0", "-1"),
    ({"kind": "linear", "steps": 2.5}, TypeError, "steps", "integer", "2.5"),
    ({"every": 0}, ValueError, "every", "at least 1", "0"),
):
    name = " ".join(f"{key} {value}" for key, value in options.items())
    case(
        f"WeightSchedule: {name}",
        lambda o={"weight": 0.1} | options: WeightSchedule(**o),
        error, *says,
    )  # fmt: skip
for scheme in (UncertaintyWeights, ReLoBRaLo):
    for what, names, error, *says in (
        ("one string", "ce", TypeError, "names", "['ce', 'flux']", "'ce'"),
        ("numbers", [1, 2], TypeError, "names", "sequence of str", "[1, 2]"),
        ("none", [], ValueError, "names", "at least", "0"),
        ("twice", ["ce", "ce"], ValueError, "names", "differ", "'ce'"),
    ):
        case(
            f"{scheme.__name__}: names {what}",
            lambda s=scheme, n=names: s(n),
            error, *says,
        )  # fmt: skip
    for what, terms, error, *says in (
        ("missing", {"ce": Z[0]}, ValueError, "terms", "'flux'", "ce"),
        ("negative", {"ce": Z[0], "flux": -Z[0]}, ValueError, "'flux' adds -0.05", "leave it out"),
        ("not reduced", {"ce": Z, "flux": Z}, ValueError, "terms", "scalars", "(2,)"),
        ("a float", {"ce": Z[0], "flux": 0.1}, TypeError, "flux", "torch.Tensor", "float"),
    ):
        case(
            f"{scheme.__name__}: term {what}",
            lambda s=scheme, t=terms: s(["ce", "flux"])(t),
            error, *says,
        )  # fmt: skip
for options, *says in (
    ({"alpha": 1.5}, "alpha", "[0, 1]", "1.5"),
    ({"rho": -0.1}, "rho", "[0, 1]", "-0.1"),
    ({"temperature": 0.0}, "temperature", "positive", "0.0"),
    ({"temperature": NAN}, "temperature", "positive", "nan"),
):
    name = " ".join(f"{key} {value}" for key, value in options.items())
    case(f"ReLoBRaLo: {name}", lambda o=options: ReLoBRaLo(["ce", "flux"], **o), ValueError, *says)
case("ReLoBRaLo: one name", lambda: ReLoBRaLo(["ce"]), ValueError, "names", "at least 2", "1")
case(
    "gradient_norms: generator used up",
    lambda: gradient_norms({"ce": LOGITS.sum()}, used_up()),
    ValueError, "parameters", "anew",
)  # fmt: skip

# Photometry --------------------------------------------------------------------------------------

for fault, wavelength, *says in (
    ("decreasing", GRID.flip(0), "increase strictly", "sort"),
    ("NaN", changed(GRID, 3, NAN), "finite"),
    ("repeated", changed(GRID, 3, 4200.0), "increase strictly", "index 2"),
    ("in nm", GRID / 10, "reaches no filter", "Angstrom, not in nm"),
    ("logarithmic", GRID.log10(), "reaches no filter", "logarithm"),
    ("negative", GRID - 5000, "positive", "Angstrom"),
    ("one pixel", GRID[:1], "at least 2"),
    ("2-D", GRID.unsqueeze(0), "vector", "(1, 41)"),
):
    case(
        f"SyntheticPhotometry: wavelength {fault}",
        lambda w=wavelength: SyntheticPhotometry(BOX, w), ValueError, "wavelength", *says,
    )  # fmt: skip
case(
    "SyntheticPhotometry: denominator",
    lambda: SyntheticPhotometry(BOX, GRID, denominator="all"),
    ValueError, "denominator", "'covered', 'full'", "'all'",
)  # fmt: skip
for value in (0, -1, -(2**24)):
    case(
        f"SyntheticPhotometry: chunk_bytes {value}",
        lambda v=value: SyntheticPhotometry(BOX, GRID, chunk_bytes=v),
        ValueError, "chunk_bytes", "positive", str(value),
    )  # fmt: skip
NU = torch.ones(2, 1)
for fault, arguments, error, *says in (
    ("flux of other pixels", (FLUX[:, 1:], NU), ValueError, "flux", "41)", "(2, 40)"),
    ("flux integer", (FLUX.long(), NU), TypeError, "flux", "int64", "flux.float()"),
    ("flux NaN", (changed(FLUX, (0, 3), NAN), NU), ValueError, "flux", "valid=flux.isfinite()"),
    ("nu zero", (FLUX, 0 * NU), ValueError, "nu", "positive"),
    ("nu NaN", (FLUX, NAN * NU), ValueError, "nu", "finite"),
    ("nu scalar", (FLUX, torch.tensor(1.0)), ValueError, "nu", "(..., C)", "reshape(1)"),
    ("nu integer", (FLUX, NU.long()), TypeError, "nu", "int64"),
    ("valid float", (FLUX, NU, VALID.float()), TypeError, "valid", "bool", "ivar > 0"),
    ("valid of other pixels", (FLUX, NU, VALID[:, 1:]), ValueError, "valid", "(2, 41)", "(2, 40)"),
):
    case(f"SyntheticPhotometry: {fault}", lambda a=arguments: PHOTOMETRY(*a), error, *says)
for fault, arguments, error, *says in (
    ("ivar of other pixels", (FLUX[:, 1:], NU), ValueError, "ivar", "41)", "(2, 40)"),
    ("ivar integer", (FLUX.long(), NU), TypeError, "ivar", "int64", "ivar.float()"),
    ("ivar bool", (VALID, NU), TypeError, "ivar", "bool"),
    ("ivar negative", (changed(FLUX, (0, 3), -1.0), NU), ValueError, "ivar", "negative", "0 marks"),
    ("ivar NaN", (changed(FLUX, (0, 3), NAN), NU), ValueError, "ivar", "valid=ivar.isfinite()"),
    ("ivar infinite", (changed(FLUX, (0, 3), INF), NU), ValueError, "ivar", "finite"),
    ("nu zero", (FLUX, 0 * NU), ValueError, "nu", "positive"),
    ("nu scalar", (FLUX, torch.tensor(1.0)), ValueError, "nu", "(..., C)", "reshape(1)"),
    ("nu of another batch", (FLUX, torch.ones(3, 1)), ValueError, "ivar and nu", "(2,) and (3,)"),
    ("valid of other pixels", (FLUX, NU, VALID[:, 1:]), ValueError, "valid", "(2, 41) of ivar"),
):
    case(f"variance: {fault}", lambda a=arguments: PHOTOMETRY.variance(*a), error, *says)


def residual_with(flux=FLUX, **options):
    return flux_residual(PHOTOMETRY, flux, Z, BINS, **options)


FLUX_OPTIONS = (
    ({"quadrature": "simpson"}, "quadrature", "'midpoint', 'trapezoid'", "'simpson'"),
    ({"dimming": "tired light"}, "dimming", "'none'", "'tired light'"),
    ({"dimming": "distance"}, "cosmology", "Planck18"),
    ({"cosmology": "Planck18"}, "cosmology", "go together"),
    ({"min_coverage": -0.1}, "min_coverage", "[0, 1]", "-0.1"),
    ({"min_coverage": 50.0}, "min_coverage", "[0, 1]", "50"),
    ({"min_coverage": NAN}, "min_coverage", "[0, 1]", "nan"),
    ({"min_snr": -1.0}, "min_snr", "finite and not negative", "-1"),
    ({"min_snr": INF}, "min_snr", "finite", "inf"),
    ({"min_snr": NAN}, "min_snr", "finite", "nan"),
)
for options, *says in FLUX_OPTIONS:
    name = " ".join(f"{key} {value}" for key, value in options.items())
    case(f"flux_residual: {name}", lambda o=options: residual_with(**o), ValueError, *says)
    case(
        f"SpectrophotometricFluxLoss: {name}",
        lambda o=options: SpectrophotometricFluxLoss(BINS, PHOTOMETRY, **o), ValueError, *says,
    )  # fmt: skip
for fault, options, error, *says in (
    ("one spectrum without a batch", {"flux": FLUX[0]}, ValueError, "flux", "(N, L)", "unsqueeze"),
    ("flux of other pixels", {"flux": FLUX[:, 1:]}, ValueError, "flux", "41)", "(2, 40)"),
    ("flux NaN", {"flux": changed(FLUX, (1, 0), NAN)}, ValueError, "flux", "finite"),
    ("flux integer", {"flux": FLUX.long()}, TypeError, "flux", "int64"),
    ("valid of other pixels", {"valid": VALID[:, 1:]}, ValueError, "valid", "(2, 40)"),
    ("valid of another batch", {"valid": VALID[:1]}, ValueError, "valid", "(1, 41)"),
    ("valid float", {"valid": VALID.float()}, TypeError, "valid", "bool"),
):
    case(f"flux_residual: {fault}", lambda o=options: residual_with(**o), error, *says)
NOISY = {
    "flux_residual": lambda ivar, **options: residual_with(ivar=ivar, min_snr=3.0, **options),
    "relative_variance": lambda ivar, **options: relative_variance(
        PHOTOMETRY, options.pop("flux", FLUX), ivar, **options
    ),
    "SpectrophotometricFluxLoss": lambda ivar, flux=FLUX, **options: SpectrophotometricFluxLoss(
        BINS, PHOTOMETRY, min_snr=3.0
    )(LOGITS, flux, Z, ivar=ivar, **options),
}
for name, call in NOISY.items():
    for fault, ivar, options, error, *says in (
        ("ivar of other pixels", FLUX[:, 1:], {}, ValueError, "ivar", "(2, 41) of flux", "(2, 40)"),
        ("ivar of another batch", FLUX[:1], {}, ValueError, "ivar", "(2, 41) of flux", "(1, 41)"),
        ("ivar integer", FLUX.long(), {}, TypeError, "ivar", "int64", "ivar.float()"),
        ("ivar NumPy", FLUX.numpy(), {}, TypeError, "ivar", "torch.as_tensor"),
        ("ivar negative", changed(FLUX, (1, 3), -1.0), {}, ValueError, "ivar", "negative"),
        ("ivar NaN", changed(FLUX, (1, 3), NAN), {}, ValueError, "ivar", "finite"),
        ("ivar infinite", changed(FLUX, (1, 3), INF), {}, ValueError, "ivar", "finite"),
        (
            "ivar with a valid of other pixels",
            FLUX, {"valid": VALID[:, 1:]}, ValueError, "valid", "(2, 41) of flux", "(2, 40)",
        ),
        ("ivar with valid float", FLUX, {"valid": FLUX}, TypeError, "valid", "bool"),
    ):  # fmt: skip
        case(f"{name}: {fault}", lambda c=call, i=ivar, o=options: c(i, **o), error, *says)
for name, call in (
    ("flux_residual", lambda: residual_with(min_snr=3.0)),
    (
        "SpectrophotometricFluxLoss",
        lambda: SpectrophotometricFluxLoss(BINS, PHOTOMETRY, min_snr=3.0)(LOGITS, FLUX, Z),
    ),
):
    case(f"{name}: min_snr without ivar", call, ValueError, "min_snr = 3.0", "needs ivar")
for value in (-1.0, INF):
    case(
        f"FluxTable: min_snr {value}",
        lambda v=value: FluxTable.build([], BINS, PHOTOMETRY, min_snr=v),
        ValueError, "min_snr", "finite",
    )  # fmt: skip
case(
    "FluxTable: no variance",
    lambda: FluxTable.build(
        Spectra(GRID, FLUX, FLUX, Z.double(), VALID), BINS, PHOTOMETRY, progress=False
    ).variance,
    AttributeError, "no variance", "min_snr=0.0",
)  # fmt: skip

CURVE = ([5000.0, 5500.0, 6000.0], [0.0, 1.0, 0.0])
for fault, arguments, *says in (
    ("no bands", ([], [], []), "names, wavelengths and responses", "at least one"),
    ("one name as a string", ("r", [CURVE[0]], [CURVE[1]]), "names", "'r'"),
    ("fewer curves than names", (["g", "r"], [CURVE[0]], [CURVE[1]]), "as many"),
    ("a name twice", (["r", "r"], [CURVE[0]] * 2, [CURVE[1]] * 2), "names", "different"),
    ("wavelengths decreasing", (["r"], [CURVE[0][::-1]], [CURVE[1]]), "wavelengths of r", "sort"),
    ("wavelengths not positive", (["r"], [[-1.0, 1.0, 2.0]], [CURVE[1]]), "r must be positive"),
    ("one response too few", (["r"], [CURVE[0]], [CURVE[1][1:]]), "responses of r", "(3,)", "(2,)"),
    ("responses negative", (["r"], [CURVE[0]], [[0, -1, 0]]), "responses of r", "not negative"),
    ("responses NaN", (["r"], [CURVE[0]], [[0, NAN, 0]]), "responses of r", "finite"),
    ("responses zero", (["r"], [CURVE[0]], [[0, 0, 0]]), "responses of r", "positive somewhere"),
):
    case(f"FilterSet: {fault}", lambda a=arguments: FilterSet(*a), ValueError, *says)

SPECTRA = {"wavelength": GRID, "flux": FLUX, "ivar": FLUX, "z": Z, "valid": VALID}
for fault, options, error, *says in (
    ("wavelength decreasing", {"wavelength": GRID.flip(0)}, ValueError, "wavelength", "sort"),
    ("flux of one spectrum", {"flux": FLUX[0]}, ValueError, "flux", "(N, L)"),
    ("flux of other pixels", {"flux": FLUX[:, 1:]}, ValueError, "flux", "(2, 40)"),
    ("flux NaN", {"flux": NAN * FLUX}, ValueError, "flux", "finite", "invalid"),
    ("ivar of other pixels", {"ivar": FLUX[:, 1:]}, ValueError, "ivar", "(2, 40)"),
    ("ivar negative", {"ivar": -FLUX}, ValueError, "ivar", "negative", "0 marks"),
    ("ivar NaN", {"ivar": NAN * FLUX}, ValueError, "ivar", "NaN"),
    ("z of another batch", {"z": Z[:1]}, ValueError, "z must have", "(1,)"),
    ("z of shape (N, 1)", {"z": Z.unsqueeze(-1)}, ValueError, "z must have", "squeeze(-1)"),
    ("valid float", {"valid": FLUX}, TypeError, "valid", "bool"),
    ("valid of other pixels", {"valid": VALID[:, 1:]}, ValueError, "valid", "(2, 40)"),
):
    case(f"Spectra: {fault}", lambda o=options: Spectra(**{**SPECTRA, **o}), error, *says)
case("read_sdss_spectra: no paths", lambda: read_sdss_spectra([]), ValueError, "paths", "empty")
case(
    "read_sdss_spectra: missing file",
    lambda: read_sdss_spectra(["nowhere/spec-1-2-3.fits"]),
    FileNotFoundError, "nowhere/spec-1-2-3.fits",
)  # fmt: skip
case(
    "read_sdss_spectra: not FITS",
    lambda: read_sdss_spectra(__file__),
    ValueError, "test_errors.py", "no SDSS spectrum", "loglam",
)  # fmt: skip

# Transforms --------------------------------------------------------------------------------------

ELEMENT = torch.tensor([0, 5])
TRANSFORMS = {
    "dihedral": lambda x: dihedral(x, torch.zeros(len(x), dtype=torch.int64)),
    "RandomDihedral": lambda x: RandomDihedral()(x),
    "resample_background": resample_background,
    "ResampleBackground": lambda x: ResampleBackground()(x),
    "rotate": lambda x: rotate(x, torch.zeros(len(x))),
    "RandomRotation": lambda x: RandomRotation()(x),
    "source_mask": source_mask,
}
for name, call in TRANSFORMS.items():
    for fault, images, error, *says in (
        ("3-D", IMAGES[0], ValueError, "(N, bands, H, W)", "(5, 8, 8)", "unsqueeze(0)"),
        ("integer", IMAGES.int(), TypeError, "floating-point", "int32", "images.float()"),
        ("NumPy", IMAGES.numpy(), TypeError, "torch.Tensor", "ndarray", "torch.as_tensor"),
    ):
        case(f"{name}: images {fault}", lambda c=call, x=images: c(x), error, "images", *says)
for name in ("dihedral", "RandomDihedral", "rotate", "RandomRotation"):
    case(
        f"{name}: images not square",
        lambda c=TRANSFORMS[name]: c(IMAGES[..., 1:]),
        ValueError, "images", "square", "(8, 7)", "cut",
    )  # fmt: skip
for fault, element, error, *says in (
    ("8", torch.tensor([0, 8]), ValueError, "0 to 7"),
    ("negative", torch.tensor([0, -1]), ValueError, "0 to 7"),
    ("of another batch", torch.tensor([0, 1, 2]), ValueError, "(2,)", "(3,)"),
    ("one number for all", torch.tensor(3), ValueError, "(2,)", "()"),
    ("a fraction", torch.tensor([0.0, 0.5]), TypeError, "int"),
):
    case(
        f"dihedral: element {fault}", lambda e=element: dihedral(IMAGES, e), error, "element", *says
    )
for options, *says in (
    ({"sigma": 0.0}, "sigma", "positive", "0.0"),
    ({"sigma": -1.0}, "sigma", "positive", "-1.0"),
    ({"sigma": NAN}, "sigma", "positive", "nan"),
    ({"iterations": 0}, "iterations", "at least 1", "0"),
):
    name = " ".join(f"{key} {value}" for key, value in options.items())
    case(
        f"resample_background: {name}",
        lambda o=options: resample_background(IMAGES, **o), ValueError, *says,
    )  # fmt: skip
    case(
        f"ResampleBackground: {name}",
        lambda o=options: ResampleBackground(**o), ValueError, *says,
    )  # fmt: skip

MASK = torch.zeros(2, 8, 8, dtype=torch.bool)
for fault, mask, error, *says in (
    ("float", MASK.float(), TypeError, "bool", "float32", "> 0"),
    ("NumPy", MASK.numpy(), TypeError, "torch.Tensor", "ndarray"),
    ("of other pixels", MASK[..., 1:], ValueError, "(2, 8, 8)", "(2, 5, 8, 8)", "(2, 8, 7)"),
    ("of another batch", MASK[:1], ValueError, "(2, 8, 8)", "(1, 8, 8)"),
    ("of one band", MASK[:, None], ValueError, "(2, 5, 8, 8)", "(2, 1, 8, 8)"),
    ("of one image", MASK[0], ValueError, "(2, 8, 8)", "(8, 8)"),
):
    for name in ("mask", "sources"):
        options = {"mask": MASK, name: mask}
        for caller, call in (
            ("resample_background", resample_background),
            ("ResampleBackground", ResampleBackground()),
        ):
            case(
                f"{caller}: {name} {fault}",
                lambda c=call, o=options: c(IMAGES, **o), error, f"{name} must", *says,
            )  # fmt: skip
case(
    "resample_background: sources alone",
    lambda: resample_background(IMAGES, sources=MASK), ValueError, "sources", "mask=None",
)  # fmt: skip
case(
    "ResampleBackground: mask of a batch",
    lambda: ResampleBackground(mask=MASK), ValueError, "mask", "(H, W)", "(2, 8, 8)", "the call",
)  # fmt: skip
case(
    "ResampleBackground: its own mask of other pixels",
    lambda: ResampleBackground(mask=MASK[0, 1:])(IMAGES), ValueError, "mask", "(2, 7, 8)",
)  # fmt: skip
case(
    "OutlierRate: threshold beyond the histogram",
    lambda: metrics.OutlierRate(1.5, approximate=10), ValueError, "at most 1", "every residual",
)  # fmt: skip
case(
    "mad: weights without a finite sum",
    lambda: metrics.mad(Z, Z, weights=torch.tensor([1e308, 1e308], dtype=torch.float64)),
    ValueError, "weights", "finite sum", "largest",
)  # fmt: skip
ANGLE = torch.zeros(2)
for fault, angle, error, *says in (
    ("of another batch", torch.zeros(3), ValueError, "(2,)", "(3,)"),
    ("of shape (N, 1)", ANGLE[:, None], ValueError, "(2,)", "squeeze(-1)"),
    ("one number", torch.tensor(0.1), ValueError, "(2,)", "()"),
    ("of degrees, integer", torch.tensor([90, 0]), TypeError, "floating-point", "int64"),
    ("NaN", ANGLE * NAN, ValueError, "finite"),
    ("infinite", ANGLE + INF, ValueError, "finite"),
):
    case(f"rotate: angle {fault}", lambda a=angle: rotate(IMAGES, a), error, "angle", *says)
for fault, side, options, *says in (
    ("too large", 90, {"crop": 64}, "crop 64 needs", "92 x 92", "90 x 90"),
    (
        "too large, bicubic",
        92,
        {"crop": 64, "interpolation": "bicubic"},
        "crop 64 needs",
        "94 x 94",
        "92 x 92",
    ),
    ("of other parity", 91, {"crop": 64}, "crop must be odd", "91", "64", "90 x 90", "crop=63"),
    ("of other parity, even", 92, {"crop": 1}, "crop must be even", "92", "crop=2"),
    ("zero", 92, {"crop": 0}, "crop must be at least 1", "0"),
    ("none left", 2, {}, "images must", "4 x 4", "2 x 2"),
    ("none left, bicubic", 1, {"interpolation": "bicubic"}, "images must", "3 x 3", "1 x 1"),
    ("of an unknown kernel", 92, {"interpolation": "nearest"}, "interpolation", "'bilinear'"),
):
    images = torch.ones(2, 1, side, side)
    case(
        f"rotate: crop {fault}",
        lambda x=images, o=options: rotate(x, ANGLE, **o),
        ValueError,
        *says,
    )
    case(
        f"RandomRotation: crop {fault}",
        lambda x=images, o=options: RandomRotation(**o)(x), ValueError, *says,
    )  # fmt: skip
for options, *says in (
    ({"keep": "centre"}, "keep", "'central', 'all'"),
    ({"missing": "drop"}, "missing", "'raise', 'keep'"),
    ({"n_sigma": 0.0}, "n_sigma", "positive", "0.0"),
    ({"n_pixels": 0}, "n_pixels", "positive", "0"),
    ({"fwhm": -1.0}, "fwhm", "negative", "-1.0"),
    ({"grow": NAN}, "grow", "negative", "nan"),
):
    name = " ".join(f"{key} {value}" for key, value in options.items())
    case(f"source_mask: {name}", lambda o=options: source_mask(IMAGES, **o), ValueError, *says)

# Point metrics -----------------------------------------------------------------------------------

POINT = {
    "mad": metrics.mad,
    "bias": metrics.bias,
    "outlier_rate": metrics.outlier_rate,
    "sigma_iqr": metrics.sigma_iqr,
    "rms": metrics.rms,
    "SigmaIQR": lambda *pair, **weights: metrics.SigmaIQR().update(*pair, **weights),
    "RMS": lambda *pair, **weights: metrics.RMS().update(*pair, **weights),
    "MAD": lambda *pair, **weights: metrics.MAD().update(*pair, **weights),
    "Bias": lambda *pair, **weights: metrics.Bias().update(*pair, **weights),
    "OutlierRate": lambda *pair, **weights: metrics.OutlierRate().update(*pair, **weights),
}
for name, call in POINT.items():
    for fault, pair, error, *says in (
        ("z_spec NaN", (Z, changed(Z, 0, NAN)), ValueError, "z_spec", "NaN", "drop"),
        ("z_spec -1", (Z, changed(Z, 0, -1.0)), ValueError, "z_spec", "above -1"),
        (
            "z_spec of another batch",
            (Z, Z[:1]),
            ValueError,
            "z_phot must",
            "(1,) of z_spec",
            "(2,)",
        ),
        ("z_spec (N, 1)", (Z, Z.unsqueeze(-1)), ValueError, "z_spec", "z_spec.squeeze(-1)"),
        ("z_phot (N, 1)", (Z.unsqueeze(-1), Z), ValueError, "(2, 1)", "z_phot.squeeze(-1)"),
        ("z_spec integer", (Z, torch.tensor([0, 0])), TypeError, "z_spec", "int64"),
        ("z_phot integer", (torch.tensor([0, 0]), Z), TypeError, "z_phot", "z_phot.float()"),
        ("z_phot NumPy", (Z.numpy(), Z), TypeError, "z_phot", "torch.as_tensor"),
        ("z_spec a list", (Z, Z.tolist()), TypeError, "z_spec", "torch.as_tensor"),
    ):
        case(f"{name}: {fault}", lambda c=call, p=pair: c(*p), error, *says)
    for fault, weights, error, *says in (
        ("negative", torch.tensor([1.0, -1.0]), ValueError, "not negative"),
        ("NaN", torch.tensor([1.0, NAN]), ValueError, "NaN"),
        ("infinite", torch.tensor([1.0, INF]), ValueError, "infinity"),
        ("of another batch", torch.ones(3), ValueError, "(2,) of z_spec", "(3,)"),
        ("one number", torch.tensor(1.0), ValueError, "(2,) of z_spec", "()"),
        ("a list", [1.0, 1.0], TypeError, "torch.Tensor", "list"),
        ("complex", torch.ones(2) * 1j, TypeError, "real"),
    ):
        case(
            f"{name}: weights {fault}",
            lambda c=call, w=weights: c(Z, Z, weights=w), error, "weights", *says,
        )  # fmt: skip
for name in ("MAD", "SigmaIQR", "Bias", "OutlierRate", "RMS"):
    case(
        f"{name}: weights of replicas",
        lambda c=POINT[name]: c(Z, Z, weights=torch.ones(3, 2)),
        ValueError, "weights", "(2,)", "(3, 2)",
    )  # fmt: skip
    case(
        f"{name}: approximate",
        lambda n=name: getattr(metrics, n)(approximate=1),
        ValueError, "approximate", "at least 2",
    )  # fmt: skip
case(
    "outlier_rate: threshold another word",
    lambda: metrics.outlier_rate(Z, Z, threshold="rail"), ValueError, "'sigma_iqr'", "'rail'",
)  # fmt: skip
case(
    "mad: z_spec infinite",
    lambda: metrics.mad(Z, changed(Z, 0, INF)),
    ValueError, "z_spec", "finite", "drop",
)  # fmt: skip
for value in (0.0, -0.05, NAN):
    for name, call in (
        ("outlier_rate", lambda v: metrics.outlier_rate(Z, Z, threshold=v)),
        ("OutlierRate", lambda v: metrics.OutlierRate(threshold=v)),
    ):
        case(
            f"{name}: threshold {value}",
            lambda c=call, v=value: c(v), ValueError, "threshold", "positive",
        )  # fmt: skip
for name, call in (
    ("bias", lambda: metrics.bias(Z, Z, statistic="mode")),
    ("Bias", lambda: metrics.Bias(statistic="mode")),
):
    case(f"{name}: statistic", call, ValueError, "statistic", "'mean', 'median'", "'mode'")


# Densities: PIT, intervals, other bins, calibration -----------------------------------------------

PIT = torch.tensor([0.2, 0.7])
for name, call in (("histogram", metrics.pit_histogram), ("statistics", metrics.pit_statistics)):
    for fault, values, error, *says in (
        ("above 1", changed(PIT, 0, 1.5), ValueError, "[0, 1]", "1.5", "metrics.pit"),
        ("negative", changed(PIT, 0, -0.1), ValueError, "[0, 1]", "-0.1", "metrics.pit"),
        ("integer", torch.tensor([0, 1]), TypeError, "int64"),
        ("NumPy", PIT.numpy(), TypeError, "torch.as_tensor"),
    ):
        case(
            f"pit_{name}: {fault}", lambda c=call, v=values: c(v), error, "pit_values", *says
        )  # fmt: skip
    case(
        f"pit_{name}: one bin", lambda c=call: c(PIT, n_bins=1),
        ValueError, "n_bins", "at least 2", "1",
    )  # fmt: skip
case(
    "pit_histogram: NaN",
    lambda: metrics.pit_histogram(changed(PIT, 0, NAN)),
    ValueError, "pit_values", "NaN", "drop",
)  # fmt: skip
case(
    "PIT: approximate",
    lambda: metrics.PIT(BINS, approximate=100),
    TypeError, "approximate", "PIT", "leave it out", "PITStatistics",
)  # fmt: skip
case(
    "PITStatistics: approximate",
    lambda: metrics.PITStatistics(BINS, approximate=1),
    ValueError, "approximate", "at least 2",
)  # fmt: skip
case(
    "PITStatistics: one bin",
    lambda: metrics.PITStatistics(BINS, n_bins=1),
    ValueError, "n_bins", "at least 2",
)  # fmt: skip
for name, call in (
    ("coverage", lambda **options: metrics.coverage(PROBS, Z, BINS, **options)),
    ("Coverage", lambda **options: metrics.Coverage(BINS, **options)),
):
    for level in (68.0, -0.1, NAN, [0.5, 1.5]):
        case(
            f"{name}: level {level}",
            lambda c=call, x=level: c(level=x), ValueError, "level", "[0, 1]", "fractions",
        )  # fmt: skip
    case(
        f"{name}: interval",
        lambda c=call: c(interval="hpd"),
        ValueError, "interval", "'central', 'highest_density'", "'hpd'",
    )  # fmt: skip
for value in (0.0, 1.0, -0.1, NAN):
    case(
        f"bins.best: threshold {value}",
        lambda v=value: BINS.best(PROBS, v),
        ValueError, "threshold", "between 0 and 1", str(value),
    )  # fmt: skip
case(
    "bins.best: an edge at -1",
    lambda: RedshiftBins([-1.0, 0.0, 1.0]).best(PROBS[:, :2].softmax(-1)),
    ValueError, "above -1", "-1",
)  # fmt: skip
case(
    "rebin: outside",
    lambda: rebin(PROBS, BINS, RedshiftBins.uniform(0.0, 0.3, 3)),
    ValueError, "probs", "new_bins, [0, 0.3]", "outside='renormalize'",
)  # fmt: skip
case(
    "rebin: option",
    lambda: rebin(PROBS, BINS, BINS, outside="drop"),
    ValueError, "outside", "'raise', 'renormalize'", "'drop'",
)  # fmt: skip
SURE = torch.tensor([[0.0, 9.0, 0.0, 0.0]] * 30)
for name, calibration in (("Temperature", TemperatureScaling), ("PIT", PITRecalibration)):
    case(
        f"{name}: not fitted",
        lambda c=calibration: c(BINS)(LOGITS), RuntimeError, "not fitted", ".fit(logits, z_spec)",
    )  # fmt: skip
    case(
        f"{name}: no galaxies",
        lambda c=calibration: c(BINS).fit(LOGITS[:0], Z[:0]), ValueError, "z_spec", "at least one",
    )  # fmt: skip
    case(
        f"{name}: NaN",
        lambda c=calibration: c(BINS).fit(LOGITS * NAN, Z), ValueError, "logits", "NaN", "drop",
    )  # fmt: skip
for fault, z in (("always right", 0.15), ("always wrong", 0.35)):
    case(
        f"Temperature: {fault}",
        lambda z=z: TemperatureScaling(BINS).fit(SURE, torch.full((30,), z)),
        ValueError, "z_spec", "no temperature between 1e-3 and 1e3",
    )  # fmt: skip
case(
    "Temperature: truth where no density is",
    lambda: TemperatureScaling(BINS).fit(changed(SURE, (0, 0), -INF), torch.full((30,), 0.05)),
    ValueError, "logits", "finite in the bin of z_spec",
)  # fmt: skip
case(
    "PIT: fewer galaxies than segments",
    lambda: PITRecalibration(BINS).fit(LOGITS, Z),
    ValueError, "z_spec", "n_segments, 20", "2",
)  # fmt: skip
for options, *says in (
    ({"n_segments": 1}, "n_segments", "at least 2", "1"),
    ({"prior": 0.0}, "prior", "positive", "0.0"),
    ({"prior": NAN}, "prior", "positive", "nan"),
):
    name = " ".join(f"{key} {value}" for key, value in options.items())
    case(f"PIT: {name}", lambda o=options: PITRecalibration(BINS, **o), ValueError, *says)


# The table is read --------------------------------------------------------------------------------


@pytest.mark.parametrize(("call", "error", "says"), CASES)
def test_bad_input_is_refused_by_name(call, error, says):
    with pytest.raises(error) as caught:
        call()
    assert type(caught.value) is error
    assert re.search(".*".join(map(re.escape, says)), str(caught.value), re.DOTALL), caught.value


def test_the_table_is_long_and_no_case_comes_twice():
    names = [parameters.id for parameters in CASES]
    assert len(set(names)) == len(names) >= 70
