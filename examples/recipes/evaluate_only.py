"""torchmetrics alone: from a file of predictions, whatever made them, to a table of metrics.

python evaluate_only.py predictions.npz
"""

import sys
from pathlib import Path

import numpy as np
from torchmetrics import MetricCollection

from photoz_losses.io import load_predictions
from photoz_losses.metrics import (
    CRPS,
    MAD,
    Bias,
    CDELoss,
    Coverage,
    OutlierRate,
    PITStatistics,
    mad,
    standard_error,
)

BATCH = 512


def predictions() -> Path:
    """A file of made-up Gaussian densities: put the name of yours on the command line."""
    rng, edges = np.random.default_rng(0), np.linspace(0.0, 0.4, 181)
    z_spec = rng.uniform(0.05, 0.35, 2000)
    peak = rng.normal(z_spec, 0.02)[:, None]
    probs = np.exp(-(((edges[1:] + edges[:-1]) / 2 - peak) ** 2) / (2 * 0.02**2))
    np.savez("predictions.npz", probs=probs / probs.sum(-1)[:, None], edges=edges, z_spec=z_spec)
    return Path("predictions.npz")


found = load_predictions(sys.argv[1] if len(sys.argv) > 1 else predictions())
bins = found.bins
assert found.z_spec is not None, "the file has no true redshifts"
metrics = MetricCollection(
    {
        "MAD": MAD(),
        "bias": Bias(),
        "outliers": OutlierRate(0.15),
        "CRPS": CRPS(bins),
        "CDE loss": CDELoss(bins),
        "coverage of 68 % intervals": Coverage(bins, level=0.68),
        "PIT": PITStatistics(bins),  # a row for each of its statistics
    }
)
for probs, z_spec in zip(found.probs.split(BATCH), found.z_spec.split(BATCH), strict=True):
    metrics.update(probs=probs, z_spec=z_spec, z_phot=bins.median(probs))
table = {name: value.item() for name, value in metrics.compute().items()}
for name, value in table.items():
    print(f"{name:<28}{value:10.4f}")
value, error = standard_error(mad, bins.median(found.probs), found.z_spec)
print(f"MAD, bootstrapped           {value:10.4f} +- {error:.4f}")
