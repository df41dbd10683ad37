"""
Coverage of the credible intervals
==================================

How often an interval of each level holds the true redshift, for central intervals and those of
highest density: below the diagonal they are too short, above it too long. One temperature moves
both kinds, and not by the same amount.

It imports ``predictions.py`` of ``examples``, so the download does not run alone. In a checkout:
``PYTHONPATH=examples python examples/gallery/plot_6_coverage.py``.
"""

import torch
from matplotlib import pyplot
from predictions import predict

from photoz_losses.calibration import TemperatureScaling
from photoz_losses.metrics import coverage
from photoz_losses.plots import plot_coverage

bins, validation, (logits, galaxies) = predict()
scaling = TemperatureScaling(bins).fit(validation.logits, validation.galaxies.z_spec)
levels = torch.linspace(0.05, 0.95, 19)

figure, axes = pyplot.subplots(1, 2, figsize=(9, 4.4), sharey=True, layout="constrained")
answers = {"as trained": logits, "temperature scaling": scaling(logits)}
for ax, (title, these) in zip(axes, answers.items(), strict=True):
    for interval, band in (("central", len(galaxies)), ("highest_density", None)):
        share = coverage(these.softmax(-1), galaxies.z_spec, bins, level=levels, interval=interval)
        plot_coverage(levels, share, galaxies=band, label=interval.replace("_", " "), ax=ax)
    ax.set_title(title)
pyplot.show()
