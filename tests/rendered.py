"""Galaxies rendered at any angle: nothing is resampled."""

import numpy as np


def profile(phi, fwhm=3.5, ratio=0.6, centre=(0.0, 0.0), side=64):
    """Gaussian galaxy, minor axis `fwhm` wide, turned by `phi` counterclockwise, row 0 on top."""
    row, column = np.mgrid[:side, :side] - (side - 1) / 2
    x = np.cos(phi) * column - np.sin(phi) * row
    y = np.sin(phi) * column + np.cos(phi) * row
    along = (x - centre[0]) * np.cos(0.3) + (y - centre[1]) * np.sin(0.3)
    across = -(x - centre[0]) * np.sin(0.3) + (y - centre[1]) * np.cos(0.3)
    sigma = fwhm / np.sqrt(8 * np.log(2))
    return np.exp(-0.5 * ((along * ratio / sigma) ** 2 + (across / sigma) ** 2))
