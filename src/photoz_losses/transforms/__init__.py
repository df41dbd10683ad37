"""Views of image batches: batched Modules on (N, bands, H, W), on the batch's own device."""

from photoz_losses.transforms.background import ResampleBackground, resample_background
from photoz_losses.transforms.dihedral import RandomDihedral, dihedral

__all__ = ["RandomDihedral", "ResampleBackground", "dihedral", "resample_background"]
