"""Bad input: options and inputs of single losses."""

import torch
from errors.table import BINS, INF, LOGITS, NAN, PROBS, RESIDUAL, WEIGHT, Cases, Z, changed, used_up

from photoz_losses import (
    FluxLoss,
    InvarianceLoss,
    L2Penalty,
    RedshiftBins,
    RedshiftCrossEntropy,
    RotationDerivativeLoss,
    cde_loss,
    cross_entropy,
    crps_loss,
    flux_loss,
    invariance_loss,
    l2_penalty,
    rotation_derivative_loss,
)

case = Cases()

for value in (-0.1, 1.0, NAN, INF):
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


case(
    "l2_penalty: generator used up", lambda: l2_penalty(used_up()), ValueError, "parameters", "anew"
)
case(
    "l2_penalty: a sum that overflows",
    lambda: l2_penalty([torch.ones(2), torch.full((3,), -1e20)]),
    ValueError, "parameters must give a loss that torch.float32 holds", "-1e+20 to 1", "scale",
)  # fmt: skip
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
for name, call in (("flux_loss", flux_loss), ("FluxLoss", FluxLoss(BINS))):
    case(
        f"{name}: residual beyond float32",
        lambda c=call: c(LOGITS, changed(RESIDUAL.double(), (0, 1, 2), 1e39)),
        ValueError, "residual", "torch.float32, the type of the logits", "0 to 1e+39", "logits.to",
    )  # fmt: skip
case(
    "FluxLoss: residual what a table gives",
    lambda: FluxLoss(BINS)(LOGITS, (RESIDUAL, WEIGHT)),
    TypeError, "residual", "tuple of tensors", "unpack it",
)  # fmt: skip
for name, call in (
    ("flux_loss", lambda w: flux_loss(LOGITS, RESIDUAL, w)),
    ("FluxLoss", lambda w: FluxLoss(BINS)(LOGITS, RESIDUAL, w)),
):
    for fault, weight, error, *says in (
        ("infinite", changed(WEIGHT, (0, 1), INF), ValueError, "negative, NaN", "infinite, got"),
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
        ("below float32", 1e-100 * WEIGHT.double(), ValueError, "positive in float32", "1e-100"),
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
    ValueError, "logits_transformed", "(2, 4)", "rows=", "(1, 4)",
)  # fmt: skip
case(
    "invariance_loss: what a Hugging Face model gives",
    lambda: invariance_loss({"logits": LOGITS}, LOGITS),
    TypeError, "logits", "dict: take its entry 'logits'",
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
    for value in (0.0, -1.0, NAN, INF, 1e-300, 1e300):
        case(
            f"{name}: temperature {value}",
            lambda c=call, t=value: c(t), ValueError, "temperature",
            "between 1e-06 and 1e+06", str(value),
        )  # fmt: skip
ENDS = torch.tensor([[3e38, -3e38, -3e38, -3e38]]).expand(2, -1)
HUGE = torch.full_like(RESIDUAL, 2e38)
UNKNOWN = changed(RESIDUAL, (1, 0, 0), NAN)  # one galaxy's NaN hides no other's overflow
APART = LOGITS - torch.tensor([0.0, 1e20, 0.0, 1e20])
FAR = LOGITS * 1e30
for fault, call, *says in (
    ("invariance_loss: logits", lambda: invariance_loss(LOGITS, APART, space="logits"), "transf"),
    (
        "InvarianceLoss: logits",
        lambda: InvarianceLoss(space="logits")(LOGITS, APART), "logits_transformed", "-1e+20",
    ),
    (
        "invariance_loss: logits over a low temperature",
        lambda: invariance_loss(1e34 * LOGITS, LOGITS, temperature=1e-6), "logits", "2e+34",
    ),
    ("cross_entropy: logits", lambda: cross_entropy(ENDS, Z, BINS), "logits", "-3e+38 to 3e+38"),
    (
        "RedshiftCrossEntropy: sum of losses",
        lambda: RedshiftCrossEntropy(BINS, reduction="sum")(ENDS / 2, Z.max().expand(2)), "1.5e+38",
    ),
    (
        "cross_entropy: label_smoothing's logits",
        lambda: cross_entropy(ENDS, Z, BINS, label_smoothing=0.1), "logits", "-3e+38 to 3e+38",
    ),
    (
        "cde_loss: bins of almost no width",
        lambda: cde_loss(ENDS, 3e-38 * Z.double(), RedshiftBins(3e-38 * BINS.edges)),
        "logits",
    ),
    (
        "crps_loss: bins without end",
        lambda: crps_loss(
            ENDS.flip(-1), 8e38 * Z.double().min().expand(2), RedshiftBins(8e38 * BINS.edges),
            reduction="sum",
        ),
        "logits",
    ),
    ("flux_loss: residual", lambda: flux_loss(LOGITS, HUGE), "logits and residual", "2e+38"),
    (
        "flux_loss: residual of one galaxy beside one of NaN",
        lambda: flux_loss(LOGITS, changed(UNKNOWN, (0, slice(None)), 3e38)), "0 to 3e+38",
    ),
    (
        "flux_loss: residual over a small variance",
        lambda: flux_loss(LOGITS, 1e-18 * HUGE, variance=1e-44 * WEIGHT),
        "residual, over the root of variance, must", "2e+20",
    ),
    (
        "FluxLoss: sum of residuals",
        lambda: FluxLoss(BINS, reduction="sum")(LOGITS, HUGE, WEIGHT), "residual", "2e+38",
    ),
    ("rotation_derivative_loss: l2", lambda: rotation_derivative_loss(LOGITS, FAR), "derivative"),
    (
        "rotation_derivative_loss: logits",
        lambda: rotation_derivative_loss(LOGITS, FAR, space="logits"), "-3e+30 to 2e+30",
    ),
    (
        "rotation_derivative_loss: symmetric_kl",
        lambda: rotation_derivative_loss(LOGITS, FAR, distance="symmetric_kl"), "derivative",
    ),
    (
        "RotationDerivativeLoss: cramer",
        lambda: RotationDerivativeLoss("cramer", bins=BINS)(LOGITS, FAR), "derivative",
    ),
):  # fmt: skip
    case(f"{fault} overflow", call, ValueError, *says, "scale them down", "float64")
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
