"""Bad input: point metrics."""

from functools import partial

import torch
from errors.table import BINS, INF, NAN, Cases, Z, changed

from photoz_losses import RedshiftBins, metrics

case = Cases()

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
        ("sparse", torch.ones(2).to_sparse(), TypeError, "dense", "weights.to_dense()"),
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
for value in (0.0, -0.05, NAN, INF, 1.0, 5, 15.0):
    for name, call in (
        ("outlier_rate", lambda v: metrics.outlier_rate(Z, Z, threshold=v)),
        ("OutlierRate", lambda v: metrics.OutlierRate(threshold=v)),
    ):
        case(
            f"{name}: threshold {value}",
            lambda c=call, v=value: c(v),
            ValueError, "threshold", "between 0 and 1", str(value), "fractions",
        )  # fmt: skip
for name, call in (
    ("bias", lambda: metrics.bias(Z, Z, statistic="mode")),
    ("Bias", lambda: metrics.Bias(statistic="mode")),
):
    case(f"{name}: statistic", call, ValueError, "statistic", "'mean', 'median'", "'mode'")
for name in ("MAD", "Bias", "OutlierRate"):
    case(
        f"{name}: bins",
        lambda n=name: getattr(metrics, n)(BINS),
        TypeError, "must be an option", "RedshiftBins", "take no bins",
    )  # fmt: skip
for name, call in (
    ("mad", lambda v: metrics.mad(Z, Z, centered=v)),
    ("MAD", lambda v: metrics.MAD(centered=v)),
    ("MAD by place", metrics.MAD),
):
    for value in (0.05, 1, "median"):
        case(
            f"{name}: centered {value}",
            lambda c=call, v=value: c(v), TypeError, "centered", "True or False", repr(value),
        )  # fmt: skip
for fault, metric, *says in (
    ("of a class", metrics.MAD(), "a function", "MAD", "such as mad", "not its class"),
    ("the class itself", metrics.MAD, "a function", "MAD", "such as mad", "not its class"),
    ("a collection", metrics.photo_z_metrics(BINS), "a function", "PhotoZMetrics", "not its class"),
    ("without a signature", max, "a signature", "max", "a function of your own"),
    ("a partial without one", partial(max), "a signature", "of your own"),
):
    case(
        f"standard_error: metric {fault}",
        lambda m=metric: metrics.standard_error(m, Z, Z), TypeError, "metric", *says,
    )  # fmt: skip
    case(
        f"binned: metric {fault}",
        lambda m=metric: metrics.binned(m, Z, Z, by=Z, edges=[0.0, 1.0]),
        TypeError, "metric", *says,
    )  # fmt: skip
OF_POINTS = ["MAD", "SigmaIQR", "Bias", "OutlierRate", "RMS"]
OF_DENSITIES = [
    "CDELoss",
    "CRPS",
    "LogScore",
    "Brier",
    "Entropy",
    "PIT",
    "PITStatistics",
    "Coverage",
]
EVERY = {
    **{name: getattr(metrics, name)() for name in OF_POINTS},
    **{name: getattr(metrics, name)(BINS) for name in OF_DENSITIES},
    "Binned": metrics.Binned(metrics.MAD(), [0.0, 1.0]),
}
for name, metric in EVERY.items():
    case(
        f"metrics.{name}.merge_state: of a collection",
        lambda m=metric: m.merge_state(metrics.photo_z_metrics(BINS)),
        TypeError, "incoming_state", "must be a", name, "got PhotoZMetrics",
    )  # fmt: skip
for fault, one, other, *says in (
    ("other bins", metrics.PIT(BINS), metrics.PIT(RedshiftBins.uniform(0.0, 0.3, 4)), "same bins"),
    ("a histogram", metrics.MAD(), metrics.MAD(approximate=10), "same", "residual_counts"),
    ("states by other names", metrics.RMS(), {"residuals": []}, "options", "residuals"),
):
    case(
        f"metrics.{type(one).__name__}.merge_state: {fault}",
        lambda one=one, other=other: one.merge_state(other),
        ValueError, "incoming_state", *says,
    )  # fmt: skip
case(
    "metrics.Binned.merge_state: other edges",
    lambda: EVERY["Binned"].merge_state(metrics.Binned(metrics.MAD(), [0.0, 2.0])),
    ValueError, "incoming_state", "same edges", "got others",
)  # fmt: skip
case(
    "Binned: metric the class itself",
    lambda: metrics.Binned(metrics.MAD, [0.0, 1.0]),
    TypeError, "torchmetrics.Metric", "got MAD", "make one, MAD(...)",
)  # fmt: skip
