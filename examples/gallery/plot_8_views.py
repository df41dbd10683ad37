"""
Views of an image
=================

What the invariance term asks a network not to see: flips and quarter turns, any angle, another sky.
The image is rendered (a bulge and a disc with SDSS's seeing and sky noise), the masks are found.

It imports ``rendering.py`` of ``examples``, so the download does not run alone. In a checkout:
``PYTHONPATH=examples python examples/gallery/plot_8_views.py``.
"""

import numpy as np
import torch
from matplotlib import pyplot
from rendering import SKY_NOISE, draw_galaxy

from photoz_losses.transforms import dihedral, resample_background, rotate, source_mask

rng = np.random.default_rng(5)
fluxes = np.array([12.0, 48.0, 95.0, 135.0, 170.0])  # nanomaggies in u g r i z
clean = draw_galaxy(fluxes, magnitude=-21.5, colour=0.6, arcsec_per_kpc=0.6, rng=rng)
noise = np.array(SKY_NOISE)[:, None, None] * rng.standard_normal(clean.shape)
image = torch.from_numpy((clean + noise).astype(np.float32))[None]

# %%
# The sky is drawn anew outside the mask of the central galaxy.

torch.manual_seed(0)
mask, sources = source_mask(image)
views = {
    "as observed": image,
    "flipped, quarter turn": dihedral(image, torch.tensor([5])),
    "turned by 30°": rotate(image, torch.tensor([np.pi / 6]), crop=44),
    "another sky": resample_background(image, mask=mask, sources=sources),
    "mask": mask[:, None].expand(-1, 5, -1, -1).float() / 20,
}

figure, axes = pyplot.subplots(1, 5, figsize=(12, 2.8), layout="constrained")
for ax, (name, view) in zip(axes, views.items(), strict=True):
    ax.imshow(torch.asinh(20 * view[0, 2]), cmap="gray", origin="lower")
    ax.set(title=name, xticks=[], yticks=[])
pyplot.show()
