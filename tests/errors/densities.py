"""Bad input: PIT, intervals, other bins and calibration."""

import torch
from errors.table import BINS, INF, LOGITS, NAN, PROBS, Cases, Z, changed

from photoz_losses import RedshiftBins, metrics, rebin
from photoz_losses.calibration import PITRecalibration, TemperatureScaling

case = Cases()

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
for name, call in (("histogram", metrics.pit_histogram), ("statistics", metrics.pit_statistics)):
    case(
        f"pit_{name}: masses",
        lambda c=call: c(PROBS), ValueError, "pit_values", "(2, 4)", "probs", "pit(probs,",
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
for name, make in (
    ("pit", lambda **options: metrics.pit(PROBS, Z, BINS, **options)),
    ("PIT", lambda **options: metrics.PIT(BINS, **options)),
    ("PITStatistics", lambda **options: metrics.PITStatistics(BINS, **options)),
):
    for option, value, expected in (
        ("randomized", "yes", "True or False"),
        ("randomized", 1, "True or False"),
        ("generator", 0, "torch.Generator or None"),
    ):
        case(
            f"{name}: {option} {value}",
            lambda m=make, o=option, v=value: m(**{o: v}), TypeError, option, expected, repr(value),
        )  # fmt: skip
case(
    "photo_z_metrics: update by place",
    lambda: metrics.photo_z_metrics(BINS).update(PROBS, Z),
    TypeError, "keyword", "'probs'", "'z_spec'",
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
for fault, z, *says in (
    ("always right", 0.15, "no temperature above 1e-3", "every z_spec", "not seen"),
    ("always wrong", 0.35, "no temperature below 1e3", "flat", "Train the network", "rows"),
):
    case(
        f"Temperature: {fault}",
        lambda z=z: TemperatureScaling(BINS).fit(SURE, torch.full((30,), z)),
        ValueError, "logits", *says,
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
