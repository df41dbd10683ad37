"""
Predicted against true redshift
===============================

Every galaxy counts in a hexagon, outliers beyond the dashed lines are drawn as points, and some
galaxies, of either kind, have their central 68 % interval.

It imports ``predictions.py`` of ``examples``, so the download does not run alone. In a checkout:
``PYTHONPATH=examples python examples/gallery/plot_4_redshifts.py``.
"""

from matplotlib import pyplot
from predictions import predict

from photoz_losses.metrics import bias, mad, outlier_rate
from photoz_losses.plots import plot_redshifts

bins, _, (logits, galaxies) = predict()
probs = logits.softmax(-1)
z_phot, low, high = bins.median(probs), bins.quantile(probs, 0.16), bins.quantile(probs, 0.84)

print(f"MAD       {mad(z_phot, galaxies.z_spec):.4f}")
print(f"bias     {bias(z_phot, galaxies.z_spec):+.4f}")
print(f"outliers  {outlier_rate(z_phot, galaxies.z_spec, threshold=0.05):.2%}")

figure, ax = pyplot.subplots(figsize=(6, 6), layout="constrained")
plot_redshifts(z_phot, galaxies.z_spec, threshold=0.05, low=low, high=high, ax=ax)
pyplot.show()
