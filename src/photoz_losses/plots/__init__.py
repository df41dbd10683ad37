"""Pictures of photometric redshifts (extra ``plots``: matplotlib); each draws on one Axes."""

from photoz_losses.plots.densities import plot_densities
from photoz_losses.plots.pit import plot_pit
from photoz_losses.plots.redshifts import plot_redshifts

__all__ = ["plot_densities", "plot_pit", "plot_redshifts"]
