"""
N(z) of a sample
================

The mean of all densities against the histogram of the true redshifts, for all held-out galaxies
and for the red ones. The stack is no deconvolution: it is as wide as the densities are.

It imports ``predictions.py`` of ``examples``, so the download does not run alone. In a checkout:
``PYTHONPATH=examples python examples/gallery/plot_7_stacked.py``.
"""

from matplotlib import pyplot
from predictions import predict

from photoz_losses.plots import plot_nz

bins, _, (logits, galaxies) = predict()
colour = 2.5 * (galaxies.flux[:, 2] / galaxies.flux[:, 1]).log10()
samples = {"all": colour > -9, "g − r above 0.9": colour > 0.9}

figure, axes = pyplot.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
for ax, (title, chosen) in zip(axes, samples.items(), strict=True):
    plot_nz(logits[chosen].softmax(-1), galaxies.z_spec[chosen], bins, ax=ax)
    ax.set_title(f"{title}: {int(chosen.sum())} galaxies")
pyplot.show()
