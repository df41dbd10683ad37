"""
A metric in bins of any column
==============================

The scatter against redshift and against magnitude, with bootstrapped standard errors. A bin of few
galaxies says so twice: in its error, and in the grey column behind it.

It imports ``predictions.py`` of ``examples``, so the download does not run alone. In a checkout:
``PYTHONPATH=examples python examples/gallery/plot_5_metric_in_bins.py``.
"""

import torch
from matplotlib import pyplot
from predictions import predict

from photoz_losses.metrics import binned, mad
from photoz_losses.plots import plot_binned

bins, _, (logits, galaxies) = predict()
z_phot = bins.mean(logits.softmax(-1))
columns = {
    "spectroscopic redshift": (galaxies.z_spec, torch.arange(0.0, 0.31, 0.05)),
    "r, magnitudes": (22.5 - 2.5 * galaxies.flux[:, 2].log10(), torch.arange(14.5, 18.1, 0.5)),
}

figure, axes = pyplot.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
for ax, (name, (column, edges)) in zip(axes, columns.items(), strict=True):
    seed = torch.Generator().manual_seed(0)
    rows = binned(mad, z_phot, galaxies.z_spec, by=column, edges=edges, n_boot=200, generator=seed)
    plot_binned(edges, rows.value, errors=rows.error, counts=rows.count, xlabel=name, ax=ax)
    ax.set_ylabel("MAD")
pyplot.show()
