"""Noise with the correlation between pixels that a sky has."""

import torch
from torch import Tensor

REACH = 4  # pixels, in each direction: beyond that no camera's or resampler's noise is correlated


def autocorrelation(residual: Tensor, sky: Tensor) -> Tensor:
    """Correlation of each image and band at lags up to `REACH`, from the pixels in `sky` alone.

    Parameters
    ----------
    residual : Tensor, shape (N, bands, H, W)
        Pixels less their mean, of any value outside `sky`.
    sky : Tensor of bool, of that shape
        Where the sky is measured: each lag has the mean over its pairs of such pixels.

    Returns
    -------
    Tensor, shape (N, bands, H + 2 REACH, W + 2 REACH)
        1 at lag 0, at the corner; negative lags at the far ends. 0 beyond `REACH`, and where no
        pair is left; all 0 but for lag 0 in a sky without noise.
    """
    height, width = (side + 2 * REACH for side in residual.shape[-2:])  # so that nothing wraps

    def pairs(values: Tensor) -> Tensor:
        power = torch.fft.rfft2(values, s=(height, width)).abs().square()
        summed: Tensor = torch.fft.irfft2(power, s=(height, width))
        return summed

    count = pairs(sky.to(residual.dtype)).round()
    mean = pairs(torch.where(sky, residual, 0.0)) / count.clamp(min=1)
    near = [_lags(side, residual.device) <= REACH for side in (height, width)]
    mean = torch.where(near[0][:, None] & near[1] & (count > 0), mean, 0.0)
    variance = mean[..., :1, :1]
    white = torch.zeros_like(mean)
    white[..., 0, 0] = 1.0
    return torch.where(variance > 0, mean / torch.where(variance > 0, variance, 1.0), white)


def _lags(side: int, device: torch.device) -> Tensor:
    """Distance from lag 0 on a circle of this many pixels."""
    place = torch.arange(side, device=device)
    return torch.minimum(place, side - place)


def correlate(white: Tensor, correlation: Tensor) -> Tensor:
    """White noise (N, bands, H + 2 REACH, W + 2 REACH) made into noise of that correlation.

    A measured correlation need not have a power spectrum: negative power is cut, and the rest
    scaled to unit variance. Shape (N, bands, H, W).
    """
    size = correlation.shape[-2:]
    power = torch.fft.fft2(correlation).real.clamp(min=0)
    power = power / power.mean((-2, -1), keepdim=True)  # above zero: its mean was 1 before the cut
    noise: Tensor = torch.fft.ifft2(torch.fft.fft2(white) * power.sqrt()).real
    return noise[..., : size[0] - 2 * REACH, : size[1] - 2 * REACH]
