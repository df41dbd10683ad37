"""RAIL's estimates in, metrics and recalibrated densities out, as files of qp."""

import numpy as np
import qp
import torch

from photoz_losses import RedshiftBins
from photoz_losses.calibration import PITRecalibration
from photoz_losses.io import from_qp, to_qp
from photoz_losses.metrics import photo_z_metrics

GALAXIES, FIT = 2000, 1000


def estimate() -> str:
    """Stands for a RAIL estimator, one whose densities are too narrow: give your file's name."""
    rng, grid = np.random.default_rng(0), np.linspace(0.0, 3.0, 301)
    z_spec = rng.uniform(0.3, 2.5, GALAXIES)
    mode = rng.normal(z_spec, 0.06)[:, None]
    pdfs = np.exp(-0.5 * ((grid - mode) / 0.03) ** 2)
    ensemble = qp.Ensemble(qp.interp, data={"xvals": grid, "yvals": pdfs})
    ensemble.set_ancil({"zmode": mode, "id": np.arange(GALAXIES), "redshift": z_spec})
    ensemble.write_to("output_estimator.hdf5")
    return "output_estimator.hdf5"


ensemble = qp.read(estimate())
z_spec = torch.from_numpy(ensemble.ancil["redshift"])
bins = RedshiftBins.log1p(0.0, 3.0, 300)
probs = from_qp(ensemble, bins)

# Recalibrated by the PITs of one half of the galaxies, for the other.
recalibration = PITRecalibration(bins).fit(probs[:FIT].log(), z_spec[:FIT])
mended = recalibration(probs[FIT:].log()).softmax(-1)
table = {}
for name, densities in {"as they came": probs[FIT:], "recalibrated": mended}.items():
    metrics = photo_z_metrics(bins, "rail")
    metrics.update(probs=densities, z_spec=z_spec[FIT:])
    table[name] = metrics.compute()
    print(f"{name}\n{table[name]}\n")

out = to_qp(mended, bins)
ancil = {key: values[FIT:] for key, values in ensemble.ancil.items()}
out.set_ancil(ancil | {"zmode": bins.mode(mended).numpy()[:, None]})
out.write_to("recalibrated.hdf5")
