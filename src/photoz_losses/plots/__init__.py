"""Pictures of photometric redshifts (extra ``plots``: matplotlib); each returns its Axes."""

from photoz_losses.plots.binned import plot_binned
from photoz_losses.plots.coverage import plot_coverage
from photoz_losses.plots.densities import plot_densities, plot_gallery
from photoz_losses.plots.pit import plot_pit, plot_pp
from photoz_losses.plots.redshifts import plot_redshifts
from photoz_losses.plots.samples import plot_nz

__all__ = [
    "plot_binned",
    "plot_coverage",
    "plot_densities",
    "plot_gallery",
    "plot_nz",
    "plot_pit",
    "plot_pp",
    "plot_redshifts",
]
