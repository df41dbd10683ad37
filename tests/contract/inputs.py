"""One small batch that every entry of the table takes its inputs from, and what they stand on."""

import torch
from torch import Tensor

from photoz_losses import RedshiftBins
from photoz_losses.photometry import FilterSet, SyntheticPhotometry

EDGES = (0.0, 0.05, 0.1, 0.25, 0.3, 0.4)
MIN_SNR = 5.0  # leaves out some of the bands of `batch`
FILTERS = FilterSet(["t", "u"], [[4800, 5200, 5600], [5500, 5900, 6400]], [[0, 1, 0]] * 2)
PIXELS = 48
WAVELENGTH = torch.linspace(3800, 8000, PIXELS, dtype=torch.float64)
NETWORK = ("logits", "other", "derivative", "probs", "images")  # may come in half precision
EXACT = ("z_spec", "by", "nu", "ivar", "element", "angle")  # keep their type, whatever the batch's


def grid() -> RedshiftBins:
    return RedshiftBins(EDGES)


def coarse() -> RedshiftBins:
    return RedshiftBins([0.0, 0.2, 0.4])


def photometry() -> SyntheticPhotometry:
    return SyntheticPhotometry(FILTERS, WAVELENGTH)


STANDS_ON = {"bins": grid, "new_bins": coarse, "photometry": photometry}  # by keyword of a function


def batch(galaxies: int = 4, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    """Fixed arguments by name, from one seed; `dtype` is that of all but redshifts and angles."""
    generator = torch.Generator().manual_seed(5)

    def draw(*shape: int) -> Tensor:
        return torch.randn(galaxies, *shape, generator=generator, dtype=torch.float64)

    values = {
        "logits": draw(5),
        "other": draw(5),
        "residual": draw(5, 2),
        "weight": (draw(2) > 0).double(),
        "spectrum": 2 + draw(PIXELS).tanh(),
    }
    z = 0.02 + 0.36 * torch.rand(galaxies, generator=generator, dtype=torch.float64)
    values |= {"variance": draw(2).exp(), "ivar": (3 * draw(1) + draw(PIXELS).tanh()).exp()}
    values |= {"derivative": draw(5), "probs": values["logits"].softmax(-1)}
    values |= {"z_phot": z + 0.05 * draw(), "pit_values": draw().sigmoid(), "z_spec": z}
    values |= {"by": draw().sigmoid(), "nu": 1 + 0.1 * draw(5).sigmoid(), "images": draw(3, 8, 8)}
    values = {name: x if name in EXACT else x.to(dtype) for name, x in values.items()}
    values["weights"] = torch.linspace(1, 2, galaxies, dtype=torch.float64)  # of galaxies
    values["rows"] = torch.arange(galaxies).flip(0)
    values["element"] = torch.arange(galaxies) % 8
    values["angle"] = torch.linspace(0.0, 3.0, galaxies)
    return values
