"""
What the flux term sees
=======================

The relative change of each band's flux when a galaxy's spectrum is put at the redshift of every
bin. Here the five templates that kcorrect fits to galaxies, observed at a redshift of 0.1: where
a spectrum has no features, the residual hardly moves, and a network learns nothing from it.
"""

import torch
from matplotlib import pyplot

from photoz_losses import RedshiftBins, flux_residual
from photoz_losses.photometry import FilterSet, SyntheticPhotometry, Templates

bins = RedshiftBins.uniform(0.0, 0.4, 180)
wavelength = 10 ** torch.arange(3.32, 4.2, 2e-4, dtype=torch.float64)  # Å, observed
z_spec = torch.full((5,), 0.1, dtype=torch.float64)
spectra = Templates.from_kcorrect().spectrum(torch.eye(5).double(), wavelength, z_spec)

# %%
# One call gives all galaxies, bins and bands. The band weight says which bands may be used.

photometry = SyntheticPhotometry(FilterSet.from_speclite("sdss2010-*"), wavelength)
residual, band_weight = flux_residual(photometry, spectra, z_spec, bins)
print(residual.shape, band_weight.shape)

figure, axes = pyplot.subplots(2, 3, figsize=(7.5, 5), sharey=True, layout="constrained")
*panels, last = axes.flat
for ax, name, band in zip(panels, "ugriz", residual.unbind(-1), strict=True):
    lines = ax.plot(bins.centers, band.T)
    ax.axvline(0.1, color="0.7", lw=0.8)
    ax.set(title=f"${name}$", ylim=(-1, 1.5))
figure.supxlabel("redshift of the bin")
figure.supylabel("residual of the flux")
last.axis("off")
last.legend(lines, [f"template {k}" for k in range(1, 6)], frameon=False, loc="center")
pyplot.show()
