"""The rival that counts: every spectrum resampled once to one rest-frame grid, then two products.

In the rest frame a bin's filter is the same for all galaxies, nu * wavelength = (1 + z_c) * rest,
so that numerator and denominator are matrix products with fixed weights. Float32, and exact but
for the resampling: neighbouring pixels are averaged, and the ends of what a spectrum covers move by
up to a pixel, which the denominators see too. On a grid even in log wavelength all pixels of a
galaxy lie at the same fraction between their new neighbours.
"""

import math

import torch
from direct_sum import SPEED_OF_LIGHT, Curves, divide, interpolate, trapezoid_weights
from torch import Tensor


class RestFrame(torch.nn.Module):
    """Flux in bands of spectra on `wavelength`, even in its logarithm, in bins at `centers`.

    `refined` is a stronger one than described above, for spectra without bad pixels: it multiplies
    each band by the rest-frame pixels that this band reaches in some bin only, and looks the
    denominators up, as differences of the weights' prefix sums.
    """

    pixel: Tensor
    above_0: Tensor
    below: Tensor

    def __init__(
        self,
        curves: Curves,
        wavelength: Tensor,
        centers: Tensor,
        z_max: float = 0.4,
        refined: bool = False,
    ) -> None:
        super().__init__()
        self.first, self.count = wavelength[0].log().item(), len(wavelength)
        self.step = wavelength.log().diff().mean().item()
        self.longest = math.ceil(math.log1p(z_max) / self.step)
        pixel = torch.arange(-self.longest, self.count, device=wavelength.device)
        rest = (self.first + self.step * pixel).exp()
        weight, stretch = trapezoid_weights(rest), 1 + centers.double()
        response = torch.stack(
            [interpolate(stretch[:, None] * rest, *curve) for curve in curves]
        ).mT  # [B, L, C]
        above = stretch.square() * (weight * rest)[:, None] * response
        below = (weight * SPEED_OF_LIGHT / rest)[:, None] * response
        self.bands, self.refined = len(curves), refined
        self.reach = [(0, len(rest))] * len(curves)
        if refined:
            reached = [band.sum(-1).nonzero().squeeze(-1) for band in response]
            self.reach = [(int(pixels[0]), int(pixels[-1]) + 1) for pixels in reached]
            parts = [band[low:high] for band, (low, high) in zip(above, self.reach, strict=True)]
            prefix = torch.nn.functional.pad(below.movedim(0, -1).cumsum(0), (0, 0, 0, 0, 1, 0))
            self.register_buffer("below", prefix.flatten(1))  # float64, as differences are taken
        else:
            parts = [above.movedim(0, -1).flatten(1)]
            self.register_buffer("below", below.movedim(0, -1).flatten(1).float())
        self.register_buffer("pixel", pixel)
        for number, part in enumerate(parts):
            self.register_buffer(f"above_{number}", part.float().contiguous())

    def forward(self, flux: Tensor, z_spec: Tensor) -> Tensor:
        """Flux in bands (N, C, B) of `flux` (N, L), float32, at `z_spec` (N,), float64."""
        shift = (z_spec.log1p() / self.step).unsqueeze(-1)
        whole = shift.floor()
        share, left = (shift - whole).float(), self.pixel + whole.long()
        seen = ((left >= 0) & (left + share <= self.count - 1)).float()
        left = left.clamp(0, self.count - 2)
        resampled = torch.lerp(flux.gather(-1, left), flux.gather(-1, left + 1), share) * seen
        if not self.refined:
            below = seen @ self.below
            bands: Tensor = divide(resampled @ self.above_0, below).unflatten(-1, (-1, self.bands))
            return bands
        first = (self.longest - whole.long()).squeeze(-1)
        last = first + seen.sum(-1).long()
        below = (self.below[last] - self.below[first]).float().unflatten(-1, (-1, self.bands))
        above = torch.stack(
            [
                resampled[:, low:high] @ getattr(self, f"above_{number}")
                for number, (low, high) in enumerate(self.reach)
            ],
            -1,
        )
        return divide(above, below)
