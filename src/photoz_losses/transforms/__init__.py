"""Views of image batches: batched Modules on (N, bands, H, W), on the batch's own device."""

from photoz_losses.transforms.background import ResampleBackground, resample_background
from photoz_losses.transforms.dihedral import RandomDihedral, dihedral
from photoz_losses.transforms.rotation import RandomRotation, rotate
from photoz_losses.transforms.sources import SourceMask, source_mask
from photoz_losses.transforms.tangent import tangent_image

__all__ = [
    "RandomDihedral",
    "RandomRotation",
    "ResampleBackground",
    "SourceMask",
    "dihedral",
    "resample_background",
    "rotate",
    "source_mask",
    "tangent_image",
]
