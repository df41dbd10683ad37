"""The paper's network, a ResNet50 on five bands with E(B-V) joined before the last layer, and a
small residual network of the same build for what these machines can train many times."""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import resnet50


class AsinhStretch(nn.Module):
    """asinh(pixel / scale): linear in the sky's noise, logarithmic in a galaxy's light.

    ``scale``: where the one turns into the other, in each band, in the unit of the pixels.
    """

    scale: Tensor

    def __init__(self, scale: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("scale", torch.tensor(scale, dtype=torch.float32).view(-1, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        return torch.asinh(image / self.scale)


class PhotozResNet50(nn.Module):
    """ResNet50 from raw pixels and E(B-V) to logits (the paper's appendix B.4).

    The image is binned, stretched (`AsinhStretch`) and read by torchvision's ResNet50 with a
    1024-wide last layer; E(B-V) joins it, and the logits come from these 1025 numbers. Transforms
    of the pixels (rotation, another background) belong before it.

    Parameters
    ----------
    n_bins : int
        Number of redshift bins.
    sky_noise : sequence of float
        Standard deviation of the sky in each band of the unbinned image, one for each channel.
    stem : {"torchvision", "paper"}
        First layer. ``"paper"``, after Hayat et al. 2021: stride 1 and no max-pool, so that
        every layer has 16 times the pixels.
    bin_factor : int
        Sums blocks of ``bin_factor`` x ``bin_factor`` pixels first, which keeps the flux.
    zero_init : bool
        Start every residual block as the identity and the logits at zero: a short run gets
        twice as far. False: all weights He-normal, as in the paper.
    """

    softening = 10.0  # the stretch's scale over the noise: less of it drowns the colours in noise

    def __init__(
        self,
        n_bins: int,
        sky_noise: Sequence[float],
        *,
        stem: str = "torchvision",
        bin_factor: int = 1,
        zero_init: bool = True,
    ) -> None:
        super().__init__()
        if stem not in ("torchvision", "paper"):
            raise ValueError(f'stem must be "torchvision" or "paper", got {stem!r}')
        self.bands, self.bin_factor = len(sky_noise), bin_factor
        self.stretch = AsinhStretch([self.softening * bin_factor * noise for noise in sky_noise])
        self.body = resnet50(weights=None, zero_init_residual=zero_init)
        stride = 1 if stem == "paper" else 2
        self.body.conv1 = nn.Conv2d(self.bands, 64, 7, stride=stride, padding=3, bias=False)
        if stem == "paper":
            self.body.maxpool = nn.Identity()
        self.body.fc = nn.Linear(2048, 1024)
        self.head = nn.Linear(1025, n_bins)
        for layer in (self.body.conv1, self.body.fc, self.head):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        for layer in (self.body.fc, self.head):
            nn.init.zeros_(layer.bias)
        if zero_init:
            nn.init.zeros_(self.head.weight)

    def forward(self, image: Tensor, ebv: Tensor) -> Tensor:
        """Logits [N, n_bins] from ``image`` [N, bands, H, W] and ``ebv`` [N]."""
        if image.ndim != 4 or image.shape[1] != self.bands:
            raise ValueError(f"image must be [N, {self.bands}, H, W], got {list(image.shape)}")
        if any(side % self.bin_factor for side in image.shape[2:]):
            raise ValueError(
                f"image's sides must be multiples of bin_factor={self.bin_factor}, "
                f"got {list(image.shape)}: crop it or choose another bin_factor"
            )
        if ebv.shape != image.shape[:1]:
            raise ValueError(f"ebv must be [N] = [{len(image)}], got {list(ebv.shape)}")
        pixels = F.avg_pool2d(image, self.bin_factor, divisor_override=1)
        features = F.leaky_relu(self.body(self.stretch(pixels)))
        logits: Tensor = self.head(torch.cat([features, ebv[:, None]], dim=1))
        return logits


class Residual(nn.Module):
    """Two convolutions around a shortcut, which halves the image where ``stride`` is 2."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, width, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
        )
        # With a stride of its own, oneDNN would overrun its memory (layouts.py).
        self.stride, self.shortcut = stride, nn.Conv2d(channels, width, 1, bias=False)

    def forward(self, pixels: Tensor) -> Tensor:
        seen = pixels[..., :: self.stride, :: self.stride]
        return F.relu(self.body(pixels) + self.shortcut(seen))


class SmallPhotozResNet(nn.Module):
    """Three residual blocks from raw pixels and E(B-V) to logits: milliseconds an image.

    Input and output as those of `PhotozResNet50`, binned and stretched alike.

    Parameters
    ----------
    n_bins, sky_noise, bin_factor
        As in `PhotozResNet50`.
    widths : sequence of int
        Channels of each block; every one halves the image.
    """

    def __init__(
        self,
        n_bins: int,
        sky_noise: Sequence[float],
        *,
        bin_factor: int = 2,
        widths: Sequence[int] = (24, 48, 96),
    ) -> None:
        super().__init__()
        scale = [PhotozResNet50.softening * bin_factor * noise for noise in sky_noise]
        self.bin_factor, self.stretch = bin_factor, AsinhStretch(scale)
        channels = [len(sky_noise), *widths]
        pairs = pairwise(channels)
        self.body = nn.Sequential(*(Residual(a, b, stride=2) for a, b in pairs))
        self.hidden = nn.Linear(widths[-1] + 1, 2 * widths[-1])
        self.head = nn.Linear(2 * widths[-1], n_bins)
        nn.init.zeros_(self.head.weight)

    def forward(self, image: Tensor, ebv: Tensor) -> Tensor:
        """Logits [N, n_bins] from ``image`` [N, bands, H, W] and ``ebv`` [N]."""
        pixels = F.avg_pool2d(image, self.bin_factor, divisor_override=1)
        features = self.body(self.stretch(pixels)).mean((-2, -1))
        hidden = F.relu(self.hidden(torch.cat([features, ebv[:, None]], dim=1)))
        logits: Tensor = self.head(hidden)
        return logits
