"""A few made-up galaxies on a short piece of SDSS's grid, and what looks into a table on disk."""

from pathlib import Path

import numpy as np
import torch
from photometry.spectroscopy import write_spectrum

from photoz_losses import RedshiftBins, flux_residual
from photoz_losses.photometry import FilterSet, Spectra, SyntheticPhotometry

GRID = 10 ** (torch.arange(35800, 36100, dtype=torch.float64) * 1e-4)  # 3802-4073 A
BINS = RedshiftBins.uniform(0.0, 0.05, 7)
FILTERS = FilterSet(
    ["blue", "red"], [[3800.0, 3850.0, 3950.0], [3900.0, 4000.0, 4050.0]], [[0.0, 1.0, 0.0]] * 2
)
PHOTOMETRY = SyntheticPhotometry(FILTERS, GRID)
COUNT = 10


def galaxies(count: int = COUNT, seed: int = 0) -> Spectra:
    """Spectra of which some lack pixels at an end."""
    rng = np.random.default_rng(seed)
    flux = torch.from_numpy(rng.uniform(0.5, 2.0, (count, len(GRID)))).float()
    valid = torch.arange(len(GRID)) >= torch.from_numpy(rng.integers(0, 40, count)).unsqueeze(-1)
    flux = torch.where(valid, flux, 0.0)
    z = torch.from_numpy(rng.uniform(0.001, 0.049, count))
    return Spectra(GRID, flux, valid.float(), z, valid)


def names(count: int = COUNT) -> list[str]:
    return [f"spec-{number:04d}.fits" for number in range(count)]


def write_files(folder: Path, spectra: Spectra) -> list[Path]:
    """The same galaxies as SDSS's files, by the names above."""
    paths = []
    for name, flux, z, valid in zip(
        names(len(spectra)), spectra.flux, spectra.z, spectra.valid, strict=True
    ):
        first = 35800 + int(valid.nonzero()[0])
        path = write_spectrum(folder / name, first, flux[valid].numpy(), z.item())
        paths.append(path)
    return paths


def expected(spectra: Spectra, **options) -> tuple[torch.Tensor, torch.Tensor]:
    return flux_residual(PHOTOMETRY, spectra.flux, spectra.z, BINS, valid=spectra.valid, **options)


def chunks(path: Path, *without: str) -> dict[str, bytes]:
    """Every file of a table but what Zarr says about it, and arrays not wanted."""
    return {
        name: content
        for name, content in files(path).items()
        if Path(name).name != "zarr.json" and Path(name).parts[0] not in without
    }


def files(path: Path) -> dict[str, bytes]:
    """Every file of a table."""
    found = [file for file in sorted(path.rglob("*")) if file.is_file()]
    return {str(file.relative_to(path)): file.read_bytes() for file in found}
