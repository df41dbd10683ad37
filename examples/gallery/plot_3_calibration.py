"""
PIT before and after calibration
================================

Both calibrations are fitted to validation galaxies and drawn for others. A temperature makes all
densities wider or narrower, and so cannot straighten a slope; here the PIT gets no more uniform by
it, and the CRPS slightly worse. The recalibration by the PIT straightens most of it: above a PIT of
0.8 the curve still leaves the band that holds 95 % of perfect densities.

It imports ``predictions.py`` of ``examples``, so the download does not run alone. In a checkout:
``PYTHONPATH=examples python examples/gallery/plot_3_calibration.py``.
"""

from matplotlib import pyplot
from predictions import predict

from photoz_losses.calibration import PITRecalibration, TemperatureScaling
from photoz_losses.metrics import crps, pit
from photoz_losses.plots import plot_pit, plot_pp

bins, validation, held_out = predict()
calibrations = {
    "as trained": None,
    "temperature scaling": TemperatureScaling(bins),
    "PIT recalibration": PITRecalibration(bins),
}

figure, axes = pyplot.subplots(2, 3, figsize=(10, 6), layout="constrained")
for (name, calibration), (upper, lower) in zip(calibrations.items(), axes.T, strict=True):
    logits = held_out.logits
    if calibration is not None:
        logits = calibration.fit(validation.logits, validation.galaxies.z_spec)(logits)
    probs, z_spec = logits.softmax(-1), held_out.galaxies.z_spec
    values = pit(probs, z_spec, bins)
    plot_pit(values, ax=upper).set_title(name)
    plot_pp(values, ax=lower)
    print(f"{name:<20} CRPS {crps(probs, z_spec, bins):.5f}")
pyplot.show()
