"""
One reading of the bins
=======================

A density on bins of unequal width, its CDF, and the PIT of the true redshift. The masses are the
areas of the columns; the CDF is straight within each bin, and what it says at the true redshift is
the PIT.
"""

import torch
from matplotlib import pyplot

from photoz_losses import RedshiftBins
from photoz_losses.metrics import pit

bins = RedshiftBins([0.0, 0.04, 0.07, 0.10, 0.15, 0.25])
logits = torch.tensor([[0.1, 0.9, 1.4, 1.0, 0.2]], dtype=torch.float64)
z_spec = torch.tensor([0.12], dtype=torch.float64)
probs = logits.softmax(-1)

# %%
# Every score, estimate and picture asks the same object.

value = pit(probs, z_spec, bins).item()
z = torch.linspace(0, 0.25, 251, dtype=torch.float64)

figure, (density, cdf) = pyplot.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
density.stairs(bins.density(probs)[0], bins.edges, fill=True, alpha=0.3)
for name, estimate in (("mean", bins.mean), ("median", bins.median), ("mode", bins.mode)):
    density.axvline(
        estimate(probs).item(), color="0.3", ls={"mean": "--", "mode": ":"}.get(name, "-")
    )
density.axvline(z_spec.item(), color="tab:red")
density.set(xlabel="redshift", ylabel="density", title="dashed mean, solid median, dotted mode")
cdf.plot(z, bins.cdf(probs.expand(len(z), -1), z))
cdf.plot([z_spec.item()] * 2 + [0], [0, value, value], color="tab:red")
cdf.set(xlabel="redshift", ylabel="CDF", title=f"PIT of the true redshift: {value:.3f}")
pyplot.show()
